//! The stack within the test, and roles as processes beside it that can be replaced one by one.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use branchline_contract::Outcome;
use branchline_gcp::Config;
use branchline_gcp::pubsub::{Message, Publish as _, Publisher};
use branchline_gcp::storage::Storage;
use branchline_ledger::{History, Store};
use branchline_local::installation::{self, DEAD_LETTERS, LEDGER, PROJECT, topic};
use branchline_local::stack::{Options, Stack};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::identity::ANYBODY;
use crate::processes::{Role, free_ports};
use crate::roles::{endpoints, google, grant, grant_worker};
use crate::world::run_id;

/// A message that was not understood comes again after 10 s and more, and an issuer is asked twice a minute.
const WITHIN: Duration = Duration::from_mins(2);
const GRACE: Duration = Duration::from_secs(30);

/// An installation. Its roles are the caller's.
pub struct Rolled {
    /// The embedded services.
    pub stack: Stack,
    directory: TempDir,
    started: AtomicU32,
    store: Store,
    enforced: bool,
    owner: Config,
}

impl Rolled {
    /// Starts the stack, which logs what goes over its wire.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// The same where IAM is enforced, and each role is an account of its own.
    pub async fn start_enforced() -> Self {
        Self::start_with(Options { enforce_iam: true, ..Options::default() }).await
    }

    async fn start_with(options: Options) -> Self {
        let (directory, enforced) = (tempfile::tempdir().unwrap(), options.enforce_iam);
        let wire_log = Some(directory.path().join("wire.jsonl"));
        let stack = Stack::start(Options { wire_log, ..options }).await.unwrap();
        installation::create(&stack, PROJECT).unwrap();
        if enforced {
            grant(&stack);
        }
        std::fs::write(directory.path().join("policy.yaml"), ANYBODY).unwrap();
        let owner = google(&stack, "owner", enforced).await;
        let storage = Arc::new(Storage::connect(&owner).await.unwrap());
        let store = Store::new(storage, LEDGER.to_owned(), Timestamp::now);
        Self { stack, directory, started: AtomicU32::default(), store, enforced, owner }
    }

    /// A file of the installation's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Address of GitLab.
    pub fn gitlab(&self) -> String {
        format!("http://{}", self.stack.endpoints().gitlab)
    }

    /// Where the test's own clients find the stack.
    pub fn google(&self) -> Config {
        self.owner.clone()
    }

    /// Starts a worker that is told this, too.
    pub async fn worker(&self, told: &Value) -> Role {
        self.worker_as("worker", told).await
    }

    /// The same as another account.
    pub async fn worker_as(&self, account: &str, told: &Value) -> Role {
        let mut config = installation::worker(json!({
            "policy": self.path("policy.yaml"),
            "tick": "100ms",
            "lease": "3s",
            "settle": "1s",
        }));
        config.as_object_mut().unwrap().extend(told.as_object().unwrap().clone());
        self.role("worker", account, config, &[]).await
    }

    /// Makes another account that may do what the worker may.
    pub fn grant_worker(&self, account: &str) {
        grant_worker(&self.stack, account);
    }

    /// Where the clients of an account find the stack.
    pub async fn google_of(&self, account: &str) -> Config {
        google(&self.stack, account, self.enforced).await
    }

    /// Starts a notifier with the token in a file.
    pub async fn notifier(&self, token: &Path) -> Role {
        let config = installation::notifier(json!({"gitlab": self.gitlab()}));
        let token = token.to_str().unwrap().to_owned();
        self.role(
            "notifier",
            "notifier",
            config,
            &[("BRANCHLINE_GITLAB_TOKEN_FILE".to_owned(), token)],
        )
        .await
    }

    /// All requests that came over the wire so far.
    pub fn wire(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.path("wire.jsonl")).unwrap();
        log.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
    }

    async fn role(
        &self,
        name: &str,
        account: &str,
        mut config: Value,
        environment: &[(String, String)],
    ) -> Role {
        let [port] = free_ports();
        let port = config["listen"].as_u64().map_or(port, |it| it.try_into().unwrap());
        config["listen"] = json!(format!("127.0.0.1:{port}"));
        config["google"] = endpoints(&self.google_of(account).await);
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let file = self.path(&format!("{number}.yaml"));
        std::fs::write(&file, config.to_string()).unwrap();
        let log = self.path(&format!("{number}.log"));
        let arguments = [name, "--config", file.to_str().unwrap()];
        let mut role = Role::start(name, &arguments, environment, &log).unwrap();
        role.listens(port).await.unwrap();
        role
    }

    /// As a Deployment does it: the new one is there before the old one goes.
    pub async fn roll(&self, old: Role, told: &Value) -> Role {
        let new = self.worker(told).await;
        self.drain(old).await;
        new
    }

    /// Has it finish what it has in hand, and waits for its end.
    pub async fn drain(&self, role: Role) {
        role.terminate().unwrap();
        role.ends(GRACE).await.unwrap();
    }

    /// Publishes a request as it is.
    pub async fn publish(&self, request: &Value) {
        publish(&self.google(), request).await;
    }

    /// The history of its run, as it is now.
    pub async fn history(&self, request: &Value) -> Option<History> {
        let project = request["gitlab"]["project_id"].as_u64().unwrap();
        self.store.load(project, &run_id(request)).await.unwrap()
    }

    /// How a request's run has ended, once it has.
    pub async fn outcome(&self, request: &Value) -> Option<Outcome> {
        let mut found = None;
        within("the run ends", async || {
            found = self.history(request).await.and_then(|it| Some(it.run.ending()?.outcome));
            found.is_some()
        })
        .await;
        found
    }

    /// Waits until there are so many dead letters, all of them of who was not believed.
    pub async fn refused(&self, count: usize) {
        let letters = || self.stack.storage.list(DEAD_LETTERS, "letters/");
        within("what nobody believes is a dead letter", async || letters().len() >= count).await;
        let letters = letters();
        assert_eq!(
            letters.len(),
            count,
            "{:?}",
            letters.iter().map(|it| &it.name).collect::<Vec<_>>()
        );
    }

    /// What GitLab shows of a run to who has this token; or how it refuses.
    pub async fn status(&self, request: &Value, token: &str) -> String {
        let (project, run) = (&request["gitlab"]["project_id"], request["run"].as_str().unwrap());
        let sha = request["gitlab"]["sha"].as_str().unwrap();
        let url = format!(
            "{}/api/v4/projects/{project}/repository/commits/{sha}/statuses?name=branchline/{run}",
            self.gitlab()
        );
        let answer = reqwest::Client::new().get(url).bearer_auth(token).send().await.unwrap();
        if !answer.status().is_success() {
            return answer.status().as_u16().to_string();
        }
        let answer: Value = answer.json().await.unwrap();
        answer[0]["status"].as_str().unwrap_or_default().to_owned()
    }

    /// Stops the stack.
    pub async fn stop(self) {
        self.stack.shutdown().await;
    }
}

/// Publishes a request as it is.
pub async fn publish(google: &Config, request: &Value) {
    let publisher = Publisher::connect(google).await.unwrap();
    let message = Message { data: request.to_string().into_bytes().into(), ..Message::default() };
    publisher.publish(&topic(PROJECT, "artifact-ready"), message).await.unwrap();
}

/// Waits for something, longer than most tests have to.
pub async fn within(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is().await {
        assert!(started.elapsed() < WITHIN, "not within {WITHIN:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
