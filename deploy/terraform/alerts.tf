# The rules of ../monitoring/alerts.yaml over the roles' own metrics, readiness and dead letters
# among them, and one over Pub/Sub's, which tells when no role runs at all.
locals {
  rules = {
    for rule in flatten([for it in yamldecode(file("${path.module}/../monitoring/alerts.yaml")).groups : it.rules]) :
    rule.alert => rule if var.alerts
  }

  seconds    = { s = 1, m = 60, h = 3600 }
  severities = { critical = "CRITICAL", warning = "WARNING" }
}

resource "google_monitoring_alert_policy" "rule" {
  for_each = local.rules

  project               = local.monitoring_project
  display_name          = each.key
  combiner              = "OR"
  severity              = lookup(local.severities, each.value.labels.severity, null)
  notification_channels = var.notification_channels

  conditions {
    display_name = each.key

    condition_prometheus_query_language {
      query               = each.value.expr
      duration            = try("${tonumber(regex("^[0-9]+", each.value["for"])) * local.seconds[substr(each.value["for"], -1, 1)]}s", "0s")
      evaluation_interval = "60s"
      alert_rule          = each.key
      rule_group          = "branchline"
      # Before the roles' first minute there is no metric of theirs.
      disable_metric_validation = true
    }
  }

  # Prometheus writes {{ $labels.x }}, Cloud Monitoring ${metric_or_resource.label.x}.
  documentation {
    mime_type = "text/markdown"
    content = replace(
      "${each.value.annotations.description}\n\n    ${each.value.annotations.command}",
      "/{{ *\\$labels\\.([a-z_]+) *}}/", "$${metric_or_resource.label.$1}",
    )
  }
}

resource "google_monitoring_alert_policy" "unacked" {
  for_each = toset([for it in ["BranchlineSubscriptionStuck"] : it if var.alerts])

  project               = local.monitoring_project
  display_name          = each.key
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = var.notification_channels

  dynamic "conditions" {
    for_each = local.subscriptions

    content {
      display_name = "A message of ${conditions.key} is older than an hour"

      condition_threshold {
        filter          = "resource.type = \"pubsub_subscription\" AND resource.labels.project_id = \"${var.project}\" AND resource.labels.subscription_id = \"${google_pubsub_subscription.subscription[conditions.key].name}\" AND metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\""
        comparison      = "COMPARISON_GT"
        threshold_value = 3600
        duration        = "300s"

        aggregations {
          alignment_period   = "60s"
          per_series_aligner = "ALIGN_MAX"
        }
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "Nobody settles it: no role runs, or it fails on this message again and again.\n\n    branchline doctor all --worker worker.yaml --policy policy.yaml --notifier notifier.yaml --artifact-bucket ${google_storage_bucket.bucket["artifacts"].name} --training-project ${local.training_project}"
  }
}
