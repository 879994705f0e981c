//! Training pipelines.

use serde_json::json;

use super::{Stack, spec};

const CUSTOM_TASK: &str =
    "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml";

#[tokio::test]
async fn a_training_pipeline_runs_and_names_its_model() {
    let stack = Stack::new();
    let script = r#"dir="$CLOUD_STORAGE_MOUNT/${AIP_MODEL_DIR#gs://}"; mkdir -p "$dir"; echo m > "$dir/model""#;
    let pipeline = json!({
        "displayName": "tp",
        "trainingTaskDefinition": CUSTOM_TASK,
        "trainingTaskInputs": spec(script),
        "modelToUpload": {"displayName": "iris"},
        "modelId": "iris",
    });
    let path = stack.create("trainingPipelines", &pipeline).await;
    let ended = stack.end(&path).await;
    assert_eq!(ended["state"], "PIPELINE_STATE_SUCCEEDED", "{ended:#}");
    assert_eq!(ended["modelToUpload"]["name"], "projects/4711/locations/europe-west4/models/iris");
    assert_eq!(stack.object("out/model/model").unwrap(), "m\n");
}

#[tokio::test]
async fn a_failed_training_pipeline_has_no_model() {
    let stack = Stack::new();
    let pipeline = json!({
        "displayName": "tp",
        "trainingTaskDefinition": CUSTOM_TASK,
        // As the Python SDK writes it.
        "trainingTaskInputs": {"worker_pool_specs": spec("exit 1")["workerPoolSpecs"]},
        "modelToUpload": {"displayName": "iris"},
    });
    let path = stack.create("trainingPipelines", &pipeline).await;
    let ended = stack.end(&path).await;
    assert_eq!(ended["state"], "PIPELINE_STATE_FAILED");
    assert_eq!(ended["modelToUpload"], json!({"displayName": "iris"}));
}

#[tokio::test]
async fn other_definitions_are_refused() {
    let stack = Stack::new();
    let pipeline = json!({
        "displayName": "tp",
        "trainingTaskDefinition": "gs://google-cloud-aiplatform/schema/trainingjob/definition/automl_tabular_1.0.0.yaml",
        "trainingTaskInputs": {},
    });
    let message = stack.refuse("trainingPipelines", &pipeline).await;
    assert!(message.contains("Field: training_task_definition;"), "{message}");
}
