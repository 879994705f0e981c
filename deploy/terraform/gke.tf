# What pods of the cluster become and may read. Without a cluster's project there is none of it.
locals {
  pods = { for role, name in var.kubernetes_service_accounts : role => name if var.gke_project != null }
}

# A pod with the role's Kubernetes service account becomes the role's account.
resource "google_service_account_iam_member" "pod" {
  for_each = local.pods

  service_account_id = google_service_account.account[each.key].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.gke_project}.svc.id.goog[${var.kubernetes_namespace}/${each.value}]"
}

# Where each role's GitLab token goes. You add it, with gcloud: in a variable it would be in the state.
resource "google_secret_manager_secret" "gitlab_token" {
  for_each = local.pods

  project    = var.project
  secret_id  = "${each.key}-gitlab-token"
  depends_on = [google_project_service.api]

  replication {
    auto {}
  }
}

resource "google_secret_manager_secret_iam_member" "gitlab_token" {
  for_each = local.pods

  project   = var.project
  secret_id = google_secret_manager_secret.gitlab_token[each.key].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.members[each.key]
}
