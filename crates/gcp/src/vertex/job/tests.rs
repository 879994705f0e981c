//! Answers of Vertex AI, read as its JSON.

use super::*;
use serde_json::{Value, json};

fn custom(body: Value) -> Job {
    serde_json::from_value::<model::CustomJob>(body).unwrap().into()
}

fn tuning(goal: &str, trials: &Value) -> BTreeMap<String, f64> {
    let body = json!({
        "studySpec": {"metrics": [{"metricId": "acc", "goal": goal}]},
        "trials": trials,
    });
    Job::from(serde_json::from_value::<model::HyperparameterTuningJob>(body).unwrap()).metrics
}

fn pipeline(body: Value) -> Job {
    serde_json::from_value::<model::PipelineJob>(body).unwrap().into()
}

#[test]
fn a_job_that_found_no_quota_or_machine_is_told_from_one_that_failed_by_itself() {
    let cases = [
        (3, "The following quota metrics exceed quota limits: aiplatform.googleapis.com/t4", true),
        (8, "Resources are insufficient in region: europe-west4.", true),
        (8, "The replica workerpool0-0 ran out-of-memory and exited.", false),
        (3, "The replica workerpool0-0 exited with a non-zero status of 1.", false),
        (13, "Internal error.", false),
    ];
    for (code, message, expected) in cases {
        let error = JobError { code, message: message.to_owned() };
        assert_eq!(error.is_quota(), expected, "{message}");
    }
}

#[test]
fn every_state_of_a_job_and_of_a_pipeline_is_understood() {
    let cases = [
        ("QUEUED", JobState::Queued),
        ("PENDING", JobState::Pending),
        ("RUNNING", JobState::Running),
        ("SUCCEEDED", JobState::Succeeded),
        ("FAILED", JobState::Failed),
        ("CANCELLING", JobState::Cancelling),
        ("CANCELLED", JobState::Cancelled),
        ("PAUSED", JobState::Paused),
        ("EXPIRED", JobState::Expired),
        ("UPDATING", JobState::Updating),
        ("PARTIALLY_SUCCEEDED", JobState::PartiallySucceeded),
        ("UNSPECIFIED", JobState::Unknown("UNSPECIFIED".to_owned())),
        ("HIBERNATING", JobState::Unknown("HIBERNATING".to_owned())),
    ];
    for (name, expected) in cases {
        let job = custom(json!({"state": format!("JOB_STATE_{name}")}));
        assert_eq!(job.state, expected);
        let pipeline = pipeline(json!({"state": format!("PIPELINE_STATE_{name}")}));
        assert_eq!(pipeline.state, expected);
    }
    assert_eq!(custom(json!({"state": 3})).state, JobState::Running);
    assert_eq!(custom(json!({"state": 99})).state, JobState::Unknown("99".to_owned()));
    assert_eq!(custom(json!({})).state, JobState::Unknown("UNSPECIFIED".to_owned()));
}

#[test]
fn a_failed_job_keeps_its_times_labels_and_error() {
    let job = custom(json!({
        "name": "projects/p/locations/r/customJobs/1",
        "labels": {"branchline-run": "a"},
        "createTime": "2026-11-01T10:00:00.5Z",
        "endTime": "2026-11-01T11:00:00Z",
        "state": "JOB_STATE_FAILED",
        "error": {"code": 3, "message": "The replica workerpool0-0 exited"},
    }));
    let expected = Job {
        name: "projects/p/locations/r/customJobs/1".to_owned(),
        kind: JobKind::CustomJob,
        state: JobState::Failed,
        labels: BTreeMap::from([("branchline-run".to_owned(), "a".to_owned())]),
        error: Some(JobError { code: 3, message: "The replica workerpool0-0 exited".to_owned() }),
        created: Some("2026-11-01T10:00:00.5Z".parse().unwrap()),
        ended: Some("2026-11-01T11:00:00Z".parse().unwrap()),
        metrics: BTreeMap::new(),
        model: None,
        best_trial: None,
    };
    assert_eq!(job, expected);
}

#[test]
fn the_best_trial_is_chosen_by_the_goal_of_the_study() {
    let trial = |acc: Value, loss: Value| {
        json!({"finalMeasurement": {"metrics": [
            {"metricId": "acc", "value": acc}, {"metricId": "loss", "value": loss}]}})
    };
    let trials = json!([
        trial(json!(0.5), json!(3.0)),
        {"id": "2", "state": "INFEASIBLE"},
        trial(json!("NaN"), json!(9.0)),
        trial(json!(0.9), json!(2.0)),
        trial(json!(0.7), json!(1.0)),
    ]);
    let measured = |acc, loss| BTreeMap::from([("acc".to_owned(), acc), ("loss".to_owned(), loss)]);
    assert_eq!(tuning("MAXIMIZE", &trials), measured(0.9, 2.0));
    assert_eq!(tuning("MINIMIZE", &trials), measured(0.5, 3.0));
    assert_eq!(tuning("MAXIMIZE", &json!([])), BTreeMap::new());
    // JSON cannot write what is no finite number: a ledger that held one could not be read.
    let diverged = json!([trial(json!(0.5), json!("NaN")), trial(json!("Infinity"), json!(1))]);
    assert_eq!(tuning("MAXIMIZE", &diverged), BTreeMap::from([("acc".to_owned(), 0.5)]));
}

#[test]
fn the_metrics_of_a_pipeline_are_those_its_steps_wrote() {
    let step = |id: i64, name: &str, ended: &str, schema: &str, metadata: Value| {
        json!({"taskId": id, "taskName": name, "endTime": ended, "outputs": {
            "out": {"artifacts": [{"schemaTitle": schema, "metadata": metadata}]}}})
    };
    let early = "2026-11-01T10:00:00Z";
    let late = "2026-11-01T11:00:00Z";
    let job = pipeline(json!({"jobDetail": {"taskDetails": [
        step(2, "test", late, "system.Metrics", json!({"acc": 0.8, "note": "text"})),
        step(1, "train", early, "system.Metrics", json!({"acc": 0.9, "loss": 1})),
        step(3, "export", late, "system.Model", json!({"size": 5})),
    ]}}));
    let expected = [("acc", 0.8), ("loss", 1.0), ("test.acc", 0.8), ("train.acc", 0.9)];
    assert_eq!(job.metrics, expected.map(|(name, it)| (name.to_owned(), it)).into());
    assert_eq!(pipeline(json!({})).metrics, BTreeMap::new());
}

#[test]
fn a_training_pipeline_names_the_model_it_uploaded() {
    for (model, expected) in [
        (json!({}), None),
        (json!({"displayName": "m"}), None),
        (
            json!({"name": "projects/p/locations/r/models/1"}),
            Some("projects/p/locations/r/models/1"),
        ),
    ] {
        let body = json!({"state": "PIPELINE_STATE_SUCCEEDED", "modelToUpload": model});
        let job = Job::from(serde_json::from_value::<model::TrainingPipeline>(body).unwrap());
        assert_eq!(job.model.as_deref(), expected);
    }
}
