//! Jobs that a run has beside the one that counts.

use std::time::Duration;

use branchline_contract::{JobKind, Outcome};
use branchline_gcp::vertex::{CreateJob, JobState, Jobs as _};
use branchline_ledger::{Body, History, State};
use branchline_local::installation::PROJECT;
use branchline_tests::eventually::eventually;
use branchline_tests::world::World;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{Training, count, reaches};

const FOR_EVER: &str = "trap 'exit 143' TERM; while :; do sleep 0.05; done";

/// The labels of the job that the run's last intent creates.
fn labels(history: &History, nonce: &str) -> Value {
    json!({
        "branchline-run": history.run.id,
        "branchline-gitlab-project": history.run.request.gitlab.project_id.to_string(),
        "branchline-intent": nonce,
        "branchline-installation": "branchline",
    })
}

fn nonce(history: &History) -> &str {
    &history.run.submitted_by.as_ref().unwrap().nonce
}

/// A custom job that arrives in Vertex AI by no step of the worker's.
async fn arrives(world: &World, labels: &Value) -> String {
    let body = json!({
        "displayName": "late",
        "labels": labels,
        "jobSpec": {"workerPoolSpecs": [{
            "machineSpec": {"machineType": "n1-standard-4"},
            "replicaCount": "1",
            "containerSpec": {"imageUri": "debian", "command": ["sh", "-c", FOR_EVER]},
        }]},
    });
    let created = world
        .vertex()
        .await
        .create(CreateJob {
            kind: JobKind::CustomJob,
            project: PROJECT,
            region: "europe-west4",
            body: &body,
            pipeline_job_id: None,
            deadline: Instant::now() + Duration::from_secs(10),
        })
        .await;
    created.unwrap().name
}

async fn state(world: &World, job: &str) -> JobState {
    world.vertex().await.get(JobKind::CustomJob, job).await.unwrap().state
}

async fn is_cancelled(world: &World, job: &str) {
    eventually("the job is cancelled", async || {
        (state(world, job).await == JobState::Cancelled).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_job_of_a_run_is_cancelled_and_written_down_also_after_its_end() {
    let (world, training) = (World::start().await, Training::new());
    let request = world.request("iris", &json!([]), &training.script());
    world.publish(request.to_string()).await;
    let history = reaches(&world, &request, "it trains", |it| *it == State::Running).await;
    let labels = labels(&history, nonce(&history));

    let late = arrives(&world, &labels).await;
    is_cancelled(&world, &late).await;
    training.let_go();
    let ended = world.ended(&request, 1).await;
    assert_eq!(ended.run.ending().unwrap().outcome, Outcome::Succeeded);

    let later = arrives(&world, &labels).await;
    is_cancelled(&world, &later).await;
    let history = world.history(&request).await.unwrap();
    let nonce = nonce(&history).to_owned();
    let surplus: Vec<_> =
        history.entries.iter().filter(|it| it.fact.body.kind() == "surplus").collect();
    let expected = [late, later].map(|job| Body::Surplus { intent: nonce.clone(), job });
    assert_eq!(surplus.iter().map(|it| &it.fact.body).collect::<Vec<_>>(), expected.each_ref());
    assert_eq!(history.run.ending(), ended.run.ending());
    assert_eq!(history.entries.last().unwrap().fact.body, expected[1]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_only_looks_like_ours_is_left_alone() {
    let world = World::start().await;
    let mut pipeline = world.request("pipeline", &json!([]), "true");
    pipeline["training"] = json!({"pipeline_job": {"pipelineSpec": {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.7.0",
        "pipelineInfo": {"name": "nap"},
        "root": {"dag": {"tasks": {"nap": {
            "taskInfo": {"name": "nap"}, "componentRef": {"name": "nap"},
        }}}},
        "components": {"nap": {"executorLabel": "nap"}},
        "deploymentSpec": {"executors": {"nap": {"container": {
            "image": "debian", "command": ["sh", "-c", FOR_EVER],
        }}}},
    }}});
    world.publish(pipeline.to_string()).await;
    let history = reaches(&world, &pipeline, "it trains", |it| *it == State::Running).await;
    // Vertex AI gives a step's custom job the labels of its pipeline.
    let step = arrives(&world, &labels(&history, nonce(&history))).await;

    let (request, training) = ("iris", Training::new());
    let request = world.request(request, &json!([]), &training.script());
    world.publish(request.to_string()).await;
    let history = reaches(&world, &request, "it trains", |it| *it == State::Running).await;
    let unknown = arrives(&world, &labels(&history, "0123")).await;
    let elsewhere = {
        let mut labels = labels(&history, nonce(&history));
        labels["branchline-installation"] = json!("another");
        arrives(&world, &labels).await
    };
    // What is listed beside them is cancelled, so they have been looked at.
    let late = arrives(&world, &labels(&history, nonce(&history))).await;
    is_cancelled(&world, &late).await;
    for job in [step, unknown, elsewhere] {
        let state = state(&world, &job).await;
        assert!(matches!(state, JobState::Running | JobState::Pending), "{job}: {state:?}");
    }
    assert_eq!(count(&world.history(&pipeline).await.unwrap(), "surplus"), 0);
    world.stop().await;
}
