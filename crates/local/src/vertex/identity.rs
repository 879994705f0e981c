//! As which service account a job runs, and whether its creator may have it so.

use serde_json::Value;

use super::error::{Answer, Refusal};
use super::kind::Kind;
use super::place::project_of;
use super::store::Resource;
use super::training;
use crate::iam::Caller;

/// Refuses a job that would run as an account that is not the caller's to use.
pub(super) fn check(kind: Kind, name: &str, job: &Resource, caller: &Caller) -> Answer<()> {
    match account(kind, name, job)? {
        Some(email) if !caller.may_act_as(&email) => Err(Refusal::invalid(format!(
            "You do not have permission to act as service_account: {email}. (or it may not exist)."
        ))),
        Some(_) | None => Ok(()),
    }
}

/// A job that names none runs as an agent of Google's, except for a pipeline, which runs as the
/// default account of its project.
fn account(kind: Kind, name: &str, job: &Resource) -> Answer<Option<String>> {
    let inputs = match kind {
        Kind::TrainingPipeline => training::inputs(job)?,
        Kind::CustomJob | Kind::HyperparameterTuningJob | Kind::PipelineJob => None,
    };
    let spec = |field: &str| job.get(field).and_then(|it| it.get("serviceAccount"));
    let named = match kind {
        Kind::CustomJob => spec("jobSpec"),
        Kind::HyperparameterTuningJob => spec("trialJobSpec"),
        Kind::TrainingPipeline => inputs.as_ref().and_then(|it| it.get("serviceAccount")),
        Kind::PipelineJob => job.get("serviceAccount"),
    };
    let named = named.and_then(Value::as_str).filter(|it| !it.is_empty()).map(str::to_owned);
    let default = || format!("{}-compute@developer.gserviceaccount.com", project_of(name));
    Ok(match kind {
        Kind::PipelineJob => Some(named.unwrap_or_else(default)),
        Kind::CustomJob | Kind::HyperparameterTuningJob | Kind::TrainingPipeline => named,
    })
}
