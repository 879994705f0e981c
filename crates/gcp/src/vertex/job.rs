//! What Vertex AI says about a job, whatever its kind. Pure.

use crate::call::timestamp;
use crate::error::quota_metrics;
use branchline_contract::JobKind;
use google_cloud_aiplatform_v1::model;
use google_cloud_aiplatform_v1::model::study_spec::metric_spec::GoalType;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// A job as Vertex AI describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The full resource name.
    pub name: String,
    /// Which collection it is in.
    pub kind: JobKind,
    /// Where it stands.
    pub state: JobState,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Why it failed or was cancelled.
    pub error: Option<JobError>,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When it reached a final state.
    pub ended: Option<Timestamp>,
    /// The best trial's measurement of a tuning job, or what the steps of a
    /// pipeline wrote to `system.Metrics`, as far as this answer has them.
    pub metrics: BTreeMap<String, f64>,
    /// The model that a training pipeline uploaded, or the URI of the last
    /// `system.Model` that the steps of a pipeline wrote.
    pub model: Option<String>,
    /// The id of a tuning job's best trial.
    pub best_trial: Option<String>,
}

/// Vertex AI's own account of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobError {
    /// A `google.rpc` code.
    pub code: i32,
    /// Its text.
    pub message: String,
}

impl JobError {
    /// Whether the job ended because there was no quota, or no machine, for it.
    /// A process that ran out of memory is the job's own fault, whatever its code.
    pub fn is_quota(&self) -> bool {
        const RESOURCE_EXHAUSTED: i32 = 8;
        let own = ["non-zero status", "out-of-memory", "out of memory"];
        !quota_metrics(&self.message).is_empty()
            || (self.code == RESOURCE_EXHAUSTED && !own.iter().any(|it| self.message.contains(it)))
    }
}

/// Every state of the four kinds; Google has two enums of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Accepted, not yet prepared.
    Queued,
    /// Being prepared.
    Pending,
    /// At work.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Asked to stop; it may still end in any way.
    Cancelling,
    /// Stopped.
    Cancelled,
    /// Stopped, can be resumed.
    Paused,
    /// Did not get its machines in time.
    Expired,
    /// Being changed; can only be in this state while it was running.
    Updating,
    /// Ended with part of the work done.
    PartiallySucceeded,
    /// Unspecified, or newer than this program; holds what Vertex AI said.
    Unknown(String),
}

impl JobState {
    fn parse(state: &str) -> Self {
        let plain = state
            .strip_prefix("JOB_STATE_")
            .or_else(|| state.strip_prefix("PIPELINE_STATE_"))
            .unwrap_or(state);
        match plain {
            "QUEUED" => Self::Queued,
            "PENDING" => Self::Pending,
            "RUNNING" => Self::Running,
            "SUCCEEDED" => Self::Succeeded,
            "FAILED" => Self::Failed,
            "CANCELLING" => Self::Cancelling,
            "CANCELLED" => Self::Cancelled,
            "PAUSED" => Self::Paused,
            "EXPIRED" => Self::Expired,
            "UPDATING" => Self::Updating,
            "PARTIALLY_SUCCEEDED" => Self::PartiallySucceeded,
            unknown => Self::Unknown(unknown.to_owned()),
        }
    }
}

impl From<&model::JobState> for JobState {
    fn from(it: &model::JobState) -> Self {
        it.name().map_or_else(|| Self::Unknown(number(it.value())), Self::parse)
    }
}

impl From<&model::PipelineState> for JobState {
    fn from(it: &model::PipelineState) -> Self {
        it.name().map_or_else(|| Self::Unknown(number(it.value())), Self::parse)
    }
}

fn number(value: Option<i32>) -> String {
    value.map_or_else(String::new, |it| it.to_string())
}

/// The fields that the four types have in common only by name.
macro_rules! job {
    ($it:ident, $kind:ident, $metrics:expr, $model:expr, $best_trial:expr) => {
        Job {
            state: (&$it.state).into(),
            kind: JobKind::$kind,
            metrics: $metrics,
            model: $model,
            best_trial: $best_trial,
            name: $it.name,
            labels: $it.labels.into_iter().collect(),
            error: $it.error.map(|it| JobError { code: it.code, message: it.message }),
            created: timestamp($it.create_time),
            ended: timestamp($it.end_time),
        }
    };
}

impl From<model::CustomJob> for Job {
    fn from(it: model::CustomJob) -> Self {
        job!(it, CustomJob, BTreeMap::new(), None, None)
    }
}

impl From<model::HyperparameterTuningJob> for Job {
    fn from(it: model::HyperparameterTuningJob) -> Self {
        let (trial, metrics) = best_trial(&it).unzip();
        job!(it, HyperparameterTuningJob, metrics.unwrap_or_default(), None, trial)
    }
}

impl From<model::PipelineJob> for Job {
    fn from(it: model::PipelineJob) -> Self {
        job!(it, PipelineJob, metrics_artifacts(&it), model_artifact(&it), None)
    }
}

impl From<model::TrainingPipeline> for Job {
    fn from(it: model::TrainingPipeline) -> Self {
        let model = it.model_to_upload.as_ref().map(|it| it.name.clone());
        job!(it, TrainingPipeline, BTreeMap::new(), model.filter(|it| !it.is_empty()), None)
    }
}

/// The id and the measurement of the trial that is best in the study's first metric.
fn best_trial(job: &model::HyperparameterTuningJob) -> Option<(String, BTreeMap<String, f64>)> {
    let spec = job.study_spec.as_ref().and_then(|it| it.metrics.first())?;
    let value = |metrics: &BTreeMap<String, f64>| match (metrics.get(&spec.metric_id), &spec.goal) {
        (Some(value), GoalType::Minimize) => Some(-value),
        (Some(value), _) => Some(*value), // An unspecified goal is to maximise.
        (None, _) => None,
    };
    let measured = job.trials.iter().filter_map(|trial| {
        let metrics = &trial.final_measurement.as_ref()?.metrics;
        // A diverged one may be NaN, which is neither compared nor written as JSON.
        let finite = metrics.iter().filter(|it| it.value.is_finite());
        let metrics = finite.map(|it| (it.metric_id.clone(), it.value)).collect();
        Some((value(&metrics)?, trial.id.clone(), metrics))
    });
    let best = measured.max_by(|(one, ..), (other, ..)| one.total_cmp(other));
    best.map(|(_, id, metrics)| (id, metrics))
}

/// The steps of a pipeline, in the order in which they ended.
fn steps(job: &model::PipelineJob) -> Vec<&model::PipelineTaskDetail> {
    let mut steps: Vec<_> = job.job_detail.iter().flat_map(|it| &it.task_details).collect();
    steps.sort_by_key(|it| (timestamp(it.end_time), it.task_id));
    steps
}

/// The URI of the last `system.Model` that a step wrote.
fn model_artifact(job: &model::PipelineJob) -> Option<String> {
    let outputs = steps(job).into_iter().flat_map(|it| it.outputs.values());
    let artifacts = outputs.flat_map(|it| &it.artifacts);
    artifacts.filter(|it| it.schema_title == "system.Model").last().map(|it| it.uri.clone())
}

/// The numbers in the `system.Metrics` artifacts of a pipeline's steps. A name
/// that several steps use belongs to the last of them to end, and each of them
/// also has it as `step.name`.
fn metrics_artifacts(job: &model::PipelineJob) -> BTreeMap<String, f64> {
    let mut metrics = BTreeMap::new();
    let mut written = BTreeMap::<String, BTreeMap<String, f64>>::new();
    for step in steps(job) {
        let artifacts = step.outputs.values().flat_map(|it| &it.artifacts);
        for artifact in artifacts.filter(|it| it.schema_title == "system.Metrics") {
            for (name, value) in artifact.metadata.iter().flatten() {
                if let Some(value) = value.as_f64() {
                    metrics.insert(name.clone(), value);
                    written.entry(name.clone()).or_default().insert(step.task_name.clone(), value);
                }
            }
        }
    }
    for (name, steps) in written.into_iter().filter(|(_, steps)| steps.len() > 1) {
        metrics.extend(steps.into_iter().map(|(step, value)| (format!("{step}.{name}"), value)));
    }
    metrics
}

#[cfg(test)]
mod tests;
