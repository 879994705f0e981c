# A second installation in the project: no name of the first's, and the same addresses in its state.

mock_provider "google" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  project              = "acme-ml"
  training_project     = "acme-train"
  location             = "europe-west4"
  bucket_prefix        = "acme"
  name_prefix          = "next-"
  account_prefix       = "branchline-next"
  staging              = true
  gitlab_namespace_ids = ["7"]
  gke_project          = "acme-gke"
  bigquery_dataset     = "next"
}

run "expected" {
  command = plan

  module {
    source = "./tests/expected"
  }
}

run "it_has_names_of_its_own" {
  command = plan

  assert {
    condition = { for key, it in google_pubsub_topic.topic : key => it.name } == {
      artifact-ready = "next-artifact-ready"
      dead-letters   = "next-dead-letters"
      run-events     = "next-run-events"
    }
    error_message = "Topics are called otherwise."
  }

  assert {
    condition = { for key, it in google_pubsub_subscription.subscription : key => it.name } == {
      artifact-ready-worker = "next-artifact-ready-worker"
      dead-letters-archive  = "next-dead-letters-archive"
      run-events-notifier   = "next-run-events-notifier"
    }
    error_message = "Subscriptions are called otherwise."
  }

  assert {
    condition     = google_pubsub_subscription.events["next"].name == "next-run-events-bigquery"
    error_message = "BigQuery's subscription is called otherwise."
  }

  assert {
    condition = { for key, it in google_secret_manager_secret.gitlab_token : key => it.secret_id } == {
      notifier = "next-notifier-gitlab-token"
      worker   = "next-worker-gitlab-token"
    }
    error_message = "Secrets are called otherwise."
  }

  assert {
    condition     = google_project_iam_custom_role.training["worker"].role_id == "branchline_next_worker_acme_ml"
    error_message = google_project_iam_custom_role.training["worker"].role_id
  }

  assert {
    condition     = length(run.expected.grants) > 20 && length(setsubtract(run.expected.grants, output.grants)) == 0
    error_message = "Not granted:\n${join("\n", setsubtract(run.expected.grants, output.grants))}"
  }

  assert {
    condition = alltrue([
      for it in output.grants : strcontains(it, " next-")
      if can(regex("(gitlab-token|artifact-ready|run-events|dead-letters)", it)) && !strcontains(it, " acme-")
    ])
    error_message = "Something of the first's is granted: ${join("\n", output.grants)}"
  }
}

run "its_roles_are_told_those_names" {
  command = plan

  assert {
    condition = {
      for key, it in yamldecode(output.worker_yaml) : key => it
      if contains(["subscription", "dead_letter_subscription", "artifact_topic", "run_event_topic", "dead_letter_topic", "installation"], key)
      } == {
      subscription             = "projects/acme-ml/subscriptions/next-artifact-ready-worker"
      dead_letter_subscription = "projects/acme-ml/subscriptions/next-dead-letters-archive"
      artifact_topic           = "projects/acme-ml/topics/next-artifact-ready"
      run_event_topic          = "projects/acme-ml/topics/next-run-events"
      dead_letter_topic        = "projects/acme-ml/topics/next-dead-letters"
      installation             = "next"
    }
    error_message = "worker.yaml: ${output.worker_yaml}"
  }

  assert {
    condition     = yamldecode(output.notifier_yaml).subscription == "projects/acme-ml/subscriptions/next-run-events-notifier"
    error_message = "notifier.yaml: ${output.notifier_yaml}"
  }

  assert {
    condition     = output.gitlab_variables.BRANCHLINE_TOPIC == "projects/acme-ml/topics/next-artifact-ready"
    error_message = output.gitlab_variables.BRANCHLINE_TOPIC
  }

  assert {
    condition = toset([
      for it in google_monitoring_alert_policy.unacked["BranchlineSubscriptionStuck"].conditions :
      regex("subscription_id = \"([^\"]+)\"", it.condition_threshold[0].filter)[0]
    ]) == toset(["next-artifact-ready-worker", "next-dead-letters-archive", "next-run-events-bigquery", "next-run-events-notifier"])
    error_message = "Another installation's messages are watched."
  }
}
