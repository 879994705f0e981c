//! Training pipelines: a custom job's spec in other clothes, and the model that comes of it.

use serde_json::{Map, Value, json};

use super::custom;
use super::error::Answer;
use super::json::canonical;
use super::place::new_id;
use super::run::{Ending, Failure, Run};
use super::schema::CUSTOM_JOB_SPEC;
use super::store::Resource;
use super::validate::{Findings, custom_job_spec};

/// The one definition whose task is the user's own code.
const CUSTOM_TASK: &str = "custom_task_1.0.0.yaml";

pub(super) fn validate(job: &Resource, findings: &mut Findings) -> Answer<()> {
    let definition = job.get("trainingTaskDefinition").and_then(Value::as_str).unwrap_or_default();
    if definition.is_empty() {
        findings.required("training_task_definition");
    } else if definition.rsplit('/').next() != Some(CUSTOM_TASK) {
        findings.add(
            "training_task_definition",
            format!("The local stack trains only what {CUSTOM_TASK} defines, not '{definition}'."),
        );
    } else {
        let inputs = inputs(job)?;
        custom_job_spec("training_task_inputs", inputs.map(Value::Object).as_ref(), findings);
    }
    if job.contains_key("inputDataConfig") {
        findings.add("input_data_config", "The local stack has no datasets.");
    }
    if job.get("modelToUpload").is_some_and(|model| !model.is_object()) {
        findings.add("model_to_upload", "A model is an object.");
    }
    Ok(())
}

/// The inputs are free JSON to the API, but custom tasks read them as a custom job's spec.
pub(super) fn inputs(job: &Resource) -> Answer<Option<Map<String, Value>>> {
    let path = "training_pipeline.training_task_inputs";
    let inputs = job.get("trainingTaskInputs").cloned();
    inputs.map(|inputs| canonical(&CUSTOM_JOB_SPEC, path, inputs)).transpose()
}

pub(super) async fn run(run: &Run) -> Result<Ending, Failure> {
    let inputs = inputs(&run.job()).ok().flatten().unwrap_or_default();
    let spec = serde_json::from_value(Value::Object(inputs));
    let spec =
        spec.map_err(|error| Failure::internal(format!("reading trainingTaskInputs: {error}")))?;
    let custom_job = new_id();
    let backing = run.custom_job(&custom_job);
    run.update(|job| {
        let metadata = json!({"backingCustomJob": backing});
        job.insert("trainingTaskMetadata".to_owned(), metadata);
    })?;
    let ending = custom::replicas(run, &custom_job, &spec, None, &run.stop).await?;
    if matches!(ending, Ending::Succeeded) {
        run.update(name_model)?;
    }
    Ok(ending)
}

/// Gives the uploaded model its resource name.
fn name_model(job: &mut Resource) {
    let parent = job
        .get("name")
        .and_then(Value::as_str)
        .and_then(|name| name.split_once("/trainingPipelines/"));
    let Some(parent) = parent.map(|(parent, _)| parent.to_owned()) else {
        return;
    };
    let given = job.get("modelId").and_then(Value::as_str).filter(|id| !id.is_empty());
    let id = given.map_or_else(new_id, str::to_owned);
    if let Some(Value::Object(model)) = job.get_mut("modelToUpload") {
        model.insert("name".to_owned(), json!(format!("{parent}/models/{id}")));
    }
}
