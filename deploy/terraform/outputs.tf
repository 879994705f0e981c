locals {
  bucket       = { for key, it in merge(google_storage_bucket.bucket, google_storage_bucket.staging) : key => it.name }
  topic        = { for key, it in google_pubsub_topic.topic : key => "projects/${var.project}/topics/${it.name}" }
  subscription = { for key, it in google_pubsub_subscription.subscription : key => "projects/${var.project}/subscriptions/${it.name}" }
  regions      = length(var.regions) > 0 ? var.regions : [lower(var.location)]
  email        = { for key, it in google_service_account.account : key => it.email }
}

output "gitlab_variables" {
  description = "CI/CD variables for the GitLab group, none of them secret."
  value = {
    BRANCHLINE_PROVIDER        = local.provider
    BRANCHLINE_SERVICE_ACCOUNT = local.email["ci"]
    BRANCHLINE_TOPIC           = local.topic["artifact-ready"]
    BRANCHLINE_ARTIFACT_BUCKET = local.bucket["artifacts"]
    BRANCHLINE_LEDGER_BUCKET   = local.bucket["ledger"]
  }
}

output "init_command" {
  description = "What a team runs in its repository, once: all that it cannot know itself. `COMPONENT`, where it is left, is a word to replace."
  value = join(" ", [
    "branchline init",
    "--project ${local.training_project}",
    "--region ${local.regions[0]}",
    "--topic ${local.topic["artifact-ready"]}",
    "--bucket ${local.bucket["artifacts"]}",
    "--ledger ${local.bucket["ledger"]}",
    "--training-account ${local.email["trainer"]}",
    "--component ${coalesce(var.component, "COMPONENT")}",
  ])
}

output "provider_audience" {
  description = "Audience of GOOGLE_ID_TOKEN: `aud` in .gitlab-ci.yml."
  value       = "https://iam.googleapis.com/${local.provider}"
}

output "worker_yaml" {
  description = "worker.yaml of this installation, whole; the policy lies beside it in the pod."
  value = yamlencode(merge({
    subscription             = local.subscription["artifact-ready-worker"]
    artifact_topic           = local.topic["artifact-ready"]
    run_event_topic          = local.topic["run-events"]
    dead_letter_topic        = local.topic["dead-letters"]
    dead_letter_subscription = local.subscription["dead-letters-archive"]
    dead_letter_bucket       = local.bucket["dead-letters"]
    ledger_bucket            = local.bucket["ledger"]
    queue_bucket             = local.bucket["queue"]
    request_bucket           = local.bucket["requests"]
    output_bucket            = local.bucket["output"]
    regions                  = local.regions
    policy                   = "/etc/branchline/policy.yaml"
    identity                 = { issuers = [{ issuer = var.gitlab_issuer }], audience = var.audience }
    gitlab                   = var.gitlab_issuer
    },
    { for it in ["staging"] : it => { bucket = local.bucket[it] } if var.staging },
    local.proven_operators,
    # By this label each tells its own jobs from the other's.
    { for it in ["installation"] : it => trimsuffix(var.name_prefix, "-") if var.name_prefix != "" },
  ))
}

output "policy_yaml" {
  description = "policy.yaml to begin with: the overlay's, which lets the groups train as the trainer only, and refs that are not protected on one small machine."
  value       = local.policy
}

output "notifier_yaml" {
  description = "notifier.yaml of this installation, whole."
  value = yamlencode({
    subscription      = local.subscription["run-events-notifier"]
    dead_letter_topic = local.topic["dead-letters"]
    ledger_bucket     = local.bucket["ledger"]
    gitlab            = var.gitlab_issuer
    merge_requests = merge(
      { queue_bucket = local.bucket["queue"], request_bucket = local.bucket["requests"] },
      { for it in local.rosters : "audience" => local.notifier_audience },
    )
  })
}

output "service_accounts" {
  description = "E-mail addresses of the service accounts by part: ci, worker, notifier, trainer (for `serviceAccount` in a training spec)."
  value       = local.email
}

# It names no namespace: kustomize finds what it is about in the base's, and moves it to the overlay's.
output "kustomize_patch" {
  description = "A patch for the kustomize overlay: which Google account each role's Kubernetes service account becomes."
  value = join("---\n", [
    for role, name in var.kubernetes_service_accounts : yamlencode({
      apiVersion = "v1"
      kind       = "ServiceAccount"
      metadata = {
        name        = name
        annotations = { "iam.gke.io/gcp-service-account" = local.email[role] }
      }
    })
  ])
}

output "operator_variables" {
  description = "Environment of whoever runs `branchline runs`, `dlq`, `pause` and `audit`."
  value = {
    BRANCHLINE_LEDGER_BUCKET      = local.bucket["ledger"]
    BRANCHLINE_QUEUE_BUCKET       = local.bucket["queue"]
    BRANCHLINE_REQUEST_BUCKET     = local.bucket["requests"]
    BRANCHLINE_DEAD_LETTER_BUCKET = local.bucket["dead-letters"]
  }
}

output "image_repository" {
  description = "Address of the repository of images, if there is one, without the image's name."
  value       = one([for it in google_artifact_registry_repository.images : "${it.location}-docker.pkg.dev/${it.project}/${it.repository_id}"])
}

output "event_table" {
  description = "BigQuery table of run events, if there is one."
  value       = one([for it in google_bigquery_table.events : "${var.project}.${it.dataset_id}.${it.table_id}"])
}

output "grants" {
  description = "Who may do what in this installation, for a review: member, role and thing, a line each."
  value = toset(concat(
    [for it in google_pubsub_topic_iam_member.grant : "${it.member} ${it.role} ${it.topic}"],
    [for it in google_pubsub_subscription_iam_member.grant : "${it.member} ${it.role} ${it.subscription}"],
    [for it in google_storage_bucket_iam_member.grant : "${it.member} ${it.role} ${it.bucket}"],
    [for it in google_project_iam_member.grant : "${it.member} ${it.role} ${it.project}"],
    [for it in google_service_account_iam_member.grant : "${it.member} ${it.role} ${it.service_account_id}"],
    [for it in google_service_account_iam_member.pod : "${it.member} ${it.role} ${it.service_account_id}"],
    [for it in google_service_account_iam_member.doctor : "${it.member} ${it.role} ${it.service_account_id}"],
    [for it in google_service_account_iam_member.gitlab : "${it.member} ${it.role} ${it.service_account_id}"],
    [for it in google_secret_manager_secret_iam_member.gitlab_token : "${it.member} ${it.role} ${it.secret_id}"],
    [for it in google_artifact_registry_repository_iam_member.reader : "${it.member} ${it.role} ${it.repository}"],
    [for it in google_bigquery_table_iam_member.events : "${it.member} ${it.role} ${it.table_id}"],
  ))
}
