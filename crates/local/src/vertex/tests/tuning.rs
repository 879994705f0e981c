//! Tuning jobs.

use serde_json::{Value, json};

use super::{Stack, eventually, spec};

/// Reports the learning rate as the metric, as cloudml-hypertune would.
const REPORT: &str = r#"for arg; do case "$arg" in --lr=*) lr="${arg#--lr=}";; esac; done
    echo '{"accuracy": "0.0", "global_step": "1"}' > "$CLOUD_ML_HP_METRIC_FILE"
    echo "{\"timestamp\": 1.5, \"trial\": \"$CLOUD_ML_TRIAL_ID\", \"accuracy\": \"$lr\", \"global_step\": \"7\"}" >> "$CLOUD_ML_HP_METRIC_FILE"
    echo "$AIP_MODEL_DIR $*""#;

fn tuning_job(script: &str) -> Value {
    json!({
        "displayName": "hp",
        "maxTrialCount": 4,
        "parallelTrialCount": 2,
        "studySpec": {
            "metrics": [{"metricId": "accuracy", "goal": 1}],
            "parameters": [
                {"parameterId": "lr", "doubleValueSpec": {"minValue": 0.001, "maxValue": 0.1}, "scaleType": "UNIT_LOG_SCALE"},
                {"parameterId": "depth", "integerValueSpec": {"minValue": "2", "maxValue": 5}, "scaleType": 1},
                {"parameterId": "kind", "categoricalValueSpec": {"values": ["a", "b"]}},
                {"parameterId": "batch", "discreteValueSpec": {"values": [16, 32]}},
            ],
        },
        "trialJobSpec": spec(script),
    })
}

#[tokio::test]
async fn a_tuning_job_tries_and_measures() {
    let stack = Stack::new();
    let path = stack.create("hyperparameterTuningJobs", &tuning_job(REPORT)).await;
    let ended = stack.end(&path).await;
    assert_eq!(ended["state"], "JOB_STATE_SUCCEEDED", "{ended:#}");

    let trials = ended["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 4);
    for (at, trial) in trials.iter().enumerate() {
        assert_eq!(trial["id"], (at + 1).to_string());
        assert_eq!(trial["state"], "SUCCEEDED");
        let value = |id: &str| {
            let parameters = trial["parameters"].as_array().unwrap();
            parameters.iter().find(|it| it["parameterId"] == id).unwrap()["value"].clone()
        };
        assert!((0.001..=0.1).contains(&value("lr").as_f64().unwrap()));
        assert!((2..=5).contains(&value("depth").as_i64().unwrap()));
        assert!([json!("a"), json!("b")].contains(&value("kind")));
        let batch = value("batch").as_f64().unwrap();
        assert_eq!(trial["finalMeasurement"]["stepCount"], "7");
        assert_eq!(
            trial["finalMeasurement"]["metrics"],
            json!([{"metricId": "accuracy", "value": value("lr")}])
        );
        let id = at + 1;
        let line = format!(
            "{id}/workerpool0-0 gs://bucket/out/{id}/model/ --lr={} --depth={} --kind={} --batch={batch}\n",
            value("lr"),
            value("depth"),
            value("kind").as_str().unwrap(),
        );
        assert!(stack.printed(&path).contains(&line), "{line}{}", stack.printed(&path));
    }

    let again = stack.create("hyperparameterTuningJobs", &tuning_job(REPORT)).await;
    let again = stack.end(&again).await;
    assert_eq!(
        again["trials"][3]["parameters"], trials[3]["parameters"],
        "the same study, the same trials"
    );
}

#[tokio::test]
async fn trials_that_report_nothing_are_infeasible_and_fail_the_job() {
    let stack = Stack::new();
    let path = stack.create("hyperparameterTuningJobs", &tuning_job("true")).await;
    let ended = stack.end(&path).await;
    assert_eq!(ended["state"], "JOB_STATE_FAILED");
    assert_eq!(ended["trials"][0]["state"], "INFEASIBLE");
    assert_eq!(ended["trials"][0]["infeasibleReason"], "The trial reported no metrics.");
}

#[tokio::test]
async fn enough_failed_trials_end_the_job_early() {
    let stack = Stack::new();
    let mut job = tuning_job("exit 1");
    job["parallelTrialCount"] = json!(1);
    job["maxFailedTrialCount"] = json!(2);
    let path = stack.create("hyperparameterTuningJobs", &job).await;
    let ended = stack.end(&path).await;
    assert_eq!(ended["state"], "JOB_STATE_FAILED");
    assert_eq!(ended["trials"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_cancelled_tuning_job_starts_no_more_trials() {
    let stack = Stack::new();
    let path =
        stack.create("hyperparameterTuningJobs", &tuning_job("echo here; exec sleep 60")).await;
    eventually("two trials run", || stack.printed(&path).matches("here").count() == 2).await;
    stack.cancel(&path).await;
    let ended = stack.end(&path).await;
    assert_eq!(ended["state"], "JOB_STATE_CANCELLED");
    assert_eq!(ended["trials"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_study_that_cannot_be_run_is_refused() {
    let stack = Stack::new();
    let cases = [
        ("/maxTrialCount", json!(0), "max_trial_count"),
        ("/parallelTrialCount", json!(1000), "parallel_trial_count"),
        ("/studySpec/metrics", json!([]), "study_spec.metrics"),
        ("/studySpec/metrics/0/goal", json!("GOAL_TYPE_UNSPECIFIED"), "study_spec.metrics[0].goal"),
        (
            "/studySpec/parameters/0/doubleValueSpec",
            json!({"maxValue": 1}),
            "study_spec.parameters[0].double_value_spec",
        ),
        (
            "/studySpec/parameters/1/integerValueSpec",
            json!({"minValue": 3, "maxValue": 1}),
            "study_spec.parameters[1].integer_value_spec",
        ),
        (
            "/studySpec/parameters/2/categoricalValueSpec",
            json!({}),
            "study_spec.parameters[2].categorical_value_spec.values",
        ),
        ("/trialJobSpec", json!({}), "trial_job_spec.worker_pool_specs"),
    ];
    for (pointer, value, field) in cases {
        let mut job = tuning_job("true");
        *job.pointer_mut(pointer).unwrap() = value;
        let message = stack.refuse("hyperparameterTuningJobs", &job).await;
        assert!(message.contains(&format!("1.Field: {field};")), "{pointer}: {message}");
    }
}
