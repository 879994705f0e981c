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
  component            = "ml-platform/branchline/train@1"

  gke_project     = "acme-clusters"
  metrics_adapter = "serviceAccount:metrics-adapter@acme-clusters.iam.gserviceaccount.com"

  # At Google a group will do; the leader believes people by name, with their users' ids in GitLab.
  operators = ["group:ml-platform@example.com"]
  proven_operators = {
    members   = { "ada@example.com" = 1815 }
    audiences = ["32555940559.apps.googleusercontent.com"] # gcloud's own, for `gcloud auth print-identity-token`
  }
  doctor_members = ["user:ada@example.com"] # out again, once doctor has looked

  # What the cluster's nodes run as pulls the images.
  image_repository = { location = "europe-west4", name = "branchline" }
  image_readers    = ["serviceAccount:nodes@acme-clusters.iam.gserviceaccount.com"]

  staging               = true
  ledger_retention_days = 730
  bigquery_dataset      = "branchline"

  # Alerts fire until the roles run: on, once they do.
  alerts                = false
  notification_channels = [google_monitoring_notification_channel.team.name]
  documents_address     = "https://gitlab.example.com/ml-platform/branchline/-/blob/1.0.0"
}

resource "google_monitoring_notification_channel" "team" {
  project      = "acme-clusters"
  display_name = "ML platform"
  type         = "email"

  labels = {
    email_address = "ml-platform@example.com"
  }
}
