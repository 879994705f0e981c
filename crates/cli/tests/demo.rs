//! `branchline demo`, the whole way of a commit, for each kind of job.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Output};

#[path = "../../../tests/support/iris.rs"]
mod iris;

fn demo(run: &str, output: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_branchline"))
        .args(["demo", "--run", run, "--output"])
        .arg(output)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap()
}

/// The demo succeeds, shows what it promises, and the accuracy it prints is that of the model.
fn check(run: &str) {
    let directory = tempfile::tempdir().unwrap();
    let shown = demo(run, directory.path());
    let text = String::from_utf8(shown.stdout).unwrap();
    let error = String::from_utf8_lossy(&shown.stderr);
    assert!(shown.status.success(), "{text}{error}");
    for part in [
        format!("commit status branchline/{run}: success"),
        "1 note on the merge request".to_owned(),
        "finished   succeeded".to_owned(),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    // The CI job asked, it was taken in, it trained, it ended.
    let logged: Vec<_> = text.lines().filter_map(|it| it.strip_prefix("logs   │ ")).collect();
    let order = [" gitlab ", " branchline    requested", " vertex ", " branchline    finished"];
    let found = order.map(|part| logged.iter().position(|it| it.contains(part)));
    assert!(found.is_sorted() && found[0].is_some(), "{found:?}: {text}");
    let printed = text.lines().find_map(|it| it.split_once("accuracy on the held-out rows: "));
    let printed: f64 = printed.unwrap().1.parse().unwrap();
    let model = std::fs::read(directory.path().join("model.json")).unwrap();
    let recomputed = iris::accuracy(&serde_json::from_slice(&model).unwrap());
    assert!((printed - recomputed).abs() < 1e-6, "{printed} is not {recomputed}");
    assert!(recomputed > 0.9, "{recomputed}");
}

#[test]
fn a_custom_job_trains_a_model() {
    check("iris");
}

#[test]
fn a_pipeline_job_trains_a_model() {
    check("iris-pipeline");
}

#[test]
fn a_tuning_job_trains_a_model() {
    check("iris-tuning");
}

#[test]
fn a_training_pipeline_trains_a_model() {
    check("iris-training-pipeline");
}

#[test]
fn a_run_that_does_not_exist_fails_the_demo_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let shown = demo("none", directory.path());
    assert!(!shown.status.success());
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("iris-pipeline"), "the known runs are told: {text}");
}
