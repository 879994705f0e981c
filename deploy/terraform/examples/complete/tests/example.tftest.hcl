# The example fits the module.

mock_provider "google" {
  override_during = plan

  mock_resource "google_storage_bucket" {
    defaults = { project_number = 42 }
  }

  mock_resource "google_project_iam_custom_role" {
    defaults = { name = "projects/acme-ml-training/roles/branchline_worker_acme_ml" }
  }

  mock_resource "google_service_account" {
    defaults = {
      email  = "account@acme-ml.iam.gserviceaccount.com"
      member = "serviceAccount:account@acme-ml.iam.gserviceaccount.com"
      name   = "projects/acme-ml/serviceAccounts/account@acme-ml.iam.gserviceaccount.com"
    }
  }

  mock_resource "google_monitoring_notification_channel" {
    defaults = {
      name = "projects/acme-clusters/notificationChannels/1"
    }
  }
}

run "it_makes_an_installation" {
  command = plan

  assert {
    condition     = yamldecode(output.branchline.worker_yaml).staging.bucket == "acme-ml-staging"
    error_message = output.branchline.worker_yaml
  }

  assert {
    condition     = output.branchline.event_table == "acme-ml.branchline.run_events"
    error_message = "There is no table of events."
  }

  assert {
    condition     = length([for it in output.branchline.grants : it if startswith(it, "group:ml-platform@example.com ")]) == 6
    error_message = "Operators get what the README says."
  }

  assert {
    condition     = output.branchline.image_repository == "europe-west4-docker.pkg.dev/acme-ml/branchline"
    error_message = "There is no repository of images."
  }

  assert {
    condition     = strcontains(output.branchline.policy_yaml, "vertex.project == \"acme-ml-training\"")
    error_message = output.branchline.policy_yaml
  }

  assert {
    condition = toset([
      for it in output.branchline.grants : replace(it, "/ projects.*| acme-ml$/", "")
      if startswith(it, "user:") || startswith(it, "serviceAccount:metrics-adapter@")
      ]) == toset([
      "user:ada@example.com roles/iam.serviceAccountTokenCreator",
      "serviceAccount:metrics-adapter@acme-clusters.iam.gserviceaccount.com roles/monitoring.viewer",
    ])
    error_message = "Doctor and the autoscaler's adapter get theirs: ${join("\n", output.branchline.grants)}"
  }

  assert {
    condition     = yamldecode(output.branchline.worker_yaml).operators.members["ada@example.com"] == { "gitlab.com" = 1815 }
    error_message = output.branchline.worker_yaml
  }

  assert {
    condition     = endswith(output.branchline.init_command, " --component ml-platform/branchline/train@1")
    error_message = output.branchline.init_command
  }
}
