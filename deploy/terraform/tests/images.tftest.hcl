# Artifact Registry, where it is asked for.

mock_provider "google" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  project              = "acme-ml"
  location             = "EU"
  regions              = ["europe-west4"]
  bucket_prefix        = "acme"
  gitlab_namespace_ids = ["7"]
}

run "there_is_no_repository_by_default" {
  command = plan

  assert {
    condition     = length(google_artifact_registry_repository.images) == 0 && output.image_repository == null
    error_message = "There is a repository."
  }

  assert {
    condition     = !anytrue([for it in google_project_service.api : it.service == "artifactregistry.googleapis.com"])
    error_message = "Its API is enabled."
  }
}

run "nodes_read_the_repository_and_nobody_else_does" {
  command = plan

  variables {
    image_repository = { location = "europe-west1", name = "branchline" }
    image_readers    = ["serviceAccount:nodes@acme-gke.iam.gserviceaccount.com"]
  }

  assert {
    condition     = output.image_repository == "europe-west1-docker.pkg.dev/acme-ml/branchline"
    error_message = "Its address: ${output.image_repository}"
  }

  assert {
    condition     = google_artifact_registry_repository.images["branchline"].format == "DOCKER"
    error_message = google_artifact_registry_repository.images["branchline"].format
  }

  assert {
    condition = [
      for it in google_artifact_registry_repository_iam_member.reader : "${it.member} ${it.role} ${it.project}/${it.location}/${it.repository}"
    ] == ["serviceAccount:nodes@acme-gke.iam.gserviceaccount.com roles/artifactregistry.reader acme-ml/europe-west1/branchline"]
    error_message = "Who reads it?"
  }

  assert {
    condition     = contains(output.grants, "serviceAccount:nodes@acme-gke.iam.gserviceaccount.com roles/artifactregistry.reader branchline")
    error_message = join("\n", output.grants)
  }

  assert {
    condition     = contains(keys(google_project_service.api), "acme-ml/artifactregistry")
    error_message = "Its API is not enabled."
  }
}
