//! Who is who in the demo: an account for each role, with the roles of `deploy/grants.yaml` and no
//! others, and an identity provider by which a CI job becomes one with its ID token.

use std::path::Path;

use anyhow::Context as _;
use branchline_local::iam::{Provider, Resource};
use branchline_local::installation::{self, LEDGER, OUTPUT, PROJECT};
use branchline_local::stack::Stack;
use serde_json::{Value, json};

use crate::doctor::grants::GRANTS;

/// Pool and provider have the same name.
const POOL: &str = "gitlab";
/// A subject is short and never reused; what is bound is the project.
const MAPPING: [(&str, &str); 2] = [
    (
        "google.subject",
        r#""project:" + assertion.project_id + ":pipeline:" + assertion.pipeline_id"#,
    ),
    ("attribute.project_id", "assertion.project_id"),
];

/// Sets everything up for the CI jobs of a group, and switches IAM on.
pub(super) fn grant(stack: &Stack, group: &str) -> anyhow::Result<()> {
    let iam = &stack.iam;
    let number = iam.create_project(PROJECT);
    // A pipeline that names no account runs as this one.
    let trainer = format!("{number}-compute@developer.gserviceaccount.com");
    installation::grant(stack, PROJECT, GRANTS, &trainer)?;
    watch(stack)?;

    let issuer = format!("http://{}", stack.endpoints().gitlab);
    let mut provider = Provider::new(&issuer, &MAPPING);
    provider.condition = Some(format!("assertion.namespace_path == \"{group}\""));
    iam.create_pool(PROJECT, POOL);
    iam.put_provider(PROJECT, POOL, POOL, provider)?;
    iam.enforce(true);
    Ok(())
}

/// Lets the CI jobs of a project become the account `ci`.
pub(super) fn let_in(stack: &Stack, project_id: u64) -> anyhow::Result<()> {
    let pool = stack.iam.create_pool(PROJECT, POOL);
    let jobs = format!("principalSet:{pool}/attribute.project_id/{project_id}");
    let ci = Resource::account(&account("ci"));
    Ok(stack.iam.bind(&ci, "roles/iam.workloadIdentityUser", &jobs)?)
}

/// The address of a role's account.
fn account(id: &str) -> String {
    format!("{id}@{PROJECT}.iam.gserviceaccount.com")
}

/// Whoever shows the demo looks at the ledger, the job and the model, and does nothing.
fn watch(stack: &Stack) -> anyhow::Result<()> {
    let member = format!("serviceAccount:{}", stack.iam.create_service_account(PROJECT, "viewer"));
    let role = format!("projects/{PROJECT}/roles/jobViewer");
    let jobs = ["customJobs", "hyperparameterTuningJobs", "pipelineJobs", "trainingPipelines"];
    let permissions = jobs.map(|it| format!("aiplatform.{it}.get"));
    stack.iam.put_role(&role, &permissions.each_ref().map(String::as_str));
    for role in [role.as_str(), "roles/logging.viewer"] {
        stack.iam.bind(&Resource::project(PROJECT), role, &member)?;
    }
    for bucket in [LEDGER, OUTPUT] {
        stack.iam.bind(&Resource::bucket(bucket), "roles/storage.objectViewer", &member)?;
    }
    Ok(())
}

/// Where a process that runs as that account finds its metadata server.
pub(super) async fn metadata_endpoint(stack: &Stack, id: &str) -> anyhow::Result<String> {
    let listens =
        stack.metadata_server(&account(id)).await.context("starting a metadata server")?;
    Ok(format!("http://{listens}"))
}

/// Writes what a CI job has of Google's: the token that GitLab gave it, and the file that `gcloud
/// iam workload-identity-pools create-cred-config` writes, here with the stack's addresses.
pub(super) fn write_credentials(stack: &Stack, token: &str, checkout: &Path) -> anyhow::Result<()> {
    let iam = format!("http://{}", stack.endpoints().iam);
    let pool = stack.iam.create_pool(PROJECT, POOL);
    let credentials: Value = json!({
        "type": "external_account",
        "audience": format!("{pool}/providers/{POOL}"),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{iam}/v1/token"),
        "service_account_impersonation_url":
            format!("{iam}/v1/projects/-/serviceAccounts/{}:generateAccessToken", account("ci")),
        "credential_source": {"file": "google-token", "format": {"type": "text"}},
    });
    let write = |name: &str, text: &str| std::fs::write(checkout.join(name), text);
    write("google-token", token).context("writing the CI job's token")?;
    write("google.json", &credentials.to_string()).context("writing the CI job's credentials")
}
