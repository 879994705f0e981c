# What pods of the cluster become and may read. Without a cluster's project there is none of it.
locals {
  pods = { for role, name in var.kubernetes_service_accounts : role => name if var.gke_project != null }

  pod_holders = { for who, it in local.holders : who => it if contains(keys(local.pods), it.part) }
}

# A pod with the role's Kubernetes service account becomes the role's account.
resource "google_service_account_iam_member" "pod" {
  for_each = local.pod_holders

  service_account_id = each.value.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.gke_project}.svc.id.goog[${var.kubernetes_namespace}/${local.pods[each.value.part]}]"
}

# Where each role's GitLab token goes. You add it, with gcloud: in a variable it would be in the state.
resource "google_secret_manager_secret" "gitlab_token" {
  for_each = local.pods

  project    = var.project
  secret_id  = "${var.name_prefix}${each.key}-gitlab-token"
  depends_on = [google_project_service.api]

  replication {
    auto {}
  }

  # The tokens in it are in no state, so nobody could put them back.
  lifecycle {
    prevent_destroy = true
  }
}

resource "google_secret_manager_secret_iam_member" "gitlab_token" {
  for_each = local.pod_holders

  project   = var.project
  secret_id = google_secret_manager_secret.gitlab_token[each.value.part].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value.member
}
