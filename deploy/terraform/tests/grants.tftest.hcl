# Who may do what: the rows of grants.yaml, those of training jobs and operators, and nothing else.

mock_provider "google" {
  source          = "./tests/mocks"
  override_during = plan
}

# Of which nothing is known before it is made.
mock_provider "google" {
  alias = "silent"
}

variables {
  project              = "acme-ml"
  training_project     = "acme-train"
  location             = "europe-west4"
  bucket_prefix        = "acme"
  staging              = true
  gitlab_namespace_ids = ["7"]
  gitlab_project_ids   = ["71"]
  gke_project          = "acme-gke"
  operators            = ["user:ada@example.com"]
  bigquery_dataset     = "branchline"
}

# Before anything is there: no key of a grant may wait for what Google will answer.
run "it_can_be_planned_from_nothing" {
  command = plan

  providers = {
    google = google.silent
  }

  variables {
    doctor_members     = ["user:ada@example.com"]
    additional_members = { worker = ["serviceAccount:worker-next@acme-ml.iam.gserviceaccount.com"] }
  }

  assert {
    condition     = length(google_service_account_iam_member.pod) == 3 && length(google_service_account_iam_member.doctor) == 3
    error_message = "Two workers' accounts and one notifier's."
  }
}

run "expected" {
  command = plan

  module {
    source = "./tests/expected"
  }
}

run "every_row_is_granted_and_nothing_else_is" {
  command = plan

  # The names that the rows are compared by are given by the test, so these have to fit.
  assert {
    condition = { for part, it in google_service_account.account : part => "${it.account_id} in ${it.project}" } == {
      ci       = "branchline-ci in acme-ml"
      notifier = "branchline-notifier in acme-ml"
      trainer  = "branchline-trainer in acme-train"
      worker   = "branchline-worker in acme-ml"
    }
    error_message = "Each part has an account, and jobs have theirs where they train."
  }

  assert {
    condition     = "projects/${google_project_iam_custom_role.training["worker"].project}/roles/${google_project_iam_custom_role.training["worker"].role_id}" == "projects/acme-train/roles/branchline_worker_acme_ml"
    error_message = "The worker's role lies in the training project."
  }

  assert {
    condition     = length(run.expected.grants) > 20
    error_message = "Only ${length(run.expected.grants)} rows were read from grants.yaml."
  }

  assert {
    condition     = length(setsubtract(run.expected.grants, output.grants)) == 0
    error_message = "Not granted:\n${join("\n", setsubtract(run.expected.grants, output.grants))}"
  }

  # Jobs that train, operators, and those who become an account.
  assert {
    condition = setsubtract(output.grants, run.expected.grants) == toset([
      "serviceAccount:branchline-trainer@acme-train.iam.gserviceaccount.com roles/storage.objectViewer acme-artifacts",
      "serviceAccount:branchline-trainer@acme-train.iam.gserviceaccount.com roles/storage.objectViewer acme-staging",
      "serviceAccount:branchline-trainer@acme-train.iam.gserviceaccount.com roles/storage.objectUser acme-output",
      "user:ada@example.com roles/storage.objectCreator acme-requests",
      "user:ada@example.com roles/storage.objectViewer acme-ledger",
      "user:ada@example.com roles/storage.objectViewer acme-dead-letters",
      "user:ada@example.com roles/storage.objectViewer acme-queue",
      "user:ada@example.com roles/logging.viewer acme-train",
      "user:ada@example.com roles/aiplatform.viewer acme-train",
      "serviceAccount:acme-gke.svc.id.goog[branchline/worker] roles/iam.workloadIdentityUser projects/acme-ml/serviceAccounts/branchline-worker@acme-ml.iam.gserviceaccount.com",
      "serviceAccount:acme-gke.svc.id.goog[branchline/notifier] roles/iam.workloadIdentityUser projects/acme-ml/serviceAccounts/branchline-notifier@acme-ml.iam.gserviceaccount.com",
      "serviceAccount:branchline-worker@acme-ml.iam.gserviceaccount.com roles/secretmanager.secretAccessor worker-gitlab-token",
      "serviceAccount:branchline-notifier@acme-ml.iam.gserviceaccount.com roles/secretmanager.secretAccessor notifier-gitlab-token",
      "principalSet://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/gitlab/attribute.project_id/71 roles/iam.workloadIdentityUser projects/acme-ml/serviceAccounts/branchline-ci@acme-ml.iam.gserviceaccount.com",
      "serviceAccount:service-42@gcp-sa-pubsub.iam.gserviceaccount.com roles/bigquery.dataEditor run_events",
    ])
    error_message = "Granted beside the rows:\n${join("\n", setsubtract(output.grants, run.expected.grants))}"
  }

  assert {
    condition     = toset(google_project_iam_custom_role.training["worker"].permissions) == run.expected.training_permissions
    error_message = "The role of the training project has other permissions than its row."
  }
}

run "nobody_is_granted_anything_by_default" {
  command = plan

  variables {
    staging            = false
    gitlab_project_ids = []
    gke_project        = null
    operators          = []
    bigquery_dataset   = null
  }

  assert {
    condition = length([
      for it in output.grants : it
      if !can(regex("^serviceAccount:(branchline-(ci|worker|notifier|trainer)|service-42)@", it))
    ]) == 0
    error_message = "Somebody beside the parts of the installation: ${join(", ", output.grants)}"
  }
}

# So that an account is changed without a pause: the new one has all that the old one has.
run "an_additional_account_has_every_right_of_its_part" {
  command = plan

  variables {
    doctor_members = ["user:ada@example.com"]
    additional_members = {
      ci       = ["serviceAccount:ci-next@acme-ml.iam.gserviceaccount.com"]
      worker   = ["serviceAccount:worker-next@acme-ml.iam.gserviceaccount.com"]
      notifier = ["serviceAccount:notifier-next@acme-ml.iam.gserviceaccount.com"]
      trainer  = ["serviceAccount:trainer-next@acme-train.iam.gserviceaccount.com"]
    }
  }

  # Rows of an old and a new one are left out: the new worker trains as either trainer.
  assert {
    condition = toset([
      for it in output.grants : replace(it, "/branchline-(ci|worker|notifier|trainer)@/", "$1-next@")
      if strcontains(it, "branchline-") && !strcontains(it, "-next@")
      ]) == toset([
      for it in output.grants : it
      if strcontains(it, "-next@") && !strcontains(it, "branchline-")
    ])
    error_message = "One has what the other has not: ${join("\n", output.grants)}"
  }

  assert {
    condition = alltrue([
      for part in ["ci", "worker", "notifier", "trainer"] :
      length([for it in output.grants : it if startswith(it, "serviceAccount:${part}-next@")]) > 2
    ])
    error_message = "One of them has next to nothing."
  }

  assert {
    condition     = length([for it in output.grants : it if strcontains(it, "-next@") && strcontains(it, "roles/iam.workloadIdentityUser")]) == 3
    error_message = "Pods and jobs become the new accounts too."
  }
}

run "doctor_may_be_the_roles_and_nobody_else" {
  command = plan

  variables {
    doctor_members = ["user:eve@example.com"]
  }

  assert {
    condition = toset([for it in output.grants : it if startswith(it, "user:eve@example.com ")]) == toset([
      "user:eve@example.com roles/iam.serviceAccountTokenCreator projects/acme-ml/serviceAccounts/branchline-worker@acme-ml.iam.gserviceaccount.com",
      "user:eve@example.com roles/iam.serviceAccountTokenCreator projects/acme-ml/serviceAccounts/branchline-notifier@acme-ml.iam.gserviceaccount.com",
    ])
    error_message = join("\n", output.grants)
  }
}

run "the_trainer_of_pipelines_and_the_metrics_adapter_get_theirs_when_asked" {
  command = plan

  variables {
    trainer_runs_pipelines = true
    metrics_adapter        = "serviceAccount:metrics@acme-gke.iam.gserviceaccount.com"
  }

  assert {
    condition     = contains(output.grants, "serviceAccount:branchline-trainer@acme-train.iam.gserviceaccount.com roles/aiplatform.user acme-train")
    error_message = "A pipeline's account creates the jobs of its steps."
  }

  assert {
    condition = [for it in output.grants : it if startswith(it, "serviceAccount:metrics@")] == [
      "serviceAccount:metrics@acme-gke.iam.gserviceaccount.com roles/monitoring.viewer acme-ml",
    ]
    error_message = "The adapter reads metrics in the topics' project, for that is the one it is asked about, and nothing else."
  }
}
