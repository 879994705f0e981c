locals {
  # `delete` is days by prefix, `undelete_days` for how long Cloud Storage keeps what was deleted
  # or replaced.
  buckets = {
    # CI may create and not delete there, so it replaces nothing.
    artifacts = {}
    ledger    = { retention_days = var.ledger_retention_days }
    # What a token has announced is noted for as long as a message may carry it. The lease is
    # written every few seconds, and none of it is wanted back.
    queue = { delete = { "by-token/" = 32, "by-day/" = var.index_days }, undelete_days = 0 }
    # A request holds its operator's token until it is answered, and no longer.
    requests     = { undelete_days = 0 }
    output       = {}
    dead-letters = { delete = { "" = var.dead_letter_days } }
  }
}

resource "google_storage_bucket" "bucket" {
  for_each = local.buckets

  project                     = var.project
  name                        = "${var.bucket_prefix}-${each.key}"
  location                    = var.location
  force_destroy               = false
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  dynamic "retention_policy" {
    for_each = try([each.value.retention_days], [])

    content {
      retention_period = retention_policy.value * 24 * 3600
      is_locked        = var.ledger_locked
    }
  }

  dynamic "soft_delete_policy" {
    for_each = try([each.value.undelete_days], [])

    content {
      retention_duration_seconds = soft_delete_policy.value * 24 * 3600
    }
  }

  dynamic "lifecycle_rule" {
    for_each = try(each.value.delete, {})

    content {
      action {
        type = "Delete"
      }
      condition {
        age            = lifecycle_rule.value
        matches_prefix = lifecycle_rule.key == "" ? null : [lifecycle_rule.key]
      }
    }
  }

  depends_on = [google_project_service.api]

  # Another name would take away everybody's rights first, and then fail on a bucket that is not
  # empty. A plan that wants that fails itself.
  lifecycle {
    prevent_destroy = true
  }
}

moved {
  from = google_storage_bucket.bucket["staging"]
  to   = google_storage_bucket.staging["staging"]
}

# Copies can be made again, so this one may be switched off.
resource "google_storage_bucket" "staging" {
  for_each = toset([for it in ["staging"] : it if var.staging])

  project                     = var.project
  name                        = "${var.bucket_prefix}-${each.key}"
  location                    = var.location
  force_destroy               = false
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  depends_on                  = [google_project_service.api]

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age = var.staging_days
    }
  }
}
