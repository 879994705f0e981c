locals {
  training_project   = coalesce(var.training_project, var.project)
  monitoring_project = coalesce(var.monitoring_project, var.project)

  apis = merge(
    {
      for it in [
        "cloudresourcemanager", "iam", "iamcredentials", "monitoring", "pubsub", "secretmanager", "storage", "sts",
      ] : "${var.project}/${it}" => { project = var.project, name = it }
    },
    {
      for it in ["aiplatform", "iam"] :
      "${local.training_project}/${it}" => { project = local.training_project, name = it }
    },
    {
      for it in ["bigquery"] :
      "${var.project}/${it}" => { project = var.project, name = it } if var.bigquery_dataset != null
    },
  )
}

# Others may use the same APIs: whoever removes the installation leaves them enabled.
resource "google_project_service" "api" {
  for_each = local.apis

  project            = each.value.project
  service            = "${each.value.name}.googleapis.com"
  disable_on_destroy = false
}
