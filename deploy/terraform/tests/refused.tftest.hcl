# What the variables refuse, one wrong value at a time.

mock_provider "google" {
  source = "./tests/mocks"
}

variables {
  project              = "acme-ml"
  project_number       = "42"
  location             = "europe-west4"
  bucket_prefix        = "acme"
  gitlab_namespace_ids = ["7"]
}

run "a_projects_name_is_refused" {
  command = plan

  variables {
    project = "Acme ML"
  }

  expect_failures = [var.project]
}

run "a_number_that_is_none_is_refused" {
  command = plan

  variables {
    project_number = "acme-ml"
  }

  expect_failures = [var.project_number]
}

run "a_location_that_is_none_is_refused" {
  command = plan

  variables {
    location = "europe west"
  }

  expect_failures = [var.location]
}

run "capital_letters_in_a_bucket_is_refused" {
  command = plan

  variables {
    bucket_prefix = "Acme"
  }

  expect_failures = [var.bucket_prefix]
}

run "an_account_that_is_too_long_is_refused" {
  command = plan

  variables {
    account_prefix = "branchline-of-the-whole-company"
  }

  expect_failures = [var.account_prefix]
}

run "a_training_project_by_number_is_refused" {
  command = plan

  variables {
    training_project = "42"
  }

  expect_failures = [var.training_project]
}

run "a_user_to_train_as_is_refused" {
  command = plan

  variables {
    training_accounts = ["ada@example.com"]
  }

  expect_failures = [var.training_accounts]
}

run "copies_that_go_too_early_is_refused" {
  command = plan

  variables {
    staging_days = 6
  }

  expect_failures = [var.staging_days]
}

run "half_a_day_of_retention_is_refused" {
  command = plan

  variables {
    ledger_retention_days = 0.5
  }

  expect_failures = [var.ledger_retention_days]
}

run "an_index_shorter_than_a_message_lives_is_refused" {
  command = plan

  variables {
    index_days = 31
  }

  expect_failures = [var.index_days]
}

run "dead_letters_that_go_before_they_are_read_is_refused" {
  command = plan

  variables {
    dead_letter_days = 7
  }

  expect_failures = [var.dead_letter_days]
}

run "an_issuer_with_a_slash_is_refused" {
  command = plan

  variables {
    gitlab_issuer = "https://gitlab.com/"
  }

  expect_failures = [var.gitlab_issuer]
}

run "an_issuer_without_tls_is_refused" {
  command = plan

  variables {
    gitlab_issuer = "http://gitlab.example.com"
  }

  expect_failures = [var.gitlab_issuer]
}

run "keys_that_are_none_are_refused" {
  command = plan

  variables {
    gitlab_jwks = "{}"
  }

  expect_failures = [var.gitlab_jwks]
}

run "a_private_key_is_refused" {
  command = plan

  variables {
    gitlab_jwks = "{\"keys\": [{\"kid\": \"a\", \"d\": \"x\"}]}"
  }

  expect_failures = [var.gitlab_jwks]
}

run "a_path_among_ids_is_refused" {
  command = plan

  variables {
    gitlab_namespace_ids = ["ml"]
  }

  expect_failures = [var.gitlab_namespace_ids]
}

run "every_group_is_refused" {
  command = plan

  variables {
    gitlab_namespace_ids   = []
    gitlab_namespace_paths = ["*"]
  }

  expect_failures = [var.gitlab_namespace_paths]
}

run "ids_and_paths_is_refused" {
  command = plan

  variables {
    gitlab_namespace_paths = ["ml"]
  }

  expect_failures = [var.gitlab_namespace_paths]
}

run "a_path_that_breaks_out_of_the_condition_is_refused" {
  command = plan

  variables {
    gitlab_namespace_ids   = []
    gitlab_namespace_paths = ["ml\"] || true || \""]
  }

  expect_failures = [var.gitlab_namespace_paths]
}

run "every_project_is_refused" {
  command = plan

  variables {
    gitlab_project_ids = ["*"]
  }

  expect_failures = [var.gitlab_project_ids]
}

run "a_pool_of_googles_is_refused" {
  command = plan

  variables {
    pool = "gcp-gitlab"
  }

  expect_failures = [var.pool]
}

run "googles_audience_for_branchline_is_refused" {
  command = plan

  variables {
    audience = "https://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/gitlab/providers/gitlab"
  }

  expect_failures = [var.audience]
}

run "a_cluster_by_number_is_refused" {
  command = plan

  variables {
    gke_project = "42"
  }

  expect_failures = [var.gke_project]
}

run "a_namespace_that_kubernetes_refuses_is_refused" {
  command = plan

  variables {
    kubernetes_namespace = "Branchline"
  }

  expect_failures = [var.kubernetes_namespace]
}

run "one_account_for_both_roles_is_refused" {
  command = plan

  variables {
    kubernetes_service_accounts = { worker = "branchline", notifier = "branchline" }
  }

  expect_failures = [var.kubernetes_service_accounts]
}

run "everybody_as_operator_is_refused" {
  command = plan

  variables {
    operators = ["allUsers"]
  }

  expect_failures = [var.operators]
}

run "every_google_account_as_operator_is_refused" {
  command = plan

  variables {
    operators = ["allAuthenticatedUsers"]
  }

  expect_failures = [var.operators]
}

run "a_whole_domain_as_operator_is_refused" {
  command = plan

  variables {
    operators = ["domain:example.com"]
  }

  expect_failures = [var.operators]
}

run "a_dataset_with_a_hyphen_is_refused" {
  command = plan

  variables {
    bigquery_dataset = "run-events"
  }

  expect_failures = [var.bigquery_dataset]
}

run "a_monitoring_project_by_number_is_refused" {
  command = plan

  variables {
    monitoring_project = "42"
  }

  expect_failures = [var.monitoring_project]
}

run "a_channel_by_address_is_refused" {
  command = plan

  variables {
    notification_channels = ["ada@example.com"]
  }

  expect_failures = [var.notification_channels]
}

run "no_group_at_all_is_refused" {
  command = plan

  variables {
    gitlab_namespace_ids = []
  }

  expect_failures = [var.gitlab_namespace_paths]
}

run "a_region_that_is_none_is_refused" {
  command = plan

  variables {
    regions = ["EU"]
  }

  expect_failures = [var.regions]
}

run "a_location_that_is_no_region_needs_regions" {
  command = plan

  variables {
    location = "EU"
  }

  expect_failures = [var.regions]
}

run "an_additional_account_of_no_part_is_refused" {
  command = plan

  variables {
    additional_members = { leader = ["serviceAccount:a@acme-ml.iam.gserviceaccount.com"] }
  }

  expect_failures = [var.additional_members]
}

run "a_user_as_additional_account_is_refused" {
  command = plan

  variables {
    additional_members = { worker = ["user:ada@example.com"] }
  }

  expect_failures = [var.additional_members]
}

run "one_account_for_two_parts_is_refused" {
  command = plan

  variables {
    additional_members = { worker = ["serviceAccount:a@acme-ml.iam.gserviceaccount.com"], ci = ["serviceAccount:a@acme-ml.iam.gserviceaccount.com"] }
  }

  expect_failures = [var.additional_members]
}

run "the_keys_of_an_example_are_refused" {
  command = plan

  variables {
    gitlab_jwks = "{\"keys\": [{\"kid\": \"replace-me\", \"kty\": \"RSA\", \"n\": \"AQAB\", \"e\": \"AQAB\"}]}"
  }

  expect_failures = [var.gitlab_jwks]
}

run "everybody_as_doctor_is_refused" {
  command = plan

  variables {
    doctor_members = ["allAuthenticatedUsers"]
  }

  expect_failures = [var.doctor_members]
}

run "a_whole_pool_as_metrics_adapter_is_refused" {
  command = plan

  variables {
    metrics_adapter = "principalSet://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/acme-ml.svc.id.goog/*"
  }

  expect_failures = [var.metrics_adapter]
}
