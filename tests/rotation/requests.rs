//! CI jobs that ask for runs all the time, in one instance of GitLab and in another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use branchline_local::gitlab::{GitLab, Signer};
use branchline_local::installation::PROJECT;
use branchline_tests::identity::signed;
use branchline_tests::installation::REGION;
use branchline_tests::rolled::{Rolled, publish, within};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_millis(150);

/// A GitLab, and a commit of a project there.
#[derive(Clone)]
pub(crate) struct Ci {
    pub(crate) gitlab: GitLab,
    pub(crate) address: String,
    project: u64,
    sha: String,
    jobs: Arc<AtomicU64>,
}

impl Ci {
    /// A project in a GitLab that serves already.
    pub(crate) fn of(gitlab: GitLab, address: &str) -> Self {
        let project = gitlab.create_project("team/iris", "main", &[("a", b"a")]).unwrap();
        let sha = gitlab.commit(project, "main", "Train", &[("b", b"b")]).unwrap();
        Self { gitlab, address: address.to_owned(), project, sha, jobs: Arc::default() }
    }

    /// The same in another one.
    pub(crate) async fn start() -> Self {
        let gitlab = GitLab::open(None).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        gitlab.set_external_url(&address);
        let router = gitlab.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self::of(gitlab, &address)
    }

    /// A request of a job that was not there before, signed by the key that GitLab signs with now.
    pub(crate) fn request(&self) -> Value {
        self.request_signed_by(&self.gitlab.signer().unwrap())
    }

    pub(crate) fn request_signed_by(&self, signer: &Signer) -> Value {
        let job = 1_000 + self.jobs.fetch_add(1, Ordering::Relaxed);
        let container = json!({"imageUri": "debian", "command": ["true"]});
        let request = json!({
            "run": format!("run-{job}"),
            "artifacts": [],
            "training": {"custom_job": {"jobSpec": {"workerPoolSpecs": [{
                "machineSpec": {"machineType": "n1-standard-4"},
                "replicaCount": 1,
                "containerSpec": container,
            }]}}},
            "vertex": {"project": PROJECT, "region": REGION},
            "gitlab": {
                "host": self.address.trim_start_matches("http://"),
                "project_id": self.project,
                "project_path": "team/iris",
                "sha": self.sha,
                "ref": "main",
                "pipeline_id": job,
                "job_id": job,
            },
        });
        signed(signer, request)
    }
}

/// A request that was sent when it was trusted.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) ci: usize,
    pub(crate) body: Value,
}

/// What is sent, time and again.
pub(crate) struct Flow {
    active: Arc<tokio::sync::Mutex<Vec<usize>>>,
    sent: Arc<Mutex<Vec<Sent>>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Flow {
    /// Sends nothing yet.
    pub(crate) fn start(at: &Rolled, cis: Vec<Ci>) -> Self {
        let active = Arc::<tokio::sync::Mutex<Vec<usize>>>::default();
        let sent = Arc::<Mutex<Vec<Sent>>>::default();
        let (stop, google) = (CancellationToken::new(), at.google());
        let (whose, all, over) = (active.clone(), sent.clone(), stop.clone());
        let task = tokio::spawn(async move {
            while over.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
                // Held until all of them are sent, so that whoever changes it knows that none is under way.
                for &ci in whose.lock().await.iter() {
                    let body = cis[ci].request();
                    all.lock().unwrap().push(Sent { ci, body: body.clone() });
                    publish(&google, &body).await;
                }
            }
        });
        Self { active, sent, stop, task }
    }

    /// Sends requests of these from now on.
    pub(crate) async fn send(&self, cis: &[usize]) {
        *self.active.lock().await = cis.to_vec();
    }

    /// Waits until everything that one of them has sent is let in, and so many more from now on.
    pub(crate) async fn let_in(&self, at: &Rolled, ci: usize, more: usize) {
        let of = |all: &[Sent]| all.iter().filter(|it| it.ci == ci).cloned().collect::<Vec<_>>();
        let wanted = of(&self.sent.lock().unwrap()).len() + more;
        let what = format!("{wanted} requests of GitLab {ci} are let in");
        within(&what, async || {
            let sent = of(&self.sent.lock().unwrap());
            if sent.len() < wanted {
                return false;
            }
            for request in &sent[..wanted] {
                if at.history(&request.body).await.is_none() {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Sends no more, and tells what was sent.
    pub(crate) async fn stop(self) -> Vec<Sent> {
        self.stop.cancel();
        self.task.await.unwrap();
        self.sent.lock().unwrap().clone()
    }
}
