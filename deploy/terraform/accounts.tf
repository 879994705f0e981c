locals {
  accounts = {
    ci       = { project = var.project, does = "CI jobs that publish artifacts" }
    worker   = { project = var.project, does = "branchline worker" }
    notifier = { project = var.project, does = "branchline notifier" }
    # In the project of its jobs: Vertex AI lets no other project's account be used by default.
    trainer = { project = local.training_project, does = "training jobs" }
  }

  # Every account that has a part's rights: the module's own by its part, others by their address.
  holders = merge(
    { for part, it in google_service_account.account : part => { part = part, member = it.member, name = it.name } },
    [for part, members in var.additional_members : {
      for it in members : it => {
        part   = part
        member = it
        name   = "projects/${regex("@([^.]+)", it)[0]}/serviceAccounts/${trimprefix(it, "serviceAccount:")}"
      }
    }]...
  )
}

# No account has a key: jobs come by federation, pods by Workload Identity.
resource "google_service_account" "account" {
  for_each = local.accounts

  project      = each.value.project
  account_id   = "${var.account_prefix}-${each.key}"
  display_name = "Branchline: ${each.value.does}"
  depends_on   = [google_project_service.api]
}

# Doctor looks as the role, for nobody else is told what the role may do.
resource "google_service_account_iam_member" "doctor" {
  for_each = merge([
    for who, it in local.holders : { for member in var.doctor_members : "${member} ${who}" => { member = member, name = it.name } }
    if contains(["worker", "notifier"], it.part)
  ]...)

  service_account_id = each.value.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = each.value.member
}
