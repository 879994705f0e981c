# The policy of ../k8s/overlays/gke with what is in capitals there filled in, so that there is one text of it.
locals {
  group_may_train = (
    length(var.gitlab_namespace_ids) > 0
    ? "claims.namespace_id in ${jsonencode(var.gitlab_namespace_ids)}"
    : "origin.namespace in ${jsonencode(var.gitlab_namespace_paths)}"
  )

  unfilled_policy = file("${path.module}/../k8s/overlays/gke/policy.yaml")
  grouped_policy  = replace(local.unfilled_policy, "origin.namespace == \"GROUP\"", local.group_may_train)
  placed_policy = replace(
    replace(local.grouped_policy, "vertex.region == \"europe-west4\"", "vertex.region in ${jsonencode(local.regions)}"),
    "in europe-west4", "in ${join(", ", local.regions)}",
  )
  stored_policy  = replace(local.placed_policy, "PROJECT-artifacts", local.bucket["artifacts"])
  trainer_policy = replace(local.stored_policy, "branchline-trainer@PROJECT.iam.gserviceaccount.com", local.email["trainer"])
  # What is left is the project that jobs train in.
  policy = replace(local.trainer_policy, "PROJECT", local.training_project)
}
