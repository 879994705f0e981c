# Whom the variables refuse, one at a time.

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

run "a_user_to_train_as_is_refused" {
  command = plan

  variables {
    training_accounts = ["ada@example.com"]
  }

  expect_failures = [var.training_accounts]
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

run "no_group_at_all_is_refused" {
  command = plan

  variables {
    gitlab_namespace_ids = []
  }

  expect_failures = [var.gitlab_namespace_paths]
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

run "everybody_as_reader_of_images_is_refused" {
  command = plan

  variables {
    image_repository = { location = "europe-west4", name = "branchline" }
    image_readers    = ["allUsers"]
  }

  expect_failures = [var.image_readers]
}

run "readers_of_no_repository_are_refused" {
  command = plan

  variables {
    image_readers = ["serviceAccount:nodes@acme-ml.iam.gserviceaccount.com"]
  }

  expect_failures = [var.image_readers]
}

run "a_group_is_no_operator_who_proves_anything" {
  command = plan

  variables {
    proven_operators = { members = { "group:ml-platform@example.com" = null }, audiences = ["32555940559.apps.googleusercontent.com"] }
  }

  expect_failures = [var.proven_operators]
}

run "nobody_among_the_operators_is_refused" {
  command = plan

  variables {
    proven_operators = { members = {}, audiences = ["32555940559.apps.googleusercontent.com"] }
  }

  expect_failures = [var.proven_operators]
}

run "a_part_of_a_user_is_refused" {
  command = plan

  variables {
    proven_operators = { members = { "ada@example.com" = 57.4 }, audiences = ["32555940559.apps.googleusercontent.com"] }
  }

  expect_failures = [var.proven_operators]
}

run "operators_without_an_audience_are_refused" {
  command = plan

  variables {
    proven_operators = { members = { "ada@example.com" = 574 }, audiences = [] }
  }

  expect_failures = [var.proven_operators]
}

run "googles_audience_for_operators_is_refused" {
  command = plan

  variables {
    proven_operators = { members = { "ada@example.com" = 574 }, audiences = ["https://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/gitlab/providers/gitlab"] }
  }

  expect_failures = [var.proven_operators]
}
