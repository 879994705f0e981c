# All run events in a table, for SQL over the audit trail. Pub/Sub writes them; no role does.
locals {
  event_tables = toset([for it in [var.bigquery_dataset] : it if it != null])
}

resource "google_bigquery_dataset" "events" {
  for_each = local.event_tables

  project       = var.project
  dataset_id    = each.key
  location      = var.location
  friendly_name = "Branchline's run events"
  depends_on    = [google_project_service.api]
}

# The event is kept whole, so an event that has a new field is none that cannot be written.
resource "google_bigquery_table" "events" {
  for_each = local.event_tables

  project             = var.project
  dataset_id          = google_bigquery_dataset.events[each.key].dataset_id
  table_id            = "run_events"
  deletion_protection = var.bigquery_deletion_protection

  schema = jsonencode([
    { name = "subscription_name", type = "STRING" },
    { name = "message_id", type = "STRING" },
    { name = "publish_time", type = "TIMESTAMP" },
    { name = "attributes", type = "JSON" },
    { name = "data", type = "JSON" },
  ])

  time_partitioning {
    type  = "DAY"
    field = "publish_time"
  }
}

# On the one table, where it writes rows and looks at the columns.
resource "google_bigquery_table_iam_member" "events" {
  for_each = local.event_tables

  project    = var.project
  dataset_id = google_bigquery_table.events[each.key].dataset_id
  table_id   = google_bigquery_table.events[each.key].table_id
  role       = "roles/bigquery.dataEditor"
  member     = local.members.service_agent
}

# It gives nothing up: a dead letter of the table's would be replayed to the notifier too.
resource "google_pubsub_subscription" "events" {
  for_each = local.event_tables

  project                    = var.project
  name                       = "${var.name_prefix}run-events-bigquery"
  topic                      = google_pubsub_topic.topic["run-events"].id
  ack_deadline_seconds       = 60
  message_retention_duration = local.retention

  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  bigquery_config {
    table          = "${var.project}.${google_bigquery_table.events[each.key].dataset_id}.${google_bigquery_table.events[each.key].table_id}"
    write_metadata = true
  }

  # Pub/Sub looks at once whether it may write.
  depends_on = [google_bigquery_table_iam_member.events]
}
