locals {
  federation = yamldecode(templatefile("${path.module}/federation.yaml.tftpl", {
    claim         = length(var.gitlab_namespace_ids) > 0 ? "namespace_id" : "namespace_path"
    namespaces    = jsonencode(setunion(var.gitlab_namespace_ids, var.gitlab_namespace_paths))
    ref_protected = jsonencode(var.gitlab_protected_refs_only ? ["true"] : ["true", "false"])
  }))

  pool     = "projects/${local.project_number}/locations/global/workloadIdentityPools/${google_iam_workload_identity_pool.gitlab.workload_identity_pool_id}"
  provider = "${local.pool}/providers/${google_iam_workload_identity_pool_provider.gitlab.workload_identity_pool_provider_id}"
}

resource "google_iam_workload_identity_pool" "gitlab" {
  project                   = var.project
  workload_identity_pool_id = var.pool
  display_name              = "GitLab CI jobs"
  depends_on                = [google_project_service.api]
}

# It names no audience, so it takes one only: its own name.
resource "google_iam_workload_identity_pool_provider" "gitlab" {
  project                            = var.project
  workload_identity_pool_id          = google_iam_workload_identity_pool.gitlab.workload_identity_pool_id
  workload_identity_pool_provider_id = "gitlab"
  display_name                       = "GitLab"
  attribute_mapping                  = local.federation.mapping
  attribute_condition                = local.federation.condition

  oidc {
    issuer_uri = var.gitlab_issuer
    jwks_json  = var.gitlab_jwks
  }
}

# The condition says who has an identity; only these become the account of CI.
resource "google_service_account_iam_member" "gitlab" {
  for_each = merge([
    for who, it in local.holders : {
      for id in var.gitlab_project_ids : who == "ci" ? id : "${id} ${who}" => { id = id, name = it.name }
    } if it.part == "ci"
  ]...)

  service_account_id = each.value.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${local.pool}/attribute.project_id/${each.value.id}"
}
