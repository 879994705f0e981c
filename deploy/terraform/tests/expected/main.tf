# What grants.yaml asks of an installation with the prefix acme and a staging bucket, by the real
# names: WHO ROLE THING. Written without a look at the module, for tests to compare.
variable "name_prefix" {
  type    = string
  default = ""
}

locals {
  parts = {
    for part, rows in yamldecode(file("${path.module}/../../../grants.yaml")) :
    part => [for it in rows : merge(it, { on = it["true"] })]
  }

  who = {
    ci            = "serviceAccount:branchline-ci@acme-ml.iam.gserviceaccount.com"
    worker        = "serviceAccount:branchline-worker@acme-ml.iam.gserviceaccount.com"
    notifier      = "serviceAccount:branchline-notifier@acme-ml.iam.gserviceaccount.com"
    service_agent = "serviceAccount:service-42@gcp-sa-pubsub.iam.gserviceaccount.com"
  }

  subscriptions = {
    worker        = ["${var.name_prefix}artifact-ready-worker"]
    notifier      = ["${var.name_prefix}run-events-notifier"]
    service_agent = ["${var.name_prefix}artifact-ready-worker", "${var.name_prefix}run-events-notifier"]
  }

  things = {
    artifact_topic           = "${var.name_prefix}artifact-ready"
    artifact_bucket          = "acme-artifacts"
    dead_letter_bucket       = "acme-dead-letters"
    dead_letter_subscription = "${var.name_prefix}dead-letters-archive"
    dead_letter_topic        = "${var.name_prefix}dead-letters"
    ledger_bucket            = "acme-ledger"
    output_bucket            = "acme-output"
    queue_bucket             = "acme-queue"
    request_bucket           = "acme-requests"
    run_event_topic          = "${var.name_prefix}run-events"
    staging_bucket           = "acme-staging"
    training_account         = "projects/acme-train/serviceAccounts/branchline-trainer@acme-train.iam.gserviceaccount.com"
    training_project         = "acme-train"
  }

  # In the training project there is a role of our own instead.
  custom = { "roles/aiplatform.user" = "projects/acme-train/roles/branchline_worker_acme_ml" }
}

output "grants" {
  value = toset(flatten([
    for part, rows in local.parts : [
      for it in rows : [
        for thing in it.on == "subscription" ? local.subscriptions[part] : [local.things[it.on]] :
        "${local.who[part]} ${lookup(local.custom, it.role, it.role)} ${thing}"
      ]
    ]
  ]))
}

output "training_permissions" {
  value = toset(flatten([for it in local.parts.worker : it.permissions if it.on == "training_project"]))
}
