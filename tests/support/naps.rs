//! Requests for all kinds of jobs that take a moment, or none, and learn nothing.

use std::future::ready;

use anyhow::Result;
use branchline_contract::{ArtifactReady, JobKind, RunId};
use branchline_gcp::pubsub::{Message, Publish as _, Publisher};
use branchline_local::installation::{PROJECT, topic};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use crate::identity::signed;
use crate::installation::{Installation, REGION};

/// Long enough to be seen running.
pub const NAP: &str = "sleep 0.5; echo '{\"naps\": 1}' > \"${CLOUD_ML_HP_METRIC_FILE:-/dev/null}\"";

/// A number out of the environment.
pub fn number(name: &str, otherwise: u32) -> u32 {
    std::env::var(name).map_or(otherwise, |it| it.parse().expect("it is a number"))
}

/// A request for a run of its own, and the run's id.
pub fn request(
    at: &Installation,
    kind: JobKind,
    script: &str,
    number: usize,
) -> Result<(Value, RunId)> {
    let job = at.job();
    let request = json!({
        "run": format!("nap-{number}"),
        "artifacts": [],
        "training": {kind.key(): training(kind, script)},
        "vertex": {"project": PROJECT, "region": REGION},
        "gitlab": {
            "host": at.gitlab().trim_start_matches("http://"),
            "project_id": at.project_id(),
            "project_path": "team/naps",
            "sha": job.sha,
            "ref": "try",
            "pipeline_id": job.pipeline_id,
            "job_id": job.id,
            "merge_request": {"iid": at.merge_request(), "target_branch": "main"},
        },
    });
    let decoded: ArtifactReady = serde_json::from_value(request.clone())?;
    Ok((request, RunId::derive(&decoded).0))
}

/// Publishes requests as fast as it goes.
pub async fn publish_all(at: &Installation, requests: Vec<Value>) -> Result<()> {
    let publisher = Publisher::connect(&at.google()).await?;
    let topic = topic(PROJECT, "artifact-ready");
    let calls = requests.into_iter().map(|request| {
        let body = signed(at.signer(), request).to_string();
        let message = Message { data: body.into_bytes().into(), ..Message::default() };
        publisher.publish(&topic, message)
    });
    stream::iter(calls).buffer_unordered(16).try_for_each(|_| ready(Ok(()))).await?;
    Ok(())
}

/// The spec of a job of a kind that runs a script.
pub fn training(kind: JobKind, script: &str) -> Value {
    let container = json!({"imageUri": "debian", "command": ["sh", "-c", script]});
    let spec = json!({"workerPoolSpecs": [{
        "machineSpec": {"machineType": "n1-standard-4"},
        "replicaCount": 1,
        "containerSpec": container,
    }]});
    match kind {
        JobKind::CustomJob => json!({"jobSpec": spec}),
        JobKind::HyperparameterTuningJob => json!({
            "displayName": "nap",
            "maxTrialCount": 1,
            "parallelTrialCount": 1,
            "studySpec": {
                "metrics": [{"metricId": "naps", "goal": "MAXIMIZE"}],
                "parameters": [{
                    "parameterId": "length",
                    "doubleValueSpec": {"minValue": 0.1, "maxValue": 1.0},
                }],
            },
            "trialJobSpec": spec,
        }),
        JobKind::TrainingPipeline => json!({
            "displayName": "nap",
            "trainingTaskDefinition":
                "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml",
            "trainingTaskInputs": spec,
        }),
        JobKind::PipelineJob => json!({
            "displayName": "nap",
            "runtimeConfig": {},
            "pipelineSpec": {
                "pipelineInfo": {"name": "nap"},
                "schemaVersion": "2.1.0",
                "sdkVersion": "kfp-2.7.0",
                "root": {"dag": {"tasks": {"nap": {
                    "taskInfo": {"name": "nap"},
                    "componentRef": {"name": "comp-nap"},
                    "cachingOptions": {},
                }}}},
                "components": {"comp-nap": {"executorLabel": "exec-nap"}},
                "deploymentSpec": {"executors": {"exec-nap": {"container": {
                    "image": "debian", "command": ["sh", "-c", script],
                }}}},
            },
        }),
    }
}
