# What an installation is: as the README makes it by hand, and the local stack in memory.

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

run "messages_are_kept_and_retried_and_subscriptions_never_expire" {
  command = plan

  assert {
    condition     = keys(google_pubsub_topic.topic) == ["artifact-ready", "dead-letters", "run-events"]
    error_message = "An installation has three topics."
  }

  assert {
    condition = { for name, it in google_pubsub_subscription.subscription : name => it.topic } == {
      artifact-ready-worker = google_pubsub_topic.topic["artifact-ready"].id
      dead-letters-archive  = google_pubsub_topic.topic["dead-letters"].id
      run-events-notifier   = google_pubsub_topic.topic["run-events"].id
    }
    error_message = "Each of the three subscriptions has its topic."
  }

  assert {
    condition = alltrue([
      for it in google_pubsub_subscription.subscription :
      it.ack_deadline_seconds == 60
      && it.message_retention_duration == "2678400s"
      && it.expiration_policy[0].ttl == ""
      && it.retry_policy[0].minimum_backoff == "10s"
      && it.retry_policy[0].maximum_backoff == "600s"
    ])
    error_message = "A deadline of 60s, 31 days of retention, no expiration, and pauses of 10s to 600s."
  }

  assert {
    condition     = [for name, it in google_pubsub_subscription.subscription : name if it.enable_message_ordering] == ["run-events-notifier"]
    error_message = "Run events are ordered, and nothing else."
  }

  assert {
    condition = [
      for name, it in google_pubsub_subscription.subscription : "${name} after ${it.dead_letter_policy[0].max_delivery_attempts}"
      if length(it.dead_letter_policy) > 0
    ] == ["artifact-ready-worker after 100", "run-events-notifier after 100"]
    error_message = "Requests and run events are given up after 100 deliveries, dead letters never."
  }

  assert {
    condition = alltrue([
      for it in google_pubsub_subscription.subscription :
      it.dead_letter_policy[0].dead_letter_topic == google_pubsub_topic.topic["dead-letters"].id if length(it.dead_letter_policy) > 0
    ])
    error_message = "What is given up goes to dead-letters."
  }
}

run "no_bucket_is_public_and_the_ledger_is_retained" {
  command = plan

  assert {
    condition = [for it in google_storage_bucket.bucket : it.name] == [
      "acme-artifacts", "acme-dead-letters", "acme-ledger", "acme-output", "acme-queue", "acme-requests",
    ]
    error_message = "An installation has six buckets."
  }

  assert {
    condition = alltrue([
      for it in google_storage_bucket.bucket :
      it.uniform_bucket_level_access && it.public_access_prevention == "enforced" && !it.force_destroy
    ])
    error_message = "Access is uniform and never public, and a bucket with objects is not destroyed."
  }

  assert {
    condition     = [for name, it in google_storage_bucket.bucket : name if length(it.retention_policy) > 0] == ["ledger"]
    error_message = "The ledger is retained; anything else has to be replaced or deleted."
  }

  assert {
    condition = (
      google_storage_bucket.bucket["ledger"].retention_policy[0].retention_period == 365 * 24 * 3600
      && !google_storage_bucket.bucket["ledger"].retention_policy[0].is_locked
    )
    error_message = "By default a fact is retained for a year, and that is not locked."
  }

  assert {
    condition = {
      for name, it in google_storage_bucket.bucket :
      name => flatten([for rule in it.lifecycle_rule : [
        for it in rule.condition : "${it.age} ${join(" ", it.matches_prefix == null ? [] : it.matches_prefix)}"
      ]])
      if length(it.lifecycle_rule) > 0
      } == {
      dead-letters = ["90 "]
      queue        = ["400 by-day/", "32 by-token/"]
    }
    error_message = "Tokens are noted for 32 days, the index and dead letters are cleaned up, and nothing else is deleted."
  }

  assert {
    condition = alltrue(flatten([
      for it in google_storage_bucket.bucket : [for rule in it.lifecycle_rule : [for it in rule.action : it.type == "Delete"]]
    ]))
    error_message = "A rule deletes."
  }

  # A soft-deleted request could be restored, with its operator's token.
  assert {
    condition = {
      for name, it in google_storage_bucket.bucket : name => it.soft_delete_policy[0].retention_duration_seconds
      if contains(["queue", "requests"], name)
    } == { queue = 0, requests = 0 }
    error_message = "What is deleted from queue and requests is gone."
  }
}

run "the_ledger_is_locked_when_asked" {
  command = plan

  variables {
    ledger_retention_days = 3650
    ledger_locked         = true
  }

  assert {
    condition = (
      google_storage_bucket.bucket["ledger"].retention_policy[0].retention_period == 3650 * 24 * 3600
      && google_storage_bucket.bucket["ledger"].retention_policy[0].is_locked
    )
    error_message = "Ten years, locked."
  }
}

run "staging_and_bigquery_are_off_by_default" {
  command = plan

  assert {
    condition     = length(google_storage_bucket.staging) == 0
    error_message = "There is a bucket for copies."
  }

  assert {
    condition = (
      length(google_bigquery_dataset.events) == 0
      && length(google_bigquery_table.events) == 0
      && length(google_bigquery_table_iam_member.events) == 0
      && length(google_pubsub_subscription.events) == 0
      && output.event_table == null
    )
    error_message = "There is something of BigQuery."
  }

  assert {
    condition     = !anytrue([for it in google_project_service.api : it.service == "bigquery.googleapis.com"])
    error_message = "The API of BigQuery is enabled."
  }
}

run "staging_and_bigquery_are_made_when_asked" {
  command = plan

  variables {
    staging          = true
    staging_days     = 60
    bigquery_dataset = "branchline"
  }

  assert {
    condition     = [for it in google_storage_bucket.staging["staging"].lifecycle_rule : [for it in it.condition : it.age]] == [[60]]
    error_message = "Copies are deleted after 60 days."
  }

  assert {
    condition = (
      google_storage_bucket.staging["staging"].name == "acme-staging"
      && google_storage_bucket.staging["staging"].uniform_bucket_level_access
      && google_storage_bucket.staging["staging"].public_access_prevention == "enforced"
      && !google_storage_bucket.staging["staging"].force_destroy
    )
    error_message = "Copies are as little public as what they are of."
  }

  assert {
    condition     = yamldecode(output.worker_yaml).staging.bucket == "acme-staging"
    error_message = "The worker is told of the bucket."
  }

  assert {
    condition = (
      google_pubsub_subscription.events["branchline"].topic == google_pubsub_topic.topic["run-events"].id
      && google_pubsub_subscription.events["branchline"].bigquery_config[0].table == "acme-ml.branchline.run_events"
      && google_pubsub_subscription.events["branchline"].bigquery_config[0].write_metadata
      && google_pubsub_subscription.events["branchline"].expiration_policy[0].ttl == ""
      && length(google_pubsub_subscription.events["branchline"].dead_letter_policy) == 0
    )
    error_message = "Run events go to the table, with what is in their attributes."
  }

  # Names and types are Pub/Sub's: https://cloud.google.com/pubsub/docs/bigquery.
  assert {
    condition = { for it in jsondecode(google_bigquery_table.events["branchline"].schema) : it.name => it.type } == {
      subscription_name = "STRING", message_id = "STRING", publish_time = "TIMESTAMP", attributes = "JSON", data = "JSON"
    }
    error_message = "The table has the columns that Pub/Sub writes."
  }

  assert {
    condition     = google_bigquery_table.events["branchline"].deletion_protection
    error_message = "The table is not protected."
  }
}

run "the_table_may_be_taken_out_when_asked" {
  command = plan

  variables {
    bigquery_dataset             = "branchline"
    bigquery_deletion_protection = false
  }

  assert {
    condition     = !google_bigquery_table.events["branchline"].deletion_protection
    error_message = "The table is protected."
  }
}

run "vertex_ai_is_enabled_where_jobs_train_and_where_who_asks_for_them_is" {
  command = plan

  variables {
    training_project = "acme-train"
  }

  assert {
    condition     = toset([for it in google_project_service.api : it.project if it.service == "aiplatform.googleapis.com"]) == toset(["acme-ml", "acme-train"])
    error_message = "Its API is enabled elsewhere."
  }
}
