//! The whole system in one process: the stack, a worker, a notifier, and a
//! GitLab project whose CI jobs ask for runs.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};

use branchline_contract::{ArtifactReady, Crc32c, LetterId, RunId};
use branchline_gcp::Config;
use branchline_gcp::pubsub::{Message, Publish as _, Publisher};
use branchline_gcp::storage::Storage;
use branchline_gcp::vertex::{Jobs as _, Vertex};
use branchline_ledger::{Archive, History, LETTER_BYTES_MAX, Store};
use branchline_local::faults::Faults;
use branchline_local::gitlab::{CiJob, Signer, Trigger};
use branchline_local::installation::{self, PROJECT, topic};
use branchline_local::stack::{Options, Stack};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::eventually::eventually;
use crate::identity::{ANYBODY, signed};
use crate::processes::free_ports;
use crate::roles::{extend, google, grant, notifier, worker};

/// Project of every CI job.
const PROJECT_PATH: &str = "team/iris";

/// A running system.
pub struct World {
    /// The embedded services.
    pub stack: Stack,
    /// Our door to its Cloud Storage.
    pub storage: Storage,
    /// The run ledger.
    pub store: Store,
    /// A merge request's CI job, which asks for runs.
    pub job: CiJob,
    /// Its GitLab project.
    pub project_id: u64,
    /// Its merge request.
    pub iid: u64,
    publisher: Publisher,
    signer: Signer,
    google: Config,
    health: [String; 2],
    told: Mutex<BTreeSet<LetterId>>,
    _directory: TempDir,
    stop: CancellationToken,
    roles: Vec<JoinHandle<()>>,
}

/// A dead letter, as far as a test asks.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Its body, unchanged.
    pub data: Vec<u8>,
    /// Why it became one, in a word.
    pub reason: String,
    /// Why it became one, in a sentence.
    pub detail: String,
    /// What kind of failure.
    pub class: String,
}

impl World {
    /// Starts everything in memory.
    pub async fn start() -> Self {
        Self::start_with(Options::default(), None, json!({}), |_| {}).await
    }

    /// The same with a worker whose looks at artifacts are answered with this gRPC code while it
    /// is not 0, and whose first delivery attempt is the last unless it is told more.
    pub async fn start_refusing(code: Arc<AtomicU16>, more: Value) -> Self {
        Self::start_with(Options::default(), Some(code), more, |_| {}).await
    }

    /// The same with faults, a log of the wire if wanted, and more keys in the worker's configuration.
    pub async fn start_faulty(faults: Faults, wire_log: Option<PathBuf>, more: Value) -> Self {
        let options = Options { faults, wire_log, ..Options::default() };
        Self::start_with(options, None, more, |_| {}).await
    }

    /// The same where IAM is enforced: each role is an account with what `deploy/grants.yaml` has
    /// for it, and the test itself is an owner.
    pub async fn start_enforced(more: Value) -> Self {
        Self::start_granting(None, more, grant).await
    }

    /// The same with a log of the wire if wanted, and where somebody else grants the roles.
    pub async fn start_granting(
        wire_log: Option<PathBuf>,
        more: Value,
        grant: impl FnOnce(&Stack),
    ) -> Self {
        let options = Options { enforce_iam: true, wire_log, ..Options::default() };
        Self::start_with(options, None, more, grant).await
    }

    async fn start_with(
        options: Options,
        refusal: Option<Arc<AtomicU16>>,
        more: Value,
        grant: impl FnOnce(&Stack),
    ) -> Self {
        let enforced = options.enforce_iam;
        let stack = Stack::start(options).await.expect("it starts");
        installation::create(&stack, PROJECT).expect("the installation is made");
        let gitlab = stack.endpoints().gitlab;
        grant(&stack);
        let owner_google = google(&stack, "owner", enforced).await;
        let stop = CancellationToken::new();
        let attempts_max = if refusal.is_some() { 1 } else { 100 };
        let mut worker_google = google(&stack, "worker", enforced).await;
        let notifier_google = google(&stack, "notifier", enforced).await;
        if let Some(code) = refusal {
            let router = stack.storage.router().layer(from_fn_with_state(code, refuse));
            worker_google.storage_endpoint = Some(serve(router).await);
        }
        let health = free_ports::<2>().map(|port| format!("127.0.0.1:{port}"));
        let directory = tempfile::tempdir().expect("a directory can be made");
        let policy = directory.path().join("policy.yaml");
        std::fs::write(&policy, ANYBODY).expect("a file can be written");
        let mut config = json!({
            "policy": policy,
            "identity": {"issuers": [{"issuer": format!("http://{gitlab}")}]},
            "gitlab": format!("http://{gitlab}"),
            "consume": {"attempts_max": attempts_max},
            "listen": health[0],
        });
        // What is not known before the stack has started.
        let more = more.to_string().replace("{GITLAB}", &gitlab.to_string());
        extend(&mut config, serde_json::from_str(&more).expect("it was JSON before"));
        let (token, address) = (stack.gitlab.token(), format!("http://{gitlab}"));
        let roles = vec![
            worker(&worker_google, config, token.clone(), &stop),
            notifier(&notifier_google, &address, &health[1], token, &stop),
        ];
        let gitlab = &stack.gitlab;
        let made = gitlab.create_project(PROJECT_PATH, "main", &[("README.md", b"iris")]);
        let project_id = made.expect("the project is made");
        gitlab.commit(project_id, "try", "Try", &[("a", b"a")]).expect("the commit is made");
        let opened = gitlab.open_merge_request(project_id, "try", "main", "Try");
        let iid = opened.expect("the merge request is opened");
        let job = gitlab.start_pipeline(project_id, Trigger::MergeRequest(iid), "train");
        let storage = Storage::connect(&owner_google).await.expect("Cloud Storage is there");
        Self {
            store: Store::new(
                Arc::new(storage.clone()),
                installation::LEDGER.to_owned(),
                Timestamp::now,
            ),
            publisher: Publisher::connect(&owner_google).await.expect("Pub/Sub is there"),
            job: job.expect("the pipeline starts"),
            signer: gitlab.signer().expect("there is a key"),
            told: Mutex::default(),
            _directory: directory,
            storage,
            project_id,
            iid,
            google: owner_google,
            health,
            stack,
            stop,
            roles,
        }
    }

    /// Drains the roles and stops the stack.
    pub async fn stop(self) {
        self.stop.cancel();
        for role in self.roles {
            role.await.expect("no role panics");
        }
        self.stack.shutdown().await;
    }

    /// Whether the worker and the notifier are ready, and what each says of it.
    pub async fn readiness(&self) -> [(bool, String); 2] {
        let [worker, notifier] = &self.health;
        tokio::join!(readiness(worker), readiness(notifier)).into()
    }

    /// Uploads an object and pins it as the artifact `data`.
    pub fn artifact(&self, name: &str, content: &str) -> Value {
        let bucket = installation::ARTIFACTS;
        let object = self.stack.storage.put(bucket, name, content.to_owned());
        let generation = object.expect("the bucket is there").generation;
        json!({
            "name": "data",
            "uri": format!("gs://{bucket}/{name}"),
            "generation": generation,
            "size": content.len(),
            "crc32c": Crc32c(crc32c::crc32c(content.as_bytes())),
        })
    }

    /// A request of the CI job for a custom job that runs a shell script.
    pub fn request(&self, run: &str, artifacts: &Value, script: &str) -> Value {
        json!({
            "run": run,
            "artifacts": artifacts,
            "training": {"custom_job": {"jobSpec": {"workerPoolSpecs": [{
                "machineSpec": {"machineType": "n1-standard-4"},
                "replicaCount": 1,
                "containerSpec": {
                    "imageUri": "debian",
                    "command": ["sh", "-c", script, "train", "{{ output }}"],
                },
            }]}}},
            "vertex": {"project": PROJECT, "region": "europe-west4"},
            "gitlab": {
                "host": self.stack.endpoints().gitlab.to_string(),
                "project_id": self.project_id,
                "project_path": PROJECT_PATH,
                "sha": self.job.sha,
                "ref": "try",
                "pipeline_id": self.job.pipeline_id,
                "job_id": self.job.id,
                "merge_request": {"iid": self.iid, "target_branch": "main"},
            },
        })
    }

    /// The request with a token of its CI job.
    pub fn signed(&self, request: Value) -> Value {
        signed(&self.signer, request)
    }

    /// Publishes a request with the token of its CI job, or else a body as it is. It has no
    /// CloudEvents attributes, as with people who do it by hand.
    pub async fn publish(&self, body: impl Into<Vec<u8>>) {
        let mut body = body.into();
        if let Ok(request @ Value::Object(_)) = serde_json::from_slice::<Value>(&body)
            && request.get("gitlab").is_some()
            && request.get("id_token").is_none()
        {
            body = self.signed(request).to_string().into_bytes();
        }
        self.publish_as_it_is(body).await;
    }

    /// Publishes any body.
    pub async fn publish_as_it_is(&self, body: impl Into<Vec<u8>>) {
        let message = Message { data: body.into().into(), ..Message::default() };
        let published = self.publisher.publish(&topic(PROJECT, "artifact-ready"), message).await;
        published.expect("the message is published");
    }

    /// The history of the run that a request asks for, as it is now.
    pub async fn history(&self, request: &Value) -> Option<History> {
        let run = run_id(request);
        self.store.load(self.project_id, &run).await.expect("the ledger folds")
    }

    /// The history of the run once its attempt has ended.
    pub async fn ended(&self, request: &Value, attempt: u32) -> History {
        eventually("the attempt ends", async || {
            let history = self.history(request).await?;
            let ended = history.run.attempt == attempt && history.run.ending().is_some();
            ended.then_some(history)
        })
        .await
    }

    /// Where the test's own clients find the stack.
    pub const fn google(&self) -> &Config {
        &self.google
    }

    /// The archive of dead letters.
    pub fn archive(&self) -> Archive {
        Archive::new(Arc::new(self.storage.clone()), installation::DEAD_LETTERS.to_owned())
    }

    /// The newest dead letter that no call of this has told before.
    pub async fn dead_letter(&self) -> DeadLetter {
        let archive = self.archive();
        let letter = eventually("a dead letter comes", async || {
            let mut known = self.told.lock().await;
            let letters = archive.list(None).await.expect("the archive is listed");
            let id = letters.into_iter().map(|it| it.id).find(|it| known.insert(it.clone()))?;
            archive.letter(&id, LETTER_BYTES_MAX).await.expect("the letter is read")
        })
        .await;
        DeadLetter {
            data: letter.data.0.to_vec(),
            reason: letter.reason,
            detail: letter.detail,
            class: letter.class,
        }
    }

    /// The jobs of a run that Vertex AI knows, whatever their state.
    pub async fn jobs(&self, request: &Value) -> usize {
        let filter = format!("labels.branchline-run=\"{}\"", run_id(request));
        let kind = branchline_contract::JobKind::CustomJob;
        let vertex = self.vertex().await;
        let page = vertex.list(kind, PROJECT, "europe-west4", &filter, None).await;
        page.expect("the jobs are listed").jobs.len()
    }

    /// Our door to its Vertex AI.
    pub async fn vertex(&self) -> Vertex {
        Vertex::connect(&self.google).await.expect("Vertex AI is there")
    }

    /// A job as Vertex AI describes it.
    pub async fn vertex_job(&self, name: &str) -> Value {
        let url = format!("http://{}/v1/{name}", self.stack.endpoints().vertex);
        let answer = reqwest::get(url).await.expect("Vertex AI answers");
        answer.json().await.expect("it answers with JSON")
    }

    /// One GET on GitLab's API, with the notifier's token.
    pub async fn gitlab(&self, path: &str) -> Value {
        let url = format!("http://{}/api/v4/{path}", self.stack.endpoints().gitlab);
        let client = reqwest::Client::new();
        let answer = client.get(url).bearer_auth(self.stack.gitlab.token()).send().await;
        answer.expect("GitLab answers").json().await.expect("it answers with JSON")
    }

    /// The state of the newest commit status of a run name, if there is one.
    pub async fn commit_status(&self, run: &str) -> Option<String> {
        let path = format!(
            "projects/{}/repository/commits/{}/statuses?name=branchline/{run}",
            self.project_id, self.job.sha
        );
        let statuses = self.gitlab(&path).await;
        Some(statuses.get(0)?["status"].as_str()?.to_owned())
    }
}

/// The id of the run that a request asks for.
pub fn run_id(request: &Value) -> RunId {
    let request: ArtifactReady =
        serde_json::from_value(request.clone()).expect("the request is one");
    RunId::derive(&request).0
}

async fn readiness(address: &str) -> (bool, String) {
    match reqwest::get(format!("http://{address}/readyz")).await {
        Ok(answer) => (answer.status().is_success(), answer.text().await.unwrap_or_default()),
        Err(error) => (false, error.to_string()),
    }
}

/// Serves on a free port until the test ends, and tells where.
async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(axum::serve(listener, router).into_future());
    format!("http://{address}")
}

/// Answers every look at the bucket of artifacts with the code, if it is not 0.
async fn refuse(State(code): State<Arc<AtomicU16>>, request: Request, next: Next) -> Response {
    let bucket = request.headers().get("x-goog-request-params");
    let bucket = bucket.and_then(|it| it.to_str().ok()).unwrap_or_default();
    let code = code.load(Ordering::SeqCst);
    if code == 0 || !bucket.contains(installation::ARTIFACTS) {
        return next.run(request).await;
    }
    let headers = [
        ("content-type", "application/grpc".to_owned()),
        ("grpc-status", code.to_string()),
        ("grpc-message", "storage.objects.get was refused".to_owned()),
    ];
    headers.into_response()
}
