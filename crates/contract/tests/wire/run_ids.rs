//! The same request is the same run, however it arrives; other work is another run.

use branchline_contract::{Envelope, RunId};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::request;

fn id(change: impl FnOnce(&mut Value)) -> String {
    RunId::derive(&request(change)).0.to_string()
}

/// The golden request, for which another pipeline of the commit is no other work.
fn per_commit(data: &mut Value) {
    data["per_pipeline"] = false.into();
}

fn set(pointer: &str, value: &Value) -> impl FnOnce(&mut Value) {
    move |data| {
        per_commit(data);
        *data.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value.clone();
    }
}

/// Runs in the field go by these ids: another derivation would train all of them again.
#[test]
fn the_derivation_never_changes() {
    assert_eq!(id(|_| ()), "train-636f38f3c36efd01c0eb");
    let (id, digest) = RunId::derive(&request(per_commit));
    assert_eq!(id.to_string(), "train-be1fd397edaa361638e8");
    assert_eq!(id.to_string(), format!("train-{}", &digest.to_string()[..20]));
    assert_eq!(id.name(), "train");
}

#[test]
fn the_same_request_through_another_job_is_the_same_run() {
    let cases = [
        ("/gitlab/job_id", json!(1)),
        ("/gitlab/pipeline_id", json!(1)),
        ("/gitlab/ref", json!("main")),
        ("/gitlab/project_path", json!("vision/renamed")),
        ("/gitlab/merge_request", json!(null)),
        ("/id_token", json!("another.one")),
        ("/supersede", json!(false)),
        // The digest says all about the content; the upload may be another.
        ("/artifacts/0/generation", json!(1)),
    ];
    for (pointer, value) in cases {
        assert_eq!(id(set(pointer, &value)), id(per_commit), "{pointer}");
    }
}

#[test]
fn a_worker_derives_the_id_that_the_publisher_told() {
    let numbers = json!([1, 1.0, -0.0, 1e-23, 0.1 + 0.2, 5e-324, f64::MAX, u64::MAX, i64::MIN]);
    let request = request(set("/training", &json!({"custom_job": numbers})));
    let (told, digest) = RunId::derive(&request);
    let Envelope { data, attributes } = Envelope::artifact_ready(&request, Timestamp::UNIX_EPOCH);
    assert_eq!(attributes["ce-subject"], told.as_str());
    let received = Envelope::decode_artifact_ready(&data, &attributes).unwrap();
    assert_eq!(RunId::derive(&received), (told, digest));
}

#[test]
fn other_work_is_another_run() {
    let digest = "0".repeat(64);
    let cases = [
        ("/gitlab/host", json!("gitlab.example.org")),
        ("/gitlab/project_id", json!(575)),
        ("/gitlab/sha", json!("0".repeat(40))),
        ("/run", json!("train-more")),
        ("/artifacts/0/name", json!("images")),
        ("/artifacts/0/uri", json!("gs://acme-artifacts/other")),
        ("/artifacts/0/sha256", json!(digest)),
        ("/artifacts/1/generation", json!(1)),
        ("/artifacts/1/size", json!(1)),
        ("/artifacts/1/crc32c", json!("2tg2vA==")),
        ("/artifacts/0/directory", json!("gs://acme-artifacts/flowers/")),
        ("/artifacts/0/directory", json!("gs://acme-artifacts/")),
        ("/artifacts/1/directory", json!("gs://acme-data/flowers/")),
        ("/artifacts/1/sha256", json!(digest)),
        ("/artifacts", json!([])),
        ("/training", json!({"pipeline_job": {}})),
        ("/training/custom_job/displayName", json!("flowers")),
        ("/vertex/project", json!("acme-other")),
        ("/vertex/region", json!("us-central1")),
    ];
    let mut ids = vec![id(per_commit), id(|_| ())];
    for (pointer, value) in cases {
        let changed = id(|data| {
            data["artifacts"][1]["sha256"] = Value::Null;
            for artifact in data["artifacts"].as_array_mut().unwrap() {
                artifact["directory"] = Value::Null;
            }
            set(pointer, &value)(data);
        });
        assert!(!ids.contains(&changed), "{pointer}");
        ids.push(changed);
    }
}

#[test]
fn per_pipeline_makes_each_pipeline_its_own_run_but_not_each_job() {
    let pipeline = |id: u64| move |data: &mut Value| data["gitlab"]["pipeline_id"] = id.into();
    assert_ne!(id(pipeline(1)), id(pipeline(2)));
    assert_eq!(id(|data| data["gitlab"]["job_id"] = 1.into()), id(|_| ()));
}

#[test]
fn the_number_of_attempts_is_not_identity() {
    let once = |data: &mut Value| drop(data.as_object_mut().unwrap().remove("attempts_max"));
    assert_eq!(id(once), id(|data| data["attempts_max"] = 5.into()));
}

#[test]
fn order_of_keys_and_artifacts_is_not_identity() {
    let reordered = id(|data| {
        data["artifacts"].as_array_mut().unwrap().reverse();
        reverse_keys(&mut data["training"]);
    });
    assert_eq!(reordered, id(|_| ()));
    let arguments = id(|data| {
        let pool = &mut data["training"]["custom_job"]["jobSpec"]["workerPoolSpecs"][0];
        pool["containerSpec"]["args"].as_array_mut().unwrap().reverse();
    });
    assert_ne!(arguments, id(|_| ()));
}

fn reverse_keys(value: &mut Value) {
    match value {
        Value::Object(map) => {
            *map = std::mem::take(map).into_iter().rev().collect();
            map.values_mut().for_each(reverse_keys);
        }
        Value::Array(items) => items.iter_mut().for_each(reverse_keys),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
