//! The example really learns: what `train.sh` reports is computed again here from
//! its model, by other means.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

#[path = "../../../tests/support/iris.rs"]
mod iris;

use iris::accuracy;

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/iris")
}

/// A directory in the place of Cloud Storage, with the table in a bucket.
fn cloud_storage() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("bucket")).unwrap();
    let table = dir.path().join("bucket/iris.csv");
    std::fs::copy(example().join("data/iris.csv"), table).unwrap();
    dir
}

fn train(mount: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new("sh");
    command.arg(example().join("train.sh")).arg("--data=gs://bucket/iris.csv").args(args);
    for name in ["AIP_MODEL_DIR", "CLOUD_ML_TRIAL_ID", "CLOUD_ML_HP_METRIC_FILE"] {
        command.env_remove(name);
    }
    command.env("CLOUD_STORAGE_MOUNT", mount).envs(env.iter().copied());
    command.output().unwrap()
}

fn train_well(mount: &Path, args: &[&str], env: &[(&str, &str)]) -> String {
    let output = train(mount, args, env);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn read(mount: &Path, path: &str) -> Value {
    let text = std::fs::read_to_string(mount.join("bucket").join(path)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_reported_accuracy_is_that_of_the_model() {
    let mount = cloud_storage();
    let log = train_well(mount.path(), &["--output=gs://bucket/out/"], &[]);
    assert!(log.contains("epoch 300/300 loss="), "{log}");
    let metrics = read(mount.path(), "out/metrics.json");
    let recomputed = accuracy(&read(mount.path(), "out/model/model.json"));
    let reported = metrics["accuracy"].as_f64().unwrap();
    assert!((reported - recomputed).abs() < 1e-6, "{reported} is not {recomputed}");
    assert!(recomputed > 0.9, "{recomputed}");
    assert_eq!((&metrics["rows_train"], &metrics["rows_test"]), (&120.into(), &30.into()));
}

#[test]
fn the_same_rows_give_the_same_model() {
    let mount = cloud_storage();
    for name in ["a", "b"] {
        let output = format!("--output=gs://bucket/{name}");
        train_well(mount.path(), &[&output, "--epochs=20"], &[]);
    }
    let model = |name: &str| read(mount.path(), &format!("{name}/model/model.json"));
    assert_eq!(model("a"), model("b"));
}

#[test]
fn shuffled_labels_leave_nothing_to_learn() {
    let seeds = 1..=8;
    let all: Vec<f64> = seeds
        .map(|seed| {
            let mount = cloud_storage();
            let seed = format!("--shuffle-labels={seed}");
            let args = ["--output=gs://bucket/out/", &seed, "--epochs=100"];
            train_well(mount.path(), &args, &[]);
            read(mount.path(), "out/metrics.json")["accuracy"].as_f64().unwrap()
        })
        .collect();
    // Chance is a third: a sixth of the rows away from it is five standard errors.
    let mean = all.iter().sum::<f64>() / 8.0;
    assert!((mean - 1.0 / 3.0).abs() < 1.0 / 6.0, "{all:?}");
    assert!(all.iter().all(|it| *it < 0.7), "{all:?}");
}

#[test]
fn a_model_is_judged_without_training() {
    let mount = cloud_storage();
    train_well(mount.path(), &["--model=gs://bucket/model"], &[]);
    let input = r#"{"inputs":{},"outputs":{"outputFile":"/gcs/bucket/x/executor_output.json"}}"#;
    let input = format!("--executor-input={input}");
    let args = ["--evaluate=gs://bucket/model", "--output=gs://bucket/metrics", &input];
    train_well(mount.path(), &args, &[]);
    let metrics = read(mount.path(), "metrics/metrics.json");
    let recomputed = accuracy(&read(mount.path(), "model/model.json"));
    assert!((metrics["accuracy"].as_f64().unwrap() - recomputed).abs() < 1e-6);
    let output = read(mount.path(), "x/executor_output.json");
    assert_eq!(output["artifacts"]["metrics"]["artifacts"][0]["metadata"], metrics);
}

#[test]
fn a_trial_reports_its_accuracy_to_the_tuning_job() {
    let mount = cloud_storage();
    let file = mount.path().join("output.metrics");
    let env = [
        ("CLOUD_ML_TRIAL_ID", "3"),
        ("CLOUD_ML_HP_METRIC_FILE", file.to_str().unwrap()),
        ("AIP_MODEL_DIR", "gs://bucket/out/3/model/"),
    ];
    let args = ["--output=gs://bucket/out/", "--learning-rate=0.01", "--epochs=20"];
    train_well(mount.path(), &args, &env);
    let line: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let accuracy = read(mount.path(), "out/3/metrics.json")["accuracy"].as_f64().unwrap();
    let reported: f64 = line["accuracy"].as_str().unwrap().parse().unwrap();
    assert!((reported - accuracy).abs() < 1e-6);
    assert_eq!((&line["trial"], &line["global_step"]), (&"3".into(), &"20".into()));
    read(mount.path(), "out/3/model/model.json");
}

#[test]
fn a_mistake_is_named() {
    let mount = cloud_storage();
    std::fs::write(mount.path().join("bucket/bad.csv"), "a,b\n1,2,3\n").unwrap();
    let out = "--output=gs://bucket/out/";
    let cases: [(&[&str], &str); 6] = [
        (&[], "--output is missing"),
        (&[out, "--epochs=many"], "--epochs many is no whole number"),
        (&[out, "--nonsense", "1"], "unknown option --nonsense"),
        (&[out, "--data=gs://bucket/none.csv"], "cannot read gs://bucket/none.csv"),
        (&[out, "--data=gs://bucket/bad.csv"], "line 2 of the table has 3 columns"),
        (&[out, "--evaluate=gs://bucket/none"], "cannot read the model in gs://bucket/none"),
    ];
    for (args, expected) in cases {
        let output = train(mount.path(), args, &[]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(text, format!("train.sh: {expected}\n"), "{args:?}");
    }
}
