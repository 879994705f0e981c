# What wants a person: the rules of deploy/monitoring as policies, and Pub/Sub's own metric.

mock_provider "google" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  project                = "acme-ml"
  location               = "europe-west4"
  bucket_prefix          = "acme"
  gitlab_namespace_paths = ["ml"]
}

run "every_rule_of_monitoring_is_a_policy" {
  command = plan

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
    condition = alltrue([
      for it in concat(values(google_monitoring_alert_policy.rule), values(google_monitoring_alert_policy.unacked)) :
      it.notification_channels == tolist(["projects/acme-ml/notificationChannels/1"])
    ])
    error_message = "Every alert goes to the channel."
  }
}

run "what_a_policy_says_can_be_pasted" {
  command = plan

  variables {
    training_project     = "acme-train"
    gke_project          = "acme-gke"
    kubernetes_namespace = "ml"
  }

  assert {
    condition = google_monitoring_alert_policy.rule["BranchlineDeadLetters"].documentation[0].content == join("\n\n", [
      "Some dead letters are unresolved: $${metric_or_resource.label.reason}.",
      "Messages were given up for the reason $${metric_or_resource.label.reason} and lie in the archive, where nothing expires soon. Mend what made them, then replay or discard them.",
      "    branchline dlq list --reason $${metric_or_resource.label.reason} --dead-letter-bucket acme-dead-letters",
      "docs/runbook.md#branchlinedeadletters",
    ])
    error_message = google_monitoring_alert_policy.rule["BranchlineDeadLetters"].documentation[0].content
  }

  assert {
    condition     = google_monitoring_alert_policy.rule["BranchlineNotReady"].documentation[0].subject == "$${metric_or_resource.label.instance} is not ready: $${metric_or_resource.label.condition}"
    error_message = "The subject is the rule's summary."
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.rule["BranchlineRunsBlocked"].documentation[0].content, " --ledger-bucket acme-ledger --queue-bucket acme-queue\n")
    error_message = google_monitoring_alert_policy.rule["BranchlineRunsBlocked"].documentation[0].content
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.rule["BranchlineNotReady"].documentation[0].content, "kubectl --namespace ml port-forward")
    error_message = google_monitoring_alert_policy.rule["BranchlineNotReady"].documentation[0].content
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.rule["BranchlinePanicked"].documentation[0].content, " --project acme-gke ")
    error_message = google_monitoring_alert_policy.rule["BranchlinePanicked"].documentation[0].content
  }

  assert {
    condition = alltrue([
      for it in concat(values(google_monitoring_alert_policy.rule), values(google_monitoring_alert_policy.unacked)) :
      !strcontains("${it.documentation[0].subject} ${it.documentation[0].content}", "{{")
    ])
    error_message = "Cloud Monitoring does not know Prometheus' templates."
  }

  # POD is the one that nobody knows before, and its text says what it is.
  assert {
    condition = length(setsubtract(flatten([
      for it in concat(values(google_monitoring_alert_policy.rule), values(google_monitoring_alert_policy.unacked)) :
      regexall("\\b[A-Z]{3,}\\b", it.documentation[0].content)
    ]), ["POD"])) == 0
    error_message = "Words are left to be filled in."
  }

  assert {
    condition = alltrue([
      for it in [google_monitoring_alert_policy.rule["BranchlineStorageFails"], google_monitoring_alert_policy.unacked["BranchlineSubscriptionStuck"]] :
      split("\n\n", it.documentation[0].content)[2] == join(" ", [
        "    branchline doctor all --worker worker.yaml --policy policy.yaml --notifier notifier.yaml",
        "--worker-account branchline-worker@acme-ml.iam.gserviceaccount.com --notifier-account branchline-notifier@acme-ml.iam.gserviceaccount.com",
        "--artifact-bucket acme-artifacts --training-project acme-train --training-account branchline-trainer@acme-train.iam.gserviceaccount.com",
      ])
    ])
    error_message = "Doctor looks at this installation: ${google_monitoring_alert_policy.rule["BranchlineStorageFails"].documentation[0].content}"
  }
}

run "a_policy_links_to_the_runbook" {
  command = plan

  variables {
    documents_address = "https://gitlab.example.com/platform/branchline/-/blob/1.0.0"
  }

  assert {
    condition = alltrue([
      for name, it in merge(google_monitoring_alert_policy.rule, google_monitoring_alert_policy.unacked) :
      endswith(it.documentation[0].content, "\n\nhttps://gitlab.example.com/platform/branchline/-/blob/1.0.0/docs/runbook.md#${lower(name)}")
    ])
    error_message = "Each leads to its section."
  }
}

run "the_oldest_message_of_every_subscription_is_watched" {
  command = plan

  variables {
    bigquery_dataset = "branchline"
  }

  assert {
    condition = toset([
      for it in google_monitoring_alert_policy.unacked["BranchlineSubscriptionStuck"].conditions :
      regex("subscription_id = \"([^\"]+)\"", it.condition_threshold[0].filter)[0]
    ]) == toset([for it in concat(values(google_pubsub_subscription.subscription), values(google_pubsub_subscription.events)) : it.name])
    error_message = "BigQuery's, too."
  }
}

run "policies_are_where_the_metrics_of_the_roles_are" {
  command = plan

  variables {
    gke_project = "acme-gke"
  }

  assert {
    condition = toset([
      for it in concat(values(google_monitoring_alert_policy.rule), values(google_monitoring_alert_policy.unacked)) : it.project
    ]) == toset(["acme-gke"])
    error_message = "The cluster's project has them."
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.unacked["BranchlineSubscriptionStuck"].conditions[0].condition_threshold[0].filter, "resource.labels.project_id = \"acme-ml\"")
    error_message = "The subscriptions are in their own."
  }
}

# Policies see what is in the scope of their own project, and that has only itself by default.
run "what_is_watched_from_elsewhere_is_in_the_scope" {
  command = plan

  variables {
    gke_project        = "acme-gke"
    monitoring_project = "acme-watch"
  }

  assert {
    condition     = [for it in google_monitoring_monitored_project.scope : "${it.name} in ${it.metrics_scope}"] == ["acme-gke in acme-watch", "acme-ml in acme-watch"]
    error_message = "Pub/Sub's metrics, and the roles'."
  }
}

run "topics_are_in_the_scope_of_the_clusters_project" {
  command = plan

  variables {
    gke_project = "acme-gke"
  }

  assert {
    condition     = [for it in google_monitoring_monitored_project.scope : "${it.name} in ${it.metrics_scope}"] == ["acme-ml in acme-gke"]
    error_message = "The cluster's has its own already."
  }
}

run "one_project_sees_itself" {
  command = plan

  variables {
    gke_project = "acme-ml"
  }

  assert {
    condition     = length(google_monitoring_monitored_project.scope) == 0
    error_message = "It is added to its own scope."
  }
}

run "or_elsewhere_when_asked" {
  command = plan

  variables {
    gke_project        = "acme-gke"
    monitoring_project = "acme-watch"
  }

  assert {
    condition     = google_monitoring_alert_policy.rule["BranchlineNoLeader"].project == "acme-watch"
    error_message = google_monitoring_alert_policy.rule["BranchlineNoLeader"].project
  }
}

run "there_are_no_policies_without_alerts" {
  command = plan

  variables {
    alerts      = false
    gke_project = "acme-gke"
  }

  assert {
    condition     = length(google_monitoring_alert_policy.rule) + length(google_monitoring_alert_policy.unacked) + length(google_monitoring_monitored_project.scope) == 0
    error_message = "There are policies, or something is in their scope."
  }
}
