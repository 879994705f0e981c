# Who may do what. The rows are those of ../grants.yaml, which doctor and the local stack read too.
locals {
  # Terraform reads YAML 1.1, in which a bare `on` is `true`.
  file = {
    for part, rows in yamldecode(file("${path.module}/../grants.yaml")) :
    part => [for it in rows : { on = it["true"], role = it.role, permissions = it.permissions }]
  }

  rows = merge(local.file, {
    # Of these doctor knows nothing: they are no part of Branchline.
    trainer = concat(
      [
        { on = "artifact_bucket", role = "roles/storage.objectViewer" },
        { on = "staging_bucket", role = "roles/storage.objectViewer" },
        { on = "output_bucket", role = "roles/storage.objectUser" },
      ],
      [for it in ["roles/aiplatform.user"] : { on = "training_project", role = it } if var.trainer_runs_pipelines],
    )
    # It asks the project that the autoscaler's selector names: Pub/Sub's, wherever the cluster is.
    metrics_adapter = [{ on = "topic_project", role = "roles/monitoring.viewer" }]
    operators = [
      { on = "request_bucket", role = "roles/storage.objectCreator" },
      { on = "ledger_bucket", role = "roles/storage.objectViewer" },
      { on = "dead_letter_bucket", role = "roles/storage.objectViewer" },
      { on = "queue_bucket", role = "roles/storage.objectViewer" },
      { on = "training_project", role = "roles/logging.viewer" },
      { on = "training_project", role = "roles/aiplatform.viewer" },
    ]
  })

  # Who has the rows of each part.
  whos = merge(
    { for part in keys(local.accounts) : part => [for who, it in local.holders : who if it.part == part] },
    {
      service_agent   = ["service_agent"]
      operators       = tolist(var.operators)
      metrics_adapter = [for it in [var.metrics_adapter] : it if it != null]
    },
  )

  # Their names in IAM.
  members = merge(
    { for it in concat(local.whos.operators, local.whos.metrics_adapter) : it => it },
    { for who, it in local.holders : who => it.member },
    { service_agent = "serviceAccount:service-${local.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com" },
  )

  # What each `on:` is here. A name that is not here stops the plan.
  things = {
    artifact_topic           = { kind = "topic", names = ["artifact-ready"] }
    run_event_topic          = { kind = "topic", names = ["run-events"] }
    dead_letter_topic        = { kind = "topic", names = ["dead-letters"] }
    worker_subscription      = { kind = "subscription", names = ["artifact-ready-worker"] }
    notifier_subscription    = { kind = "subscription", names = ["run-events-notifier"] }
    dead_letter_subscription = { kind = "subscription", names = ["dead-letters-archive"] }
    # Pub/Sub moves the dead letters of both.
    service_agent_subscription = { kind = "subscription", names = ["artifact-ready-worker", "run-events-notifier"] }
    artifact_bucket            = { kind = "bucket", names = ["artifacts"] }
    ledger_bucket              = { kind = "bucket", names = ["ledger"] }
    queue_bucket               = { kind = "bucket", names = ["queue"] }
    request_bucket             = { kind = "bucket", names = ["requests"] }
    output_bucket              = { kind = "bucket", names = ["output"] }
    dead_letter_bucket         = { kind = "bucket", names = ["dead-letters"] }
    staging_bucket             = { kind = "bucket", names = var.staging ? ["staging"] : [] }
    training_project           = { kind = "project", names = [local.training_project] }
    training_account = { kind = "account", names = concat(["trainer"], tolist(setunion(
      var.training_accounts, [for it in lookup(var.additional_members, "trainer", []) : trimprefix(it, "serviceAccount:")],
    ))) }
    topic_project = { kind = "project", names = [var.project] }
  }

  grants = {
    for it in flatten([
      for part, rows in local.rows : [
        for row in rows : [
          for who in local.whos[part] : [
            for thing in [local.things[row.on == "subscription" ? "${part}_subscription" : row.on]] : [
              for name in thing.names :
              { part = part, who = who, role = row.role, kind = thing.kind, name = name, permissions = try(row.permissions, []) }
            ]
          ]
        ]
      ]
    ]) : "${it.who} ${it.role} ${it.name}" => it
  }
}

resource "google_pubsub_topic_iam_member" "grant" {
  for_each = { for key, it in local.grants : key => it if it.kind == "topic" }

  project = var.project
  topic   = google_pubsub_topic.topic[each.value.name].name
  role    = each.value.role
  member  = local.members[each.value.who]
}

resource "google_pubsub_subscription_iam_member" "grant" {
  for_each = { for key, it in local.grants : key => it if it.kind == "subscription" }

  project      = var.project
  subscription = google_pubsub_subscription.subscription[each.value.name].name
  role         = each.value.role
  member       = local.members[each.value.who]
}

resource "google_storage_bucket_iam_member" "grant" {
  for_each = { for key, it in local.grants : key => it if it.kind == "bucket" }

  bucket = local.bucket[each.value.name]
  role   = each.value.role
  member = local.members[each.value.who]
}

# Exactly the permissions of the row: roles/aiplatform.user may delete models and read every dataset.
resource "google_project_iam_custom_role" "training" {
  for_each = { for it in local.grants : it.part => it if it.kind == "project" && it.who == it.part && length(it.permissions) > 0 }

  project     = each.value.name
  role_id     = replace("${var.account_prefix}_${each.key}_${var.project}", "-", "_")
  title       = "${title(var.account_prefix)} ${each.key} of ${var.project}"
  permissions = each.value.permissions
  depends_on  = [google_project_service.api]

  # Another prefix is another role: whoever has this one has that one first.
  lifecycle {
    create_before_destroy = true
  }
}

resource "google_project_iam_member" "grant" {
  for_each = { for key, it in local.grants : key => it if it.kind == "project" }

  project = each.value.name
  role    = length(each.value.permissions) > 0 ? google_project_iam_custom_role.training[each.value.part].name : each.value.role
  member  = local.members[each.value.who]

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_service_account_iam_member" "grant" {
  for_each = { for key, it in local.grants : key => it if it.kind == "account" }

  service_account_id = each.value.name == "trainer" ? google_service_account.account["trainer"].name : "projects/${local.training_project}/serviceAccounts/${each.value.name}"
  role               = each.value.role
  member             = local.members[each.value.who]
}
