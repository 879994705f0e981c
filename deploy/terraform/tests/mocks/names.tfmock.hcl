# Names as Google gives them, in the projects acme-ml and acme-train, for every test.

mock_resource "google_storage_bucket" {
  defaults = { project_number = 42 }
}

override_resource {
  target = google_service_account.account["ci"]
  values = {
    email  = "branchline-ci@acme-ml.iam.gserviceaccount.com"
    member = "serviceAccount:branchline-ci@acme-ml.iam.gserviceaccount.com"
    name   = "projects/acme-ml/serviceAccounts/branchline-ci@acme-ml.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.account["worker"]
  values = {
    email  = "branchline-worker@acme-ml.iam.gserviceaccount.com"
    member = "serviceAccount:branchline-worker@acme-ml.iam.gserviceaccount.com"
    name   = "projects/acme-ml/serviceAccounts/branchline-worker@acme-ml.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.account["notifier"]
  values = {
    email  = "branchline-notifier@acme-ml.iam.gserviceaccount.com"
    member = "serviceAccount:branchline-notifier@acme-ml.iam.gserviceaccount.com"
    name   = "projects/acme-ml/serviceAccounts/branchline-notifier@acme-ml.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.account["trainer"]
  values = {
    email  = "branchline-trainer@acme-train.iam.gserviceaccount.com"
    member = "serviceAccount:branchline-trainer@acme-train.iam.gserviceaccount.com"
    name   = "projects/acme-train/serviceAccounts/branchline-trainer@acme-train.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_project_iam_custom_role.training
  values = { name = "projects/acme-train/roles/branchline_worker_acme_ml" }
}

override_resource {
  target = google_pubsub_topic.topic["artifact-ready"]
  values = { id = "projects/acme-ml/topics/artifact-ready" }
}

override_resource {
  target = google_pubsub_topic.topic["run-events"]
  values = { id = "projects/acme-ml/topics/run-events" }
}

override_resource {
  target = google_pubsub_topic.topic["dead-letters"]
  values = { id = "projects/acme-ml/topics/dead-letters" }
}
