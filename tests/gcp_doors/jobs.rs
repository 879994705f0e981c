//! A job of each kind, as small as Vertex AI takes it.

use branchline_contract::JobKind;
use serde_json::{Value, json};

fn spec(script: &str) -> Value {
    json!({"workerPoolSpecs": [{
        "machineSpec": {"machineType": "n1-standard-4"},
        "replicaCount": "1",
        "containerSpec": {"imageUri": "i", "command": ["sh", "-c", script, "sh"]},
    }]})
}

/// A job of each kind that runs a script.
pub(crate) fn job(kind: JobKind, script: &str) -> Value {
    let definition =
        "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml";
    match kind {
        JobKind::CustomJob => json!({"displayName": "test", "jobSpec": spec(script)}),
        JobKind::TrainingPipeline => json!({
            "displayName": "test",
            "trainingTaskDefinition": definition,
            "trainingTaskInputs": spec(script),
        }),
        JobKind::HyperparameterTuningJob => json!({
            "displayName": "test",
            "maxTrialCount": 1,
            "parallelTrialCount": 1,
            "studySpec": {
                "metrics": [{"metricId": "accuracy", "goal": "MAXIMIZE"}],
                "parameters": [
                    {"parameterId": "lr", "doubleValueSpec": {"minValue": 0.1, "maxValue": 0.2}},
                ],
            },
            "trialJobSpec": spec(script),
        }),
        JobKind::PipelineJob => json!({
            "displayName": "test",
            "runtimeConfig": {"gcsOutputDirectory": "gs://bucket/out"},
            "pipelineSpec": {
                "schemaVersion": "2.1.0",
                "sdkVersion": "kfp-2.7.0",
                "pipelineInfo": {"name": "one-step"},
                "root": {"dag": {"tasks": {"step": {
                    "taskInfo": {"name": "step"},
                    "componentRef": {"name": "comp-step"},
                }}}},
                "components": {"comp-step": {"executorLabel": "exec-step"}},
                "deploymentSpec": {"executors": {"exec-step": {
                    "container": {"image": "i", "command": ["sh", "-c", script]},
                }}},
            },
        }),
    }
}
