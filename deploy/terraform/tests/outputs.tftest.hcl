# What is pasted elsewhere.

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

run "outputs_name_what_was_made" {
  command = plan

  assert {
    condition = yamldecode(output.worker_yaml) == {
      subscription             = "projects/acme-ml/subscriptions/artifact-ready-worker"
      artifact_topic           = "projects/acme-ml/topics/artifact-ready"
      run_event_topic          = "projects/acme-ml/topics/run-events"
      dead_letter_topic        = "projects/acme-ml/topics/dead-letters"
      dead_letter_subscription = "projects/acme-ml/subscriptions/dead-letters-archive"
      dead_letter_bucket       = "acme-dead-letters"
      ledger_bucket            = "acme-ledger"
      queue_bucket             = "acme-queue"
      request_bucket           = "acme-requests"
      output_bucket            = "acme-output"
      regions                  = ["europe-west4"]
      policy                   = "/etc/branchline/policy.yaml"
      identity                 = { issuers = [{ issuer = "https://gitlab.com" }], audience = "branchline" }
      gitlab                   = "https://gitlab.com"
    }
    error_message = "worker.yaml: ${output.worker_yaml}"
  }

  assert {
    condition = yamldecode(output.notifier_yaml) == {
      subscription      = "projects/acme-ml/subscriptions/run-events-notifier"
      dead_letter_topic = "projects/acme-ml/topics/dead-letters"
      ledger_bucket     = "acme-ledger"
      gitlab            = "https://gitlab.com"
      merge_requests    = { queue_bucket = "acme-queue", request_bucket = "acme-requests" }
    }
    error_message = "notifier.yaml: ${output.notifier_yaml}"
  }

  assert {
    condition = [
      for it in split("---\n", output.kustomize_patch) : yamldecode(it).metadata.annotations["iam.gke.io/gcp-service-account"]
    ] == ["branchline-notifier@acme-ml.iam.gserviceaccount.com", "branchline-worker@acme-ml.iam.gserviceaccount.com"]
    error_message = "The patch: ${output.kustomize_patch}"
  }

  assert {
    condition     = alltrue([for it in split("---\n", output.kustomize_patch) : keys(yamldecode(it).metadata) == ["annotations", "name"]])
    error_message = "A patch of another namespace than the base's is one of nothing: ${output.kustomize_patch}"
  }

  assert {
    condition = output.gitlab_variables == {
      BRANCHLINE_PROVIDER        = "projects/42/locations/global/workloadIdentityPools/gitlab/providers/gitlab"
      BRANCHLINE_SERVICE_ACCOUNT = "branchline-ci@acme-ml.iam.gserviceaccount.com"
      BRANCHLINE_TOPIC           = "projects/acme-ml/topics/artifact-ready"
      BRANCHLINE_ARTIFACT_BUCKET = "acme-artifacts"
      BRANCHLINE_LEDGER_BUCKET   = "acme-ledger"
    }
    error_message = "Variables of GitLab: ${jsonencode(output.gitlab_variables)}"
  }
}

run "the_policy_is_that_of_the_overlay_filled_in" {
  command = plan

  variables {
    training_project       = "acme-train"
    regions                = ["europe-west4", "europe-west1"]
    gitlab_namespace_paths = ["ml", "ml/vision"]
  }

  assert {
    condition     = yamldecode(output.policy_yaml).rules[0].validations[0].expression == "origin.namespace in [\"ml\",\"ml/vision\"]"
    error_message = output.policy_yaml
  }

  assert {
    condition = slice(yamldecode(output.policy_yaml).rules[0].validations[*].expression, 1, 4) == [
      "vertex.project == \"acme-train\" && vertex.region in [\"europe-west4\",\"europe-west1\"]",
      "artifacts.all(it, it.bucket == \"acme-artifacts\")",
      "job.service_account == \"branchline-trainer@acme-train.iam.gserviceaccount.com\"",
    ]
    error_message = output.policy_yaml
  }

  assert {
    condition = slice(yamldecode(output.policy_yaml).rules[0].validations[*].message, 1, 4) == [
      "jobs run in acme-train, in europe-west4, europe-west1",
      "artifacts lie in acme-artifacts",
      "jobs name branchline-trainer@acme-train.iam.gserviceaccount.com as serviceAccount",
    ]
    error_message = output.policy_yaml
  }

  # So it holds for all.
  assert {
    condition     = !can(yamldecode(output.policy_yaml).rules[0].match)
    error_message = output.policy_yaml
  }

  # All else is as it is there.
  assert {
    condition = (
      length(yamldecode(output.policy_yaml).rules) == length(yamldecode(file("../k8s/overlays/gke/policy.yaml")).rules)
      && slice(yamldecode(output.policy_yaml).rules[0].validations, 4, 7) == slice(yamldecode(file("../k8s/overlays/gke/policy.yaml")).rules[0].validations, 4, 7)
      && slice(yamldecode(output.policy_yaml).rules, 1, 3) == slice(yamldecode(file("../k8s/overlays/gke/policy.yaml")).rules, 1, 3)
      && length(regexall("PROJECT|GROUP", output.policy_yaml)) == 0
    )
    error_message = output.policy_yaml
  }
}

run "the_policy_names_groups_by_id_where_they_are_let_in_by_id" {
  command = plan

  variables {
    gitlab_namespace_paths = []
    gitlab_namespace_ids   = ["574"]
  }

  assert {
    condition     = yamldecode(output.policy_yaml).rules[0].validations[0].expression == "claims.namespace_id in [\"574\"]"
    error_message = output.policy_yaml
  }
}

# In the order of the help, so that whoever reads both finds each.
run "a_team_is_told_all_that_it_cannot_know" {
  command = plan

  variables {
    training_project = "acme-train"
    location         = "EU"
    regions          = ["europe-west4", "europe-west1"]
    component        = "ml-platform/branchline/train@1"
  }

  assert {
    condition = output.init_command == join(" ", [
      "branchline init --project acme-train --region europe-west4 --topic projects/acme-ml/topics/artifact-ready",
      "--bucket acme-artifacts --ledger acme-ledger --training-account branchline-trainer@acme-train.iam.gserviceaccount.com",
      "--component ml-platform/branchline/train@1",
    ])
    error_message = output.init_command
  }
}

run "without_a_component_there_is_a_word_that_init_refuses" {
  command = plan

  assert {
    condition     = endswith(output.init_command, " --component COMPONENT")
    error_message = output.init_command
  }
}

run "operators_are_believed_by_name_and_so_is_the_notifier" {
  command = plan

  variables {
    gitlab_issuer      = "https://gitlab.example.com:443/code"
    additional_members = { notifier = ["serviceAccount:notifier-next@acme-ml.iam.gserviceaccount.com"] }
    proven_operators = {
      members   = { "ada@example.com" = 574, "night@acme-ml.iam.gserviceaccount.com" = null }
      audiences = ["32555940559.apps.googleusercontent.com"]
    }
  }

  assert {
    condition = yamldecode(output.worker_yaml).operators == {
      members = {
        "ada@example.com"                                     = { "gitlab.example.com" = 574 }
        "night@acme-ml.iam.gserviceaccount.com"               = {}
        "branchline-notifier@acme-ml.iam.gserviceaccount.com" = {}
        "notifier-next@acme-ml.iam.gserviceaccount.com"       = {}
      }
      audiences = ["32555940559.apps.googleusercontent.com", "branchline-operators"]
    }
    error_message = "worker.yaml: ${output.worker_yaml}"
  }

  # Without it the leader would refuse every cancel of a closed merge request.
  assert {
    condition     = contains(yamldecode(output.worker_yaml).operators.audiences, yamldecode(output.notifier_yaml).merge_requests.audience)
    error_message = "notifier.yaml: ${output.notifier_yaml}"
  }
}
