# A whole installation: training in a project of its own, staging, run events in BigQuery, operators
# and alerts. Every id and address here is to be replaced.
terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }

  # The state names every grant: keep it where only whoever installs may read and write.
  # backend "gcs" { bucket = "acme-terraform" }
}

provider "google" {
  project = "acme-ml"
  region  = "europe-west4"
}

module "branchline" {
  # In a repository of yours: "git::https://gitlab.example.com/platform/branchline.git//deploy/terraform?ref=COMMIT"
  source = "../.."

  project          = "acme-ml"
  training_project = "acme-ml-training"
  location         = "europe-west4"
  bucket_prefix    = "acme-ml"

  # Your own GitLab is `gitlab_issuer`; one that Google cannot reach brings its keys, `gitlab_jwks`.
  gitlab_namespace_ids = ["574"]
  gitlab_project_ids   = ["1021", "1022"]

  gke_project = "acme-clusters"
  operators   = ["group:ml-platform@example.com"]

  # What the cluster's nodes run as pulls the images.
  image_repository = { location = "europe-west4", name = "branchline" }
  image_readers    = ["serviceAccount:nodes@acme-clusters.iam.gserviceaccount.com"]

  staging               = true
  ledger_retention_days = 730
  bigquery_dataset      = "branchline"

  # Alerts fire until the roles run: on, once they do.
  alerts                = false
  notification_channels = [google_monitoring_notification_channel.team.name]
}

resource "google_monitoring_notification_channel" "team" {
  project      = "acme-clusters"
  display_name = "ML platform"
  type         = "email"

  labels = {
    email_address = "ml-platform@example.com"
  }
}
