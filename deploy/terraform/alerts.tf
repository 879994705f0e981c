# The rules of ../monitoring/alerts.yaml over the roles' own metrics, readiness and dead letters
# among them, and one over Pub/Sub's, which tells when no role runs at all.
locals {
  rules = {
    for rule in flatten([for it in yamldecode(file("${path.module}/../monitoring/alerts.yaml")).groups : it.rules]) :
    rule.alert => rule if var.alerts
  }

  seconds    = { s = 1, m = 60, h = 3600 }
  severities = { critical = "CRITICAL", warning = "WARNING" }

  # Prometheus writes {{ $labels.x }}, Cloud Monitoring ${metric_or_resource.label.x}. A value it cannot tell.
  told = {
    for name, rule in local.rules : name => {
      for part, text in rule.annotations : part => replace(replace(replace(text,
        "/{{ *\\$labels\\.([a-z_]+) *}}/", "$${metric_or_resource.label.$1}"),
        "/^{{ *\\$value *}}/", "Some"),
        "/{{ *\\$value *\\| *humanizeDuration *}}/", "too long",
      )
    }
  }

  # Words of commands that are filled in here, each with the one before it.
  here = {
    "--account NOTIFIER"          = local.email["notifier"]
    "--account WORKER"            = local.email["worker"]
    "--artifact-bucket BUCKET"    = local.bucket["artifacts"]
    "--dead-letter-bucket BUCKET" = local.bucket["dead-letters"]
    "--ledger-bucket BUCKET"      = local.bucket["ledger"]
    "--namespace branchline"      = var.kubernetes_namespace
    "--notifier-account NOTIFIER" = local.email["notifier"]
    "--project CLUSTER"           = coalesce(var.gke_project, var.project)
    "--queue-bucket BUCKET"       = local.bucket["queue"]
    "--training-account TRAINER"  = local.email["trainer"]
    "--training-project PROJECT"  = local.training_project
    "--worker-account WORKER"     = local.email["worker"]
  }
  words = { for name, it in local.told : name => split(" ", it.command) }
  commands = {
    for name, words in local.words :
    name => join(" ", [for at, word in words : try(local.here["${words[at - 1]} ${word}"], word)])
  }

  watched = concat(values(google_pubsub_subscription.subscription), values(google_pubsub_subscription.events))
}

# What is not in its scope, a policy does not see: Pub/Sub's metrics, or the roles'.
resource "google_monitoring_monitored_project" "scope" {
  for_each = toset([
    for it in distinct(compact([var.project, var.gke_project])) : it if var.alerts && it != local.monitoring_project
  ])

  metrics_scope = local.monitoring_project
  name          = each.key
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

  documentation {
    mime_type = "text/markdown"
    subject   = local.told[each.key].summary
    content = join("\n\n", [
      "${local.told[each.key].summary}.",
      local.told[each.key].description,
      "    ${local.commands[each.key]}",
      join("/", compact([var.documents_address, each.value.annotations.runbook])),
    ])
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
    for_each = { for it in local.watched : it.name => it.name }

    content {
      display_name = "A message of ${conditions.key} is older than an hour"

      condition_threshold {
        filter          = "resource.type = \"pubsub_subscription\" AND resource.labels.project_id = \"${var.project}\" AND resource.labels.subscription_id = \"${conditions.key}\" AND metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\""
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
    subject   = "A message of $${resource.label.subscription_id} is older than an hour"
    content = join("\n\n", [
      "A message of $${resource.label.subscription_id} is older than an hour.",
      "Nobody settles it: no role runs, or it fails on this message again and again; or Pub/Sub may not write to BigQuery's table.",
      "    ${local.commands.BranchlineMessageNotAcknowledged}",
      join("/", compact([var.documents_address, "docs/runbook.md#branchlinesubscriptionstuck"])),
    ])
  }
}
