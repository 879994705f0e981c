//! The notifier against the embedded stack: ledger and events in, what GitLab shows out.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use branchline_contract::{ArtifactReady, Envelope, Outcome, RunEvent, RunId};
use branchline_gcp::storage::Storage;
use branchline_gcp::{Config as Google, Credentials};
use branchline_ledger::{Appended, Author, Body, Ending, History, Intent, Store};
use branchline_local::gitlab::{AccessLevel, CiJob, Trigger};
use branchline_local::pubsub::{DeadLetterPolicy, RetryPolicy, Subscription};
use branchline_local::stack::{Options, Stack};
use branchline_notifier::Config;
use branchline_service::health::listen;
use jiff::Timestamp;
use reqwest::StatusCode;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const EVENTS: &str = "projects/p/topics/run-events";
const SUBSCRIPTION: &str = "projects/p/subscriptions/notifier";
const DEAD: &str = "projects/p/topics/dead";
const DEAD_SUBSCRIPTION: &str = "projects/p/subscriptions/dead";
const BUCKET: &str = "ledger";
const AUTHOR: Author<'_> = Author { actor: "worker", cause: "test", trace: None };

/// Long enough for a busy machine; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(20);

/// A GitLab project with one open merge request, a ledger, and a notifier.
struct World {
    stack: Stack,
    store: Store,
    http: reqwest::Client,
    gitlab_url: String,
    health: SocketAddr,
    project: u64,
    merge_request: u64,
    stop: CancellationToken,
    notifier: JoinHandle<()>,
}

impl World {
    async fn start() -> Self {
        Self::start_as(None).await
    }

    /// With a notifier that has the rights of the level, or of the bot.
    async fn start_as(level: Option<AccessLevel>) -> Self {
        let stack = Stack::start(Options::default()).await.unwrap();
        let pubsub = &stack.pubsub;
        pubsub.create_topic(EVENTS).unwrap();
        pubsub.create_topic(DEAD).unwrap();
        let policy =
            DeadLetterPolicy { dead_letter_topic: DEAD.to_owned(), max_delivery_attempts: 100 };
        for (name, topic, policy) in
            [(SUBSCRIPTION, EVENTS, Some(policy)), (DEAD_SUBSCRIPTION, DEAD, None)]
        {
            let soon = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
            let subscription = Subscription {
                name: name.to_owned(),
                topic: topic.to_owned(),
                dead_letter_policy: policy,
                retry_policy: Some(RetryPolicy { minimum_backoff: soon, maximum_backoff: soon }),
                ..Subscription::default()
            };
            pubsub.create_subscription(subscription).unwrap();
        }
        stack.storage.create_bucket(BUCKET).unwrap();
        let gitlab = &stack.gitlab;
        let files: [(&str, &[u8]); 1] = [("README.md", b"churn")];
        let project = gitlab.create_project("acme/churn", "main", &files).unwrap();
        gitlab.commit(project, "feature", "Train", &[("train.sh", b"true")]).unwrap();
        let merge_request = gitlab.open_merge_request(project, "feature", "main", "Train").unwrap();

        let exports: HashMap<_, _> = stack.exports().into_iter().collect();
        let google = Google {
            credentials: Credentials::Anonymous,
            pubsub_endpoint: Some(exports["BRANCHLINE_PUBSUB_ENDPOINT"].clone()),
            storage_endpoint: Some(exports["BRANCHLINE_STORAGE_ENDPOINT"].clone()),
            ..Google::default()
        };
        let gitlab_url = exports["BRANCHLINE_GITLAB_ENDPOINT"].clone();
        let storage = Arc::new(Storage::connect(&google).await.unwrap());
        let store = Store::new(storage, BUCKET.to_owned(), Timestamp::now);
        let health = free_address().await;
        let token = level.map_or_else(
            || stack.gitlab.token(),
            |it| stack.gitlab.create_user("reporter", it).unwrap(),
        );
        let config = Config {
            merge_requests: None,
            subscription: SUBSCRIPTION.to_owned(),
            dead_letter_topic: DEAD.to_owned(),
            ledger_bucket: BUCKET.to_owned(),
            gitlab: gitlab_url.clone(),
            consume: branchline_service::consume::Options::default(),
            listen: health,
            google,
        };
        let stop = CancellationToken::new();
        let (token, listener) = (SecretString::from(token), listen(health).await.unwrap());
        let run = branchline_notifier::run(config, token, listener, stop.clone());
        let notifier = tokio::spawn(async move { run.await.unwrap() });
        let http = reqwest::Client::new();
        Self { stack, store, http, gitlab_url, health, project, merge_request, stop, notifier }
    }

    fn ci_job(&self) -> CiJob {
        let trigger = Trigger::MergeRequest(self.merge_request);
        self.stack.gitlab.start_pipeline(self.project, trigger, "train").unwrap()
    }

    fn request(&self, job: &CiJob) -> ArtifactReady {
        let request = json!({
            "run": "churn",
            "artifacts": [],
            "training": {"custom_job": {}},
            "vertex": {"project": "acme", "region": "europe-west4"},
            "gitlab": {
                "host": self.gitlab_url.trim_start_matches("http://"),
                "project_id": self.project,
                "project_path": "acme/churn",
                "sha": job.sha,
                "ref": "feature",
                "pipeline_id": job.pipeline_id,
                "job_id": job.id,
                "merge_request": {"iid": self.merge_request, "target_branch": "main"},
            },
        });
        serde_json::from_value(request).unwrap()
    }

    /// Writes the first fact of the run that the job asks for.
    async fn begin(&self, job: &CiJob) -> RunId {
        let request = self.request(job);
        let (run, digest) = RunId::derive(&request);
        let body =
            Body::Requested { request: Box::new(request), digest, asked_at: Timestamp::UNIX_EPOCH };
        let written = self.store.begin(self.project, &run, body, AUTHOR).await.unwrap();
        assert!(matches!(written, Appended::Written(_)));
        run
    }

    async fn append(&self, run: &RunId, facts: impl IntoIterator<Item = Body>) {
        for fact in facts {
            let history = self.history(run).await;
            let written = self.store.append(&history.run, fact, AUTHOR).await.unwrap();
            assert!(matches!(written, Appended::Written(_)));
        }
    }

    async fn history(&self, run: &RunId) -> History {
        self.store.load(self.project, run).await.unwrap().unwrap()
    }

    /// Publishes the newest event of the run, as the worker does.
    async fn announce(&self, run: &RunId) {
        self.publish(self.history(run).await.events.last().unwrap());
    }

    fn publish(&self, event: &RunEvent) {
        let Envelope { data, attributes } = Envelope::run_event(event);
        let attributes = attributes.into_iter().collect();
        self.stack.pubsub.publish(EVENTS, data.into(), attributes).unwrap();
    }

    async fn gitlab(&self, path: &str) -> Value {
        let url = format!("{}/api/v4/projects/{}/{path}", self.gitlab_url, self.project);
        let token = self.stack.gitlab.token();
        self.http.get(url).bearer_auth(token).send().await.unwrap().json().await.unwrap()
    }

    /// State and description of every row of the commit, oldest first, replaced ones included.
    async fn statuses(&self, sha: &str) -> Vec<(String, String)> {
        let rows = self.gitlab(&format!("repository/commits/{sha}/statuses?all=true")).await;
        let rows = rows.as_array().unwrap().iter().filter(|it| it["name"] == "branchline/churn");
        let text = |it: &Value| it.as_str().unwrap().to_owned();
        rows.map(|it| (text(&it["status"]), text(&it["description"]))).collect()
    }

    async fn notes(&self) -> Vec<String> {
        let path = format!("merge_requests/{}/notes", self.merge_request);
        let notes = self.gitlab(&path).await;
        let bodies = notes.as_array().unwrap().iter().map(|it| it["body"].as_str().unwrap());
        bodies.filter(|it| it.starts_with("<!-- branchline")).map(str::to_owned).collect()
    }

    /// Waits until the commit shows the state, and the note the ledger's head.
    async fn shown(&self, run: &RunId, state: &str) -> Vec<(String, String)> {
        let run = self.history(run).await.run;
        let (sha, head) = (run.request.gitlab.sha.as_str(), run.head.sha256.to_string());
        eventually(async || {
            let statuses = self.statuses(sha).await;
            let there = statuses.last().is_some_and(|it| it.0 == state);
            let told = self.notes().await.iter().any(|it| it.contains(&head));
            (there && told).then_some(statuses)
        })
        .await
    }

    /// Lets the notifier finish what it has received.
    async fn drain(&self) {
        self.stop.cancel();
        eventually(async || self.notifier.is_finished().then_some(())).await;
    }

    async fn stop(self) {
        self.drain().await;
        self.notifier.await.unwrap();
        self.stack.shutdown().await;
    }
}

async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn eventually<T>(look: impl AsyncFn() -> Option<T>) -> T {
    let found = async {
        loop {
            match look().await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("it came to pass in time")
}

fn up_to_running() -> [Body; 5] {
    let intent = Intent { nonce: "n".to_owned(), duration_ms: 1, output: "gs://o/".to_owned() };
    let job = "projects/acme/locations/europe-west4/customJobs/42".to_owned();
    [
        Body::Verified { contents_read: false, grounds: None, staged: Vec::new() },
        Body::Admitted {},
        Body::Intended(intent),
        Body::Submitted { intent: "n".to_owned(), job },
        Body::Running {},
    ]
}

fn finished(outcome: Outcome) -> Body {
    let reason = (outcome != Outcome::Succeeded).then(|| "exit status 1".to_owned());
    let metrics = [("accuracy".to_owned(), 0.97)].into();
    Body::Finished(Ending {
        outcome,
        reason,
        metrics,
        model_uri: Some("gs://o/model/".to_owned()),
        model_files: Vec::new(),
    })
}

fn row(state: &str, description: &str) -> (String, String) {
    (state.to_owned(), description.to_owned())
}

#[tokio::test]
async fn a_run_is_told_on_its_commit_and_in_one_note_to_its_end() {
    let world = World::start().await;
    let run = world.begin(&world.ci_job()).await;
    let [verified, admitted, rest @ ..] = up_to_running();
    world.append(&run, [verified, admitted]).await;
    world.announce(&run).await;
    world.shown(&run, "pending").await;
    world.append(&run, rest).await;
    world.announce(&run).await;
    world.shown(&run, "running").await;
    world.append(&run, [finished(Outcome::Succeeded)]).await;
    world.announce(&run).await;
    let rows = world.shown(&run, "success").await;
    assert_eq!(rows, [row("success", "succeeded: accuracy 0.97")]);
    let notes = world.notes().await;
    assert_eq!(notes.len(), 1);
    assert!(notes[0].contains("| `accuracy` | `0.97` |"), "{}", notes[0]);
    world.stop().await;
}

#[tokio::test]
async fn late_and_repeated_events_do_not_reopen_a_commit_and_a_next_attempt_does() {
    let world = World::start().await;
    let run = world.begin(&world.ci_job()).await;
    world.append(&run, up_to_running()).await;
    world.append(&run, [finished(Outcome::Failed)]).await;
    let events = world.history(&run).await.events;
    // Every event twice, the last one first.
    for event in events.iter().rev().chain(&events) {
        world.publish(event);
    }
    let rows = world.shown(&run, "failed").await;
    assert_eq!(rows, [row("failed", "failed: exit status 1")]);

    let [verified, admitted, ..] = up_to_running();
    world
        .append(
            &run,
            [
                Body::Retried {
                    request: None,
                    reason: None,
                    operator: None,
                    asked_at: Timestamp::UNIX_EPOCH,
                },
                verified,
                admitted,
            ],
        )
        .await;
    world.announce(&run).await;
    let rows = world.shown(&run, "pending").await;
    let states: Vec<_> = rows.iter().map(|it| it.0.as_str()).collect();
    assert_eq!(states, ["failed", "pending"]);
    assert_eq!(world.notes().await.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn an_older_job_does_not_overwrite_the_note_of_a_newer_one() {
    let world = World::start().await;
    let older = world.begin(&world.ci_job()).await;
    world.append(&older, up_to_running()).await;
    world.stack.gitlab.commit(world.project, "feature", "More", &[("a", b"b")]).unwrap();
    let newer = world.begin(&world.ci_job()).await;
    world.append(&newer, up_to_running()).await;
    world.announce(&newer).await;
    world.shown(&newer, "running").await;

    world.append(&older, [finished(Outcome::Cancelled)]).await;
    world.announce(&older).await;
    let sha = world.history(&older).await.run.request.gitlab.sha;
    eventually(async || (world.statuses(sha.as_str()).await.len() == 1).then_some(())).await;
    world.drain().await;
    let notes = world.notes().await;
    assert!(notes.len() == 1 && notes[0].contains(newer.as_str()), "{notes:?}");
    world.stop().await;
}

#[tokio::test]
async fn an_event_ahead_of_the_ledger_is_reported_once_the_ledger_knows_the_run() {
    let world = World::start().await;
    let job = world.ci_job();
    let request = world.request(&job);
    let event: RunEvent = serde_json::from_value(json!({
        "run_id": RunId::derive(&request).0,
        "run": "churn",
        "attempt": 1,
        "phase": "queued",
        "gitlab": request.gitlab,
        "vertex": request.vertex,
        "ledger": {"sequence": 2, "sha256": "0".repeat(64)},
        "requested_at": "2026-11-23T04:00:00Z",
        "recorded_at": "2026-11-23T04:00:00Z",
    }))
    .unwrap();
    world.publish(&event);
    let run = world.begin(&job).await;
    assert_eq!(world.shown(&run, "pending").await.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_missing_right_turns_readiness_red_and_says_which() {
    let world = World::start_as(Some(AccessLevel::Reporter)).await;
    let run = world.begin(&world.ci_job()).await;
    world.append(&run, up_to_running()).await;
    world.announce(&run).await;
    let ready = async || {
        let url = format!("http://{}/readyz", world.health);
        let answer = world.http.get(url).send().await.ok()?;
        (answer.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(answer)
    };
    let text = eventually(ready).await.text().await.unwrap();
    let expected = format!(
        "gitlab: reporting {run}: GitLab answered 403 (set a commit status): 403 Forbidden\n\
         subscription: ok\n"
    );
    assert_eq!(text, expected);
    world.stop().await;
}
