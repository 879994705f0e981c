locals {
  training_project = coalesce(var.training_project, var.project)
  # Where the roles' metrics are.
  monitoring_project = coalesce(var.monitoring_project, var.gke_project, var.project)

  # Google tells it, and nobody types it: a wrong one would let another project's Pub/Sub in.
  project_number = google_storage_bucket.bucket["artifacts"].project_number

  apis = merge(
    {
      for it in [
        # Vertex AI's, too: the account that calls it is here.
        "aiplatform", "cloudresourcemanager", "iam", "iamcredentials", "monitoring", "pubsub", "secretmanager", "storage", "sts",
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
    {
      for it in ["artifactregistry"] :
      "${var.project}/${it}" => { project = var.project, name = it } if var.image_repository != null
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
