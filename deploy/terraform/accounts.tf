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
