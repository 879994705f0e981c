//! Jobs are created, found again by their labels, watched and cancelled.

use crate::jobs::job;
use crate::serve;
use branchline_contract::JobKind;
use branchline_gcp::Class;
use branchline_gcp::vertex::{CreateJob, Job, JobState, Jobs as _, Vertex};
use branchline_local::faults::Dice;
use branchline_local::storage::Storage as EmbeddedStorage;
use branchline_local::vertex::Vertex as Embedded;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const REGION: &str = "europe-west4";

/// Keeps the service alive for as long as the door is used.
struct Stack {
    door: Vertex,
    embedded: Embedded,
}

async fn start() -> Stack {
    let storage = EmbeddedStorage::open(None).unwrap();
    storage.create_bucket("bucket").unwrap();
    let embedded = Embedded::open(None, storage, Dice::default()).unwrap();
    let config = serve(embedded.router()).await;
    Stack { door: Vertex::connect(&config).await.unwrap(), embedded }
}

fn custom_job(nonce: &str, script: &str) -> Value {
    json!({
        "displayName": "test",
        "labels": {"branchline-intent": nonce},
        "jobSpec": {
            "workerPoolSpecs": [{
                "machineSpec": {"machineType": "n1-standard-4"},
                "replicaCount": "1",
                "containerSpec": {"imageUri": "europe-docker.pkg.dev/p/r/i@sha256:0",
                    "command": ["sh", "-c", script, "sh"]},
            }],
            "baseOutputDirectory": {"outputUriPrefix": "gs://bucket/out"},
        },
    })
}

impl Stack {
    async fn create(&self, kind: JobKind, body: &Value) -> branchline_gcp::Result<Job> {
        let create = CreateJob {
            kind,
            project: "p-1",
            region: REGION,
            body,
            pipeline_job_id: (kind == JobKind::PipelineJob).then_some("run-1"),
            deadline: Instant::now() + Duration::from_secs(10),
        };
        self.door.create(create).await
    }

    async fn until(&self, job: &Job, wanted: JobState) -> Job {
        let begun = Instant::now();
        loop {
            let job = self.door.get(job.kind, &job.name).await.unwrap();
            if job.state == wanted {
                return job;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{job:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn a_job_is_found_by_its_label_and_watched_to_its_end() {
    let stack = start().await;
    let created = stack.create(JobKind::CustomJob, &custom_job("n1", "exit 0")).await.unwrap();
    stack.create(JobKind::CustomJob, &custom_job("n2", "exit 1")).await.unwrap();
    assert!(created.created.is_some());

    let filter = "labels.branchline-intent=n1";
    let page = stack.door.list(JobKind::CustomJob, "p-1", REGION, filter, None).await.unwrap();
    assert_eq!(page.jobs.iter().map(|it| &it.name).collect::<Vec<_>>(), [&created.name]);
    assert_eq!(page.next, None);
    let none = stack.door.list(JobKind::PipelineJob, "p-1", REGION, filter, None).await.unwrap();
    assert!(none.jobs.is_empty());

    let ended = stack.until(&created, JobState::Succeeded).await;
    assert_eq!((ended.error, ended.labels), (None, created.labels));
    assert!(ended.ended >= ended.created);
    stack.embedded.shutdown().await;
}

#[tokio::test]
async fn a_failed_job_says_why_and_a_cancelled_one_ends() {
    let stack = start().await;
    let failing = stack.create(JobKind::CustomJob, &custom_job("n1", "exit 3")).await.unwrap();
    let failed = stack.until(&failing, JobState::Failed).await;
    let message = failed.error.unwrap().message;
    assert!(message.contains("non-zero status of 3"), "{message}");

    let script = "while true; do sleep 0.1; done";
    let endless = stack.create(JobKind::CustomJob, &custom_job("n2", script)).await.unwrap();
    stack.door.cancel(endless.kind, &endless.name).await.unwrap();
    stack.until(&endless, JobState::Cancelled).await;
    stack.embedded.shutdown().await;
}

#[tokio::test]
async fn a_refusal_is_definite_and_says_what_is_wrong() {
    let stack = start().await;
    let mut body = custom_job("n1", "exit 0");
    body["jobSpec"]["workerPoolSpecs"] = json!([]);
    let refused = stack.create(JobKind::CustomJob, &body).await.unwrap_err();
    assert_eq!((refused.class(), refused.definite()), (Class::Refused, true));
    assert!(!refused.message().is_empty());

    let missing = format!("projects/p-1/locations/{REGION}/customJobs/1");
    let missing = stack.door.get(JobKind::CustomJob, &missing).await.unwrap_err();
    assert_eq!((missing.class(), missing.definite()), (Class::NotFound, true));
    stack.embedded.shutdown().await;
}

#[tokio::test]
async fn the_id_of_a_pipeline_job_is_used_once() {
    let stack = start().await;
    let body = job(JobKind::PipelineJob, "exit 0");
    let created = stack.create(JobKind::PipelineJob, &body).await.unwrap();
    assert!(created.name.ends_with("/pipelineJobs/run-1"), "{}", created.name);
    let again = stack.create(JobKind::PipelineJob, &body).await.unwrap_err();
    assert_eq!((again.class(), again.definite()), (Class::Conflict, true));
    stack.until(&created, JobState::Succeeded).await;
    stack.embedded.shutdown().await;
}
