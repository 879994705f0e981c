# What the variables refuse, one wrong value at a time.

mock_provider "google" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  project              = "acme-ml"
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

run "a_prefix_without_a_hyphen_is_refused" {
  command = plan

  variables {
    name_prefix = "next"
  }

  expect_failures = [var.name_prefix]
}

run "a_prefix_that_pubsub_keeps_for_itself_is_refused" {
  command = plan

  variables {
    name_prefix = "goog-"
  }

  expect_failures = [var.name_prefix]
}

run "a_repository_that_is_nowhere_is_refused" {
  command = plan

  variables {
    image_repository = { location = "Europe", name = "branchline" }
  }

  expect_failures = [var.image_repository]
}

run "a_repository_within_another_is_refused" {
  command = plan

  variables {
    image_repository = { location = "europe", name = "ml/branchline" }
  }

  expect_failures = [var.image_repository]
}

run "documents_without_tls_are_refused" {
  command = plan

  variables {
    documents_address = "http://gitlab.example.com/docs"
  }

  expect_failures = [var.documents_address]
}

run "documents_with_a_slash_at_their_end_are_refused" {
  command = plan

  variables {
    documents_address = "https://gitlab.example.com/docs/"
  }

  expect_failures = [var.documents_address]
}

run "a_component_with_its_host_is_refused" {
  command = plan

  variables {
    component = "$CI_SERVER_FQDN/ml-platform/branchline/train@1"
  }

  expect_failures = [var.component]
}

run "a_component_without_a_version_is_refused" {
  command = plan

  variables {
    component = "ml-platform/branchline/train"
  }

  expect_failures = [var.component]
}
