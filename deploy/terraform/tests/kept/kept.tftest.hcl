# What may go and what may not. A mocked provider tells no change by which something is made anew, so
# ../../check looks at what terraform refuses to clean up after these runs.

mock_provider "google" {
  source = "./tests/mocks"
}

variables {
  project                = "acme-ml"
  location               = "europe-west4"
  bucket_prefix          = "acme"
  gitlab_namespace_paths = ["ml"]
  gke_project            = "acme-ml"
  image_repository       = { location = "europe-west4", name = "branchline" }
}

run "an_installation" {
  variables {
    staging          = true
    bigquery_dataset = "branchline"
  }
}

run "copies_and_the_table_may_go" {
  assert {
    condition     = length(google_storage_bucket.staging) + length(google_bigquery_table.events) == 0
    error_message = "They are still there."
  }
}
