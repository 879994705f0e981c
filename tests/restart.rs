//! SIGTERM at any time, and starting again on the same data, end in one trained model.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use branchline_contract::{JobKind, Outcome, RunId};
use branchline_gcp::pubsub::{Message, Publisher};
use branchline_gcp::storage::Storage;
use branchline_gcp::vertex::Vertex;
use branchline_ledger::{History, Store};
use branchline_tests::eventually::eventually;
use branchline_tests::processes::Site;
use branchline_tests::world::run_id;
use serde_json::{Value, json};

/// The drain of the slowest role, and what the machine needs around it.
const GRACE: Duration = Duration::from_secs(10);

/// A site with a GitLab project, and the request that its CI job will make.
struct Story {
    site: Site,
    request: Value,
    project_id: u64,
    sha: String,
}

impl Story {
    /// Prepares everything but the roles' work. Training writes its process id and takes a while.
    async fn begin() -> (Self, branchline_tests::processes::Running) {
        let site = Site::new();
        let running = site.start();
        let gitlab = Gitlab::of(&site);
        let project =
            gitlab.post("projects", &json!({"name": "iris", "initialize_with_readme": true})).await;
        let project_id = project["id"].as_u64().unwrap();
        let commits = gitlab.get(&format!("projects/{project_id}/repository/commits")).await;
        let sha = commits[0]["id"].as_str().unwrap().to_owned();
        let pid = site.path("training.pid");
        let script = format!("echo $$ > {}; sleep 1.5", pid.display());
        let request = json!({
            "run": "iris",
            "artifacts": [],
            "training": {"custom_job": {"jobSpec": {"workerPoolSpecs": [{
                "machineSpec": {"machineType": "n1-standard-4"},
                "replicaCount": 1,
                "containerSpec": {"imageUri": "debian", "command": ["sh", "-c", script]},
            }]}}},
            "vertex": {"project": "demo-project", "region": "europe-west4"},
            "gitlab": {
                "host": gitlab.address.trim_start_matches("http://"),
                "project_id": project_id,
                "project_path": project["path_with_namespace"],
                "sha": sha,
                "ref": project["default_branch"],
                "pipeline_id": 999,
                "job_id": 1,
            },
        });
        (Self { site, request, project_id, sha }, running)
    }

    async fn publish(&self) {
        let publisher = Publisher::connect(&self.site.google()).await.unwrap();
        let data = self.request.to_string().into_bytes().into();
        let message = Message { data, ..Message::default() };
        publisher.publish("projects/demo-project/topics/artifact-ready", message).await.unwrap();
    }

    fn run(&self) -> RunId {
        run_id(&self.request)
    }

    async fn store(&self) -> Store {
        let storage = Storage::connect(&self.site.google()).await.unwrap();
        Store::new(storage, "demo-ledger".to_owned())
    }

    /// Waits until a fact of that kind is on record.
    async fn saw(&self, kind: &str) -> History {
        let store = self.store().await;
        eventually(kind, async || {
            let history = store.load(self.project_id, &self.run()).await.unwrap()?;
            kinds(&history).contains(&kind).then_some(history)
        })
        .await
    }

    /// The end of the story, whatever happened before.
    async fn check_end(&self, name: &str) {
        let history = self.saw("finished").await;
        assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded, "{name}");
        let submitted = kinds(&history).iter().filter(|it| **it == "submitted").count();
        assert_eq!(submitted, 1, "{name}: {:?}", kinds(&history));
        let vertex = Vertex::connect(&self.site.google()).await.unwrap();
        let filter = format!("labels.branchline-run=\"{}\"", self.run());
        let listed = vertex.list(JobKind::CustomJob, "demo-project", "europe-west4", &filter, None);
        assert_eq!(listed.await.unwrap().jobs.len(), 1, "{name}");
        let gitlab = Gitlab::of(&self.site);
        let statuses =
            format!("projects/{}/repository/commits/{}/statuses", self.project_id, self.sha);
        eventually("the commit shows it", async || {
            let statuses = gitlab.get(&statuses).await;
            (statuses[0]["status"] == "success").then_some(())
        })
        .await;
    }
}

struct Gitlab {
    address: String,
    token: String,
}

impl Gitlab {
    fn of(site: &Site) -> Self {
        let (address, token) = site.gitlab();
        Self { address, token }
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("{}/api/v4/{path}", self.address);
        let answer = reqwest::Client::new().get(url).bearer_auth(&self.token).send().await;
        answer.unwrap().json().await.unwrap()
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let url = format!("{}/api/v4/{path}", self.address);
        let answer = reqwest::Client::new().post(url).bearer_auth(&self.token).json(body).send();
        answer.await.unwrap().json().await.unwrap()
    }
}

fn kinds(history: &History) -> Vec<&'static str> {
    history.entries.iter().map(|it| it.fact.body.kind()).collect()
}

/// Whether the process that the training wrote down is there.
fn trains(pid: &Path) -> bool {
    let Ok(pid) = fs::read_to_string(pid) else { return false };
    Command::new("kill").args(["-0", pid.trim()]).output().unwrap().status.success()
}

/// Stops everything once the fact is on record, starts it again and tells the story's end.
async fn check(kind: &str) {
    let (story, running) = Story::begin().await;
    story.publish().await;
    let seen = story.saw(kind).await;
    if kind == "running" {
        let pid = story.site.path("training.pid");
        eventually("the training has begun", async || trains(&pid).then_some(())).await;
    }
    let took = running.stop();
    let last = kinds(&seen).last().copied().unwrap_or_default();
    println!("SIGTERM after {kind} (last fact {last}): stopped in {:.2} s", took.as_secs_f64());
    assert!(took < GRACE, "{kind}: {took:?}");
    assert!(!trains(&story.site.path("training.pid")), "{kind}: the training goes on");

    let _running = story.site.start();
    story.check_end(kind).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_after_the_request() {
    check("requested").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_after_the_verification() {
    check("verified").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_after_the_admission() {
    check("admitted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_after_the_intent() {
    check("intended").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_after_the_submission() {
    check("submitted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_in_the_middle_of_training() {
    check("running").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_after_the_end() {
    check("finished").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_stopped_hands_over_to_the_next_at_once() {
    let (story, running) = Story::begin().await;
    let _next = story.site.start_worker();
    story.publish().await;
    story.saw("submitted").await;
    let lease = async || {
        let storage = Storage::connect(&story.site.google()).await.unwrap();
        storage.read("demo-queue", "lease", None, 1_000).await.unwrap().1
    };
    let (holder, since) = (lease().await, Instant::now());
    running.worker.terminate();
    // It may be either worker that led; only a handover takes time.
    let (status, _) = running.worker.stopped(since);
    assert!(status.success(), "{status}");
    eventually("the other worker leads", async || {
        let now = lease().await;
        (now == holder || now != "free").then_some(())
    })
    .await;
    let took = since.elapsed();
    println!("SIGTERM to the worker: led again after {:.2} s", took.as_secs_f64());
    assert!(took < Duration::from_secs(2), "{took:?}");
    story.check_end("handover").await;
}
