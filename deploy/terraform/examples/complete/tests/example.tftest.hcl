# The example fits the module.

mock_provider "google" {
  mock_resource "google_monitoring_notification_channel" {
    defaults = {
      name = "projects/acme-clusters/notificationChannels/1"
    }
  }
}

run "it_makes_an_installation" {
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
}
