# Where a release's images are copied to, so that nodes pull them from beside themselves.
locals {
  image_repositories = { for it in [var.image_repository] : it.name => it.location if it != null }
}

resource "google_artifact_registry_repository" "images" {
  for_each = local.image_repositories

  project       = var.project
  location      = each.value
  repository_id = each.key
  format        = "DOCKER"
  description   = "Branchline's images"
  depends_on    = [google_project_service.api]

  # Deployments name its digests: a pod that moves to another node would find no image.
  lifecycle {
    prevent_destroy = true
  }
}

resource "google_artifact_registry_repository_iam_member" "reader" {
  for_each = toset([for it in var.image_readers : it if var.image_repository != null])

  project    = var.project
  location   = google_artifact_registry_repository.images[var.image_repository.name].location
  repository = google_artifact_registry_repository.images[var.image_repository.name].repository_id
  role       = "roles/artifactregistry.reader"
  member     = each.key
}
