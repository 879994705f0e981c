//! The body of a create call: the training spec with its placeholders filled,
//! our labels on it, and an output directory of its own. Pure.

use branchline_contract::placeholder::{self, fill};
use branchline_contract::{ArtifactReady, JobKind, RunId, vertex_fields};
use branchline_ledger::{Intent, Run};
use serde_json::{Value, json};

/// Label with the run's id.
pub(crate) const LABEL_RUN: &str = "branchline-run";
/// Label with the nonce of the create call.
pub(crate) const LABEL_INTENT: &str = "branchline-intent";
/// Label with the installation's name.
pub(crate) const LABEL_INSTALLATION: &str = "branchline-installation";

/// The output directory of one create call, a `gs://` prefix.
pub(crate) fn output(bucket: &str, run: &Run, nonce: &str) -> String {
    format!("gs://{bucket}/{}/{}-{nonce}/", run.id, run.attempt)
}

/// Id of a pipeline job: the only one that a client may choose.
pub(crate) fn pipeline_job_id(run: &Run) -> Option<String> {
    match run.request.training.kind() {
        JobKind::PipelineJob => Some(format!("{}-{}", run.id, run.attempt)),
        JobKind::CustomJob | JobKind::HyperparameterTuningJob | JobKind::TrainingPipeline => None,
    }
}

/// What is wrong with the training spec of a request, each with its field.
pub(crate) fn problems(request: &ArtifactReady) -> Vec<String> {
    let (run, _) = RunId::derive(request);
    match vertex_fields::check(request.training.kind(), request.training.body()) {
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
        Ok(body) => {
            let filled =
                placeholder::expand_training(&body, &|name| fill(request, &run, "gs://o/", name));
            filled
                .err()
                .map(|it| format!("training.{}.{it}", request.training.kind().key()))
                .into_iter()
                .collect()
        }
    }
}

/// The body for one intent. The request was found without problems at intake.
pub(crate) fn build(run: &Run, intent: &Intent, installation: &str) -> Result<Value, String> {
    let (request, kind) = (&run.request, run.request.training.kind());
    let body = vertex_fields::check(kind, request.training.body())
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let mut body =
        placeholder::expand_training(&body, &|name| fill(request, &run.id, &intent.output, name))
            .map_err(|it| it.to_string())?;
    body["labels"][LABEL_RUN] = json!(run.id);
    body["labels"][LABEL_INTENT] = json!(intent.nonce);
    body["labels"][LABEL_INSTALLATION] = json!(installation);
    default(&mut body, &["displayName"], &run.id.to_string());
    let path: &[&str] = match kind {
        JobKind::CustomJob => &["jobSpec", "baseOutputDirectory", "outputUriPrefix"],
        JobKind::HyperparameterTuningJob => {
            &["trialJobSpec", "baseOutputDirectory", "outputUriPrefix"]
        }
        JobKind::TrainingPipeline => {
            &["trainingTaskInputs", "baseOutputDirectory", "outputUriPrefix"]
        }
        JobKind::PipelineJob => &["runtimeConfig", "gcsOutputDirectory"],
    };
    default(&mut body, path, &intent.output);
    Ok(body)
}

/// Sets a text where the user said nothing.
fn default(body: &mut Value, path: &[&str], text: &str) {
    let mut place = body;
    for key in path {
        if !place.is_object() && !place.is_null() {
            return;
        }
        place = &mut place[*key];
    }
    if place.is_null() {
        *place = json!(text);
    }
}
