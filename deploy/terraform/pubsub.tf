locals {
  subscriptions = {
    artifact-ready-worker = { topic = "artifact-ready", ordered = false, gives_up = true }
    # The order is what keeps two notifier pods from writing two notes.
    run-events-notifier = { topic = "run-events", ordered = true, gives_up = true }
    # Without a subscription a dead letter is lost.
    dead-letters-archive = { topic = "dead-letters", ordered = false, gives_up = false }
  }

  retention = "${31 * 24 * 3600}s" # The longest that Pub/Sub takes.
}

resource "google_pubsub_topic" "topic" {
  for_each = toset(["artifact-ready", "run-events", "dead-letters"])

  project    = var.project
  name       = "${var.name_prefix}${each.key}"
  depends_on = [google_project_service.api]
}

resource "google_pubsub_subscription" "subscription" {
  for_each = local.subscriptions

  project                    = var.project
  name                       = "${var.name_prefix}${each.key}"
  topic                      = google_pubsub_topic.topic[each.value.topic].id
  ack_deadline_seconds       = 60
  message_retention_duration = local.retention
  enable_message_ordering    = each.value.ordered

  # Never.
  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  dynamic "dead_letter_policy" {
    for_each = each.value.gives_up ? ["dead-letters"] : []

    content {
      dead_letter_topic     = google_pubsub_topic.topic[dead_letter_policy.value].id
      max_delivery_attempts = 100
    }
  }

  # Its messages would go with it. A plan that wants another one fails, and nothing has been touched.
  lifecycle {
    prevent_destroy = true
  }
}
