# Which GitLab jobs get an identity. tests/terraform.rs evaluates these texts on tokens.

mock_provider "google" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  project              = "acme-ml"
  location             = "europe-west4"
  bucket_prefix        = "acme"
  gitlab_namespace_ids = ["7", "12"]
  gitlab_project_ids   = ["71", "72"]
}

run "groups_are_let_in_by_id_and_the_policy_decides_about_refs" {
  command = plan

  assert {
    condition     = google_iam_workload_identity_pool_provider.gitlab.attribute_condition == "assertion.namespace_id in [\"12\",\"7\"] && assertion.ref_protected in [\"true\",\"false\"]"
    error_message = google_iam_workload_identity_pool_provider.gitlab.attribute_condition
  }

  assert {
    condition = google_iam_workload_identity_pool_provider.gitlab.attribute_mapping == tomap({
      "google.subject"       = "\"project:\" + assertion.project_id + \":pipeline:\" + assertion.pipeline_id"
      "attribute.project_id" = "assertion.project_id"
    })
    error_message = jsonencode(google_iam_workload_identity_pool_provider.gitlab.attribute_mapping)
  }

  assert {
    condition = (
      google_iam_workload_identity_pool_provider.gitlab.oidc[0].issuer_uri == "https://gitlab.com"
      && google_iam_workload_identity_pool_provider.gitlab.oidc[0].jwks_json == null
      && google_iam_workload_identity_pool_provider.gitlab.oidc[0].allowed_audiences == null
    )
    error_message = "Keys come from the issuer, and the audience is the provider's name only."
  }

  assert {
    condition     = output.provider_audience == "https://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/gitlab/providers/gitlab"
    error_message = output.provider_audience
  }

  assert {
    condition = [for it in google_service_account_iam_member.gitlab : it.member] == [
      "principalSet://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/gitlab/attribute.project_id/71",
      "principalSet://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/gitlab/attribute.project_id/72",
    ]
    error_message = "Each project is bound by its id."
  }

  assert {
    condition     = alltrue([for it in google_service_account_iam_member.gitlab : it.service_account_id == google_service_account.account["ci"].name])
    error_message = "GitLab's jobs become the account of CI and no other."
  }
}

run "a_private_gitlab_brings_its_keys_and_lets_groups_in_by_path_on_protected_refs" {
  command = plan

  variables {
    gitlab_issuer              = "https://gitlab.example.com"
    gitlab_jwks                = "{\"keys\": [{\"kid\": \"a\", \"kty\": \"RSA\", \"n\": \"AQAB\", \"e\": \"AQAB\"}]}"
    gitlab_namespace_ids       = []
    gitlab_namespace_paths     = ["ml", "ml/vision"]
    gitlab_protected_refs_only = true
  }

  assert {
    condition     = google_iam_workload_identity_pool_provider.gitlab.attribute_condition == "assertion.namespace_path in [\"ml\",\"ml/vision\"] && assertion.ref_protected in [\"true\"]"
    error_message = google_iam_workload_identity_pool_provider.gitlab.attribute_condition
  }

  assert {
    condition     = jsondecode(google_iam_workload_identity_pool_provider.gitlab.oidc[0].jwks_json).keys[0].kid == "a"
    error_message = "Google is given the keys."
  }

  assert {
    condition     = yamldecode(output.worker_yaml).identity.issuers[0].issuer == "https://gitlab.example.com"
    error_message = "The worker is told the same issuer."
  }
}
