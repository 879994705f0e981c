//! A whole installation with IAM enforced, in which everything is as it should be until it is
//! changed.

use std::path::{Path, PathBuf};

use branchline_local::gitlab::{Signer, Trigger};
use branchline_local::iam::{Provider, Resource};
use branchline_local::installation::{self, PROJECT, QUEUE, REQUESTS};
use branchline_local::stack::{Options, Stack};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const POOL: &str = "gitlab";
const GRANTS: &str = include_str!("../../deploy/grants.yaml");

pub(crate) struct Clinic {
    pub(crate) stack: Stack,
    pub(crate) project_id: u64,
    /// The identity provider of CI jobs.
    pub(crate) provider: Provider,
    /// Claims of the job's token for Branchline; none for no token.
    pub(crate) own_token: Option<Value>,
    /// Claims of its token for Google.
    pub(crate) google_token: Value,
    /// Whether it becomes the role's account.
    pub(crate) impersonates: bool,
    /// Whether the doctor is shown the provider.
    pub(crate) shows_provider: bool,
    /// What is written behind that in its file.
    pub(crate) behind_token: &'static str,
    /// Whether somebody changed it behind its signature.
    pub(crate) tampered: bool,
    /// The field of JSON that it lies in, if it does.
    pub(crate) token_field: Option<&'static str>,
    /// The job's credential file; none for no file.
    pub(crate) credentials: Option<Value>,
    /// As it should be.
    pub(crate) good_credentials: Value,
    /// The metadata server of a runner that is somebody itself.
    pub(crate) runner: Option<String>,
    /// What the roles find in `GOOGLE_APPLICATION_CREDENTIALS`.
    pub(crate) key_file: Option<Value>,
    pub(crate) worker: Value,
    pub(crate) notifier: Value,
    pub(crate) training_accounts: Vec<String>,
    /// The token of the notifier.
    pub(crate) gitlab_token: String,
    /// A file that it is read from instead.
    pub(crate) gitlab_token_file: Option<PathBuf>,
    admin: String,
    pub(crate) metadata: String,
    pub(crate) signer: Signer,
    pub(crate) directory: TempDir,
}

/// Address of a service account of the installation.
pub(crate) fn account(id: &str) -> String {
    format!("{id}@{PROJECT}.iam.gserviceaccount.com")
}

/// Gives every account what `deploy/grants.yaml` has for it, and the administrator everything.
fn grant(stack: &Stack) {
    let trainer = stack.iam.create_service_account(PROJECT, "trainer");
    installation::grant(stack, PROJECT, GRANTS, &trainer).unwrap();
    let admin = format!("serviceAccount:{}", stack.iam.create_service_account(PROJECT, "admin"));
    for role in ["roles/owner", "roles/iam.serviceAccountTokenCreator"] {
        stack.iam.bind(&Resource::project(PROJECT), role, &admin).unwrap();
    }
}

/// As docs/by-hand.md has it, but for the subject.
fn provider(issuer: &str) -> Provider {
    let mut provider = Provider::new(
        issuer,
        &[
            ("google.subject", r#""project:" + assertion.project_id + ":ref:" + assertion.ref"#),
            ("attribute.project_id", "assertion.project_id"),
        ],
    );
    provider.condition =
        Some(r#"assertion.namespace_path == "ml" && assertion.ref_protected == "true""#.to_owned());
    provider
}

/// What worker and notifier are configured with.
fn configurations(stack: &Stack, policy: &Path) -> (Value, Value) {
    let issuer = format!("http://{}", stack.endpoints().gitlab);
    let iam_url = format!("http://{}", stack.endpoints().iam);
    let google = json!({
        "pubsub_endpoint": format!("http://{}", stack.endpoints().pubsub),
        "storage_endpoint": format!("http://{}", stack.endpoints().storage),
        "vertex_endpoint": format!("http://{}", stack.endpoints().vertex),
        "iam_endpoint": iam_url,
    });
    let worker = installation::worker(json!({
        "policy": policy, "identity": {"issuers": [{"issuer": issuer}]}, "google": google,
    }));
    let notifier = installation::notifier(json!({
        "gitlab": issuer, "google": google,
        "merge_requests": {"queue_bucket": QUEUE, "request_bucket": REQUESTS},
    }));
    (worker, notifier)
}

impl Clinic {
    pub(crate) async fn open() -> Self {
        let options = Options { enforce_iam: true, ..Options::default() };
        let stack = Stack::start(options).await.unwrap();
        installation::create(&stack, PROJECT).unwrap();
        grant(&stack);
        let (iam, gitlab) = (&stack.iam, &stack.gitlab);
        let project_id = gitlab.create_project("ml/iris", "main", &[("a", b"a")]).unwrap();
        let job = gitlab.start_pipeline(project_id, Trigger::Push("main"), "train").unwrap();
        let issuer = format!("http://{}", stack.endpoints().gitlab);
        let provider = provider(&issuer);
        let pool = iam.create_pool(PROJECT, POOL);
        let audience = iam.put_provider(PROJECT, POOL, POOL, provider.clone()).unwrap();
        let set = format!("principalSet:{pool}/attribute.project_id/{project_id}");
        let become_ci = "roles/iam.workloadIdentityUser";
        iam.bind(&Resource::account(&account("ci")), become_ci, &set).unwrap();

        let claims = |audience: &str| {
            let token = gitlab.id_token(job.id, audience).unwrap();
            decode(&token)
        };
        let (own_token, google_token) =
            (claims("branchline"), claims(&format!("https:{audience}")));
        let metadata = stack.metadata_server(&account("admin")).await.unwrap().to_string();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("google-token");
        let iam_url = format!("http://{}", stack.endpoints().iam);
        let credentials = json!({
            "type": "external_account",
            "audience": audience,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": format!("{iam_url}/v1/token"),
            "credential_source": {"file": file},
            "service_account_impersonation_url": format!(
                "{iam_url}/v1/projects/-/serviceAccounts/{}:generateAccessToken", account("ci")),
        });
        let policy = directory.path().join("policy.yaml");
        std::fs::write(&policy, branchline_worker::MINIMAL_POLICY).unwrap();
        let (worker, notifier) = configurations(&stack, &policy);
        Self {
            gitlab_token: gitlab.token(),
            gitlab_token_file: None,
            signer: gitlab.signer().unwrap(),
            admin: iam.account_token(&account("admin")),
            training_accounts: vec![account("trainer")],
            own_token: Some(own_token),
            credentials: Some(credentials.clone()),
            good_credentials: credentials,
            behind_token: "",
            tampered: false,
            token_field: None,
            runner: None,
            key_file: None,
            impersonates: true,
            shows_provider: true,
            provider,
            google_token,
            worker,
            notifier,
            metadata,
            project_id,
            directory,
            stack,
        }
    }

    /// Puts the provider in force as it is here.
    pub(crate) fn put_provider(&self) {
        self.stack.iam.put_provider(PROJECT, POOL, POOL, self.provider.clone()).unwrap();
    }

    /// Runs the doctor as the account of a role, as in its pod.
    pub(crate) fn runs_as(&mut self, id: &str) {
        self.metadata = self.metadata_of(id);
        self.impersonates = false;
    }

    /// A metadata server that speaks for an account.
    pub(crate) fn metadata_of(&self, id: &str) -> String {
        tokio::task::block_in_place(|| {
            let email = account(id);
            let server = self.stack.metadata_server(&email);
            tokio::runtime::Handle::current().block_on(server).unwrap().to_string()
        })
    }

    /// What must never be shown.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let signed = |claims: &Value| self.signer.sign(claims).unwrap();
        let own = self.own_token.as_ref().map(signed);
        let tokens = [signed(&self.google_token), self.gitlab_token.clone(), self.admin.clone()];
        own.into_iter().chain(tokens).collect()
    }

    /// A file of the clinic's own.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A request of the administrator's.
    pub(crate) fn admin(&self, method: reqwest::Method, url: &str) -> reqwest::RequestBuilder {
        reqwest::Client::new().request(method, url).bearer_auth(&self.admin)
    }

    pub(crate) fn write(&self, name: &str, value: &Value) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, value.to_string()).unwrap();
        path
    }

    /// The provider, as `gcloud … providers describe --format=json` prints it.
    pub(crate) async fn describe(&self) -> PathBuf {
        let url = format!("{}/providers/{POOL}", self.pool());
        let described: Value =
            self.admin(reqwest::Method::GET, &url).send().await.unwrap().json().await.unwrap();
        self.write("provider.json", &described)
    }

    /// Where the pool is.
    fn pool(&self) -> String {
        let iam = format!("http://{}/v1", self.stack.endpoints().iam);
        let number = self.stack.iam.create_project(PROJECT);
        format!("{iam}/projects/{number}/locations/global/workloadIdentityPools/{POOL}")
    }

    /// Switches the pool off, and on again.
    pub(crate) fn disable_pool(&self, disabled: bool) {
        let body = json!({ "disabled": disabled });
        let url = format!("{}?updateMask=disabled", self.pool());
        sent(self.admin(reqwest::Method::PATCH, &url).json(&body));
    }

    pub(crate) async fn close(self) {
        self.stack.shutdown().await;
    }
}

/// Sends a request, which has to succeed.
pub(crate) fn sent(request: reqwest::RequestBuilder) {
    tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current().block_on(async {
            let answer = request.send().await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        });
    });
}

/// The claims of a token, whoever signed it.
pub(crate) fn decode(token: &str) -> Value {
    use base64::Engine as _;
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap())
        .unwrap()
}

/// Now, in seconds.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_second()
}
