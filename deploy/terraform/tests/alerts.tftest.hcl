# What wants a person: the rules of deploy/monitoring as policies, and Pub/Sub's own metric.

mock_provider "google" {
  source = "./tests/mocks"
}

variables {
  project                = "acme-ml"
  project_number         = "42"
  location               = "europe-west4"
  bucket_prefix          = "acme"
  gitlab_namespace_paths = ["ml"]
}

run "every_rule_of_monitoring_is_a_policy" {
  variables {
    notification_channels = ["projects/acme-ml/notificationChannels/1"]
  }

  assert {
    condition = toset(keys(google_monitoring_alert_policy.rule)) == toset(flatten([
      for group in yamldecode(file("../monitoring/alerts.yaml")).groups : group.rules[*].alert
    ]))
    error_message = "Policies and rules differ."
  }

  assert {
    condition = { for name in ["BranchlineNotReady", "BranchlineRunsBlocked", "BranchlineRightMissing"] :
      name => google_monitoring_alert_policy.rule[name].conditions[0].condition_prometheus_query_language[0].duration
    } == { BranchlineNotReady = "300s", BranchlineRunsBlocked = "3600s", BranchlineRightMissing = "0s" }
    error_message = "Minutes and hours are seconds there."
  }

  assert {
    condition = (
      strcontains(google_monitoring_alert_policy.rule["BranchlineDeadLetters"].documentation[0].content, "--reason $${metric_or_resource.label.reason}")
      && !anytrue([for it in google_monitoring_alert_policy.rule : strcontains(it.documentation[0].content, "{{ $labels")])
    )
    error_message = "Labels are written as Cloud Monitoring reads them."
  }

  assert {
    condition = alltrue([
      for it in concat(values(google_monitoring_alert_policy.rule), values(google_monitoring_alert_policy.unacked)) :
      it.notification_channels == tolist(["projects/acme-ml/notificationChannels/1"])
    ])
    error_message = "Every alert goes to the channel."
  }

  assert {
    condition = toset([
      for it in google_monitoring_alert_policy.unacked["BranchlineSubscriptionStuck"].conditions :
      regex("subscription_id = \"([^\"]+)\"", it.condition_threshold[0].filter)[0]
    ]) == toset(keys(google_pubsub_subscription.subscription))
    error_message = "The oldest message of each subscription is watched."
  }
}

run "there_are_no_policies_without_alerts" {
  variables {
    alerts = false
  }

  assert {
    condition     = length(google_monitoring_alert_policy.rule) + length(google_monitoring_alert_policy.unacked) == 0
    error_message = "There are policies."
  }
}
