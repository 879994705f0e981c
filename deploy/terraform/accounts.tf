locals {
  accounts = {
    ci       = { project = var.project, does = "CI jobs that publish artifacts" }
    worker   = { project = var.project, does = "branchline worker" }
    notifier = { project = var.project, does = "branchline notifier" }
    # In the project of its jobs: Vertex AI lets no other project's account be used by default.
    trainer = { project = local.training_project, does = "training jobs" }
  }
}

# No account has a key: jobs come by federation, pods by Workload Identity.
resource "google_service_account" "account" {
  for_each = local.accounts

  project      = each.value.project
  account_id   = "${var.account_prefix}-${each.key}"
  display_name = "Branchline: ${each.value.does}"
  depends_on   = [google_project_service.api]
}

# A pod with the role's Kubernetes service account becomes the role's account.
resource "google_service_account_iam_member" "pod" {
  for_each = { for role, name in var.kubernetes_service_accounts : role => name if var.gke_project != null }

  service_account_id = google_service_account.account[each.key].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.gke_project}.svc.id.goog[${var.kubernetes_namespace}/${each.value}]"
}
