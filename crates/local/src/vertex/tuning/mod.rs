//! Tuning jobs: trials over the declared parameter space, by seeded random search.

mod space;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use fastrand::Rng;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::space::ParameterSpec;
use super::custom::{self, Trial};
use super::kind::State;
use super::place::new_id;
use super::run::{Ending, Failure, Run};
use super::spec::{self, CustomJobSpec};
use super::store::{Resource, now};
use super::validate::Findings;

/// Trials of one job, and how many of them run at once.
const TRIALS_MAX: i64 = 1_000;
const PARALLEL_MAX: i64 = 16;

/// Bytes that are read of what a trial reports.
const METRICS_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StudySpec {
    metrics: Vec<MetricSpec>,
    parameters: Vec<ParameterSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MetricSpec {
    metric_id: String,
    goal: String,
}

pub(in crate::vertex) fn validate(job: &Resource, findings: &mut Findings) {
    for (field, path, most) in [
        ("maxTrialCount", "max_trial_count", TRIALS_MAX),
        ("parallelTrialCount", "parallel_trial_count", PARALLEL_MAX),
    ] {
        let count = count(job, field);
        if !(1..=most).contains(&count) {
            findings.add(path, format!("{count} is not between 1 and {most}."));
        }
    }
    if !job.contains_key("studySpec") {
        return findings.required("study_spec");
    }
    let study: StudySpec = match spec::read(job, "studySpec") {
        Ok(study) => study,
        Err(error) => return findings.add("study_spec", error.to_string()),
    };
    if study.metrics.is_empty() {
        findings.required("study_spec.metrics");
    }
    for (index, metric) in study.metrics.iter().enumerate() {
        let path = format!("study_spec.metrics[{index}]");
        if metric.metric_id.is_empty() {
            findings.required(format!("{path}.metric_id"));
        }
        if metric.goal.is_empty() || metric.goal == "GOAL_TYPE_UNSPECIFIED" {
            findings.required(format!("{path}.goal"));
        }
    }
    if study.parameters.is_empty() {
        findings.required("study_spec.parameters");
    }
    for (index, parameter) in study.parameters.iter().enumerate() {
        if let Err((field, text)) = parameter.check() {
            findings.add(format!("study_spec.parameters[{index}].{field}"), text);
        }
    }
}

fn count(job: &Resource, field: &str) -> i64 {
    job.get(field).and_then(Value::as_i64).unwrap_or(0)
}

/// How one trial ended.
enum Tried {
    Measured,
    Infeasible(String),
    Stopped,
}

pub(in crate::vertex) async fn run(run: &Run) -> Result<Ending, Failure> {
    let (study, spec): (StudySpec, CustomJobSpec) =
        (run.read("studySpec")?, run.read("trialJobSpec")?);
    let job = run.job();
    let most = usize::try_from(count(&job, "maxTrialCount")).unwrap_or(1);
    let parallel = usize::try_from(count(&job, "parallelTrialCount")).unwrap_or(1);
    let failed_max = usize::try_from(count(&job, "maxFailedTrialCount")).unwrap_or(0);
    run.enter(State::Pending)?;
    run.update(|job| {
        job.insert("trials".to_owned(), json!([]));
    })?;
    run.enter(State::Running)?;

    let stop = run.stop.child_token();
    let suggestions = suggestions(&study, most, &job).into_iter().enumerate();
    let trials = futures::stream::iter(suggestions).map(|(at, parameters)| {
        let (study, spec, stop) = (&study, &spec, &stop);
        // Trials are recorded in their order, which is that of this closure's calls.
        let started =
            if stop.is_cancelled() { None } else { Some(start_trial(run, at, &parameters)) };
        async move {
            match started {
                None => Ok(Tried::Stopped),
                Some(Err(failure)) => Err(failure),
                Some(Ok(custom_job)) => {
                    try_out(run, study, spec, at, &parameters, custom_job, stop).await
                }
            }
        }
    });
    let mut trials = std::pin::pin!(trials.buffer_unordered(parallel.max(1)));
    let (mut measured, mut infeasible, mut reason) = (0, 0, String::new());
    while let Some(tried) = trials.next().await {
        match tried? {
            Tried::Measured => measured += 1,
            Tried::Stopped => {}
            Tried::Infeasible(text) => {
                (infeasible, reason) = (infeasible + 1, text);
                if failed_max > 0 && infeasible >= failed_max {
                    stop.cancel();
                }
            }
        }
    }
    if run.stop.is_cancelled() {
        return Ok(Ending::Stopped);
    }
    if measured == 0 || failed_max > 0 && infeasible >= failed_max {
        let message =
            format!("Too many trials failed ({infeasible} of {most}). The last one: {reason}");
        return Ok(Ending::Failed(Failure::invalid(message)));
    }
    Ok(Ending::Succeeded)
}

/// The same study asks for the same trials, also when it runs again.
fn suggestions(study: &StudySpec, count: usize, job: &Resource) -> Vec<Vec<(String, Value)>> {
    let text = job.get("studySpec").map(Value::to_string).unwrap_or_default();
    let mut rng = Rng::with_seed(u64::from(crc32c::crc32c(text.as_bytes())));
    let mut suggest = || {
        let parameters = study.parameters.iter();
        parameters.map(|it| (it.parameter_id.clone(), it.sample(&mut rng))).collect()
    };
    (0..count).map(|_| suggest()).collect()
}

/// Records the trial, and returns the id of the custom job that it is.
fn start_trial(run: &Run, at: usize, parameters: &[(String, Value)]) -> Result<String, Failure> {
    let parameters: Vec<_> =
        parameters.iter().map(|(id, value)| json!({"parameterId": id, "value": value})).collect();
    let (id, custom_job) = ((at + 1).to_string(), new_id());
    let trial = json!({
        "id": id,
        "state": "ACTIVE",
        "parameters": parameters,
        "startTime": now(),
        "customJob": run.custom_job(&custom_job),
    });
    run.update(|job| {
        if let Some(Value::Array(trials)) = job.get_mut("trials") {
            trials.push(trial);
        }
    })?;
    Ok(custom_job)
}

async fn try_out(
    run: &Run,
    study: &StudySpec,
    spec: &CustomJobSpec,
    at: usize,
    parameters: &[(String, Value)],
    custom_job: String,
    stop: &CancellationToken,
) -> Result<Tried, Failure> {
    let id = (at + 1).to_string();
    let args = parameters.iter().map(|(id, value)| match value {
        Value::String(text) => format!("--{id}={text}"),
        // 16.0 is passed as 16.
        other => {
            other.as_f64().map_or_else(|| format!("--{id}={other}"), |it| format!("--{id}={it}"))
        }
    });
    let directory = run.directory(&id);
    let metric_file = directory.join("output.metrics");
    let created = std::fs::create_dir_all(&directory);
    created.map_err(|error| Failure::internal(format!("no directory for trial {id}: {error}")))?;
    let trial = Trial { id: id.clone(), custom_job, args: args.collect(), metric_file };
    let tried = match custom::replicas(run, &trial.custom_job, spec, Some(&trial), stop).await? {
        Ending::Stopped => (Tried::Stopped, None),
        Ending::Failed(failure) => (Tried::Infeasible(failure.message), None),
        Ending::Succeeded => match measurement(&trial.metric_file, study) {
            Ok(measurement) => (Tried::Measured, Some(measurement)),
            Err(reason) => (Tried::Infeasible(reason), None),
        },
    };
    end_trial(run, at, &tried.0, tried.1)?;
    Ok(tried.0)
}

fn end_trial(
    run: &Run,
    at: usize,
    tried: &Tried,
    measurement: Option<Value>,
) -> Result<(), Failure> {
    run.update(|job| {
        let Some(Value::Object(trial)) =
            job.get_mut("trials").and_then(|trials| trials.get_mut(at))
        else {
            return;
        };
        let state = match tried {
            Tried::Measured => "SUCCEEDED",
            Tried::Infeasible(reason) => {
                trial.insert("infeasibleReason".to_owned(), json!(reason));
                "INFEASIBLE"
            }
            Tried::Stopped => "STOPPING",
        };
        trial.insert("state".to_owned(), json!(state));
        trial.insert("endTime".to_owned(), json!(now()));
        if let Some(measurement) = measurement {
            trial.insert("finalMeasurement".to_owned(), measurement);
        }
    })
}

/// Reads what cloudml-hypertune writes: one JSON object per line, with the
/// metric's value as text under the metric's own name. The last value counts.
fn measurement(file: &Path, study: &StudySpec) -> Result<Value, String> {
    let mut text = String::new();
    let read = std::fs::File::open(file)
        .and_then(|it| it.take(METRICS_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|_| "The trial reported no metrics.".to_owned())?;
    let mut values: BTreeMap<&str, f64> = BTreeMap::new();
    let mut step = 0;
    for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        for metric in &study.metrics {
            if let Some(value) = line.get(&metric.metric_id).and_then(number) {
                values.insert(&metric.metric_id, value);
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "steps are whole and small; casts saturate"
                )]
                let reported = line.get("global_step").and_then(number).map_or(0, |it| it as i64);
                step = reported;
            }
        }
    }
    if let Some(missing) =
        study.metrics.iter().find(|it| !values.contains_key(it.metric_id.as_str()))
    {
        return Err(format!("The trial did not report the metric '{}'.", missing.metric_id));
    }
    let metrics: Vec<_> =
        values.iter().map(|(id, value)| json!({"metricId": id, "value": value})).collect();
    Ok(json!({"stepCount": step.to_string(), "metrics": metrics}))
}

fn number(value: &Value) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    number.is_finite().then_some(number)
}
