//! `branchline publish` as a CI job runs it, as far as it goes without a network.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use expect_test::{Expect, expect, expect_file};
use tempfile::TempDir;

const CONFIG: &str = r#"
project: demo-project
region: europe-west4
bucket: demo-artifacts
topic: projects/demo-project/topics/artifact-ready
artifacts_max: 3
runs:
  iris:
    params: {epochs: "300"}
    artifacts:
      data: {path: data/*.csv}
      code: {path: train.sh}
    training:
      custom_job:
        displayName: iris {{ commit.ref }}
        jobSpec:
          workerPoolSpecs:
            - machineSpec: {machineType: n1-standard-4}
              replicaCount: 1
              containerSpec:
                imageUri: debian:12
                command: [sh, "{{ artifacts.code.path }}", "{{ artifacts.data.uri }}"]
                args: [--epochs, "{{ params.epochs }}", --commit, "{{ commit.sha }}"]
          baseOutputDirectory: {outputUriPrefix: "{{ output }}"}
"#;

const JOB: [(&str, &str); 8] = [
    ("CI_SERVER_URL", "https://gitlab.example.com"),
    ("CI_PROJECT_ID", "42"),
    ("CI_PROJECT_PATH", "ml/iris"),
    ("CI_COMMIT_SHA", "1111111111111111111111111111111111111111"),
    ("CI_COMMIT_REF_NAME", "main"),
    ("CI_PIPELINE_ID", "7"),
    ("CI_JOB_ID", "70"),
    ("BRANCHLINE_ID_TOKEN", "header.claims.signature"),
];

fn repository(config: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::create_dir_all(root.join(".git")).unwrap();
    fs::create_dir_all(root.join("data")).unwrap();
    fs::write(root.join("data/a.csv"), "1,2\n").unwrap();
    fs::write(root.join("data/b.csv"), "3,4\n").unwrap();
    fs::write(root.join("train.sh"), "exit 0\n").unwrap();
    fs::write(root.join("branchline.yaml"), config).unwrap();
    directory
}

fn publish(directory: &Path, arguments: &[&str], job: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_branchline"))
        .arg("publish")
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("BRANCHLINE_CREDENTIALS", "anonymous")
        .envs(job.iter().copied())
        .output()
        .unwrap()
}

/// A refusal's exit code and whole text.
fn check(directory: &Path, arguments: &[&str], job: &[(&str, &str)], expect: &Expect) {
    let arguments = [&["--dry-run"], arguments].concat();
    let output = publish(directory, &arguments, job);
    let code = output.status.code().unwrap();
    expect.assert_eq(&format!("{code}: {}", String::from_utf8(output.stderr).unwrap()));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "stdout is for results");
}

fn check_config(from: &str, to: &str, expect: &Expect) {
    assert!(CONFIG.contains(from), "{from} is not in the configuration");
    check(repository(&CONFIG.replace(from, to)).path(), &[], &JOB, expect);
}

#[test]
fn a_dry_run_prints_the_message_without_its_token() {
    let trace = ("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let job: Vec<_> = JOB.into_iter().chain([trace]).collect();
    let output = publish(repository(CONFIG).path(), &["--dry-run", "--set", "epochs=500"], &job);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains("claims"));
    let lines = text.lines().map(|line| match line.split_once("\"ce-time\": ") {
        Some((indent, _)) => format!("{indent}\"ce-time\": \"…\","),
        None => line.to_owned(),
    });
    let shown = lines.collect::<Vec<_>>().join("\n") + "\n";
    expect_file!["golden/dry-run.json"].assert_eq(&shown);
}

#[test]
fn a_misspelt_or_missing_key_is_told_with_its_path_and_all_at_once() {
    check_config(
        "bucket: demo-artifacts\ntopic: projects/demo-project/topics/artifact-ready",
        "buckett: demo-artifacts\ntopic: artifact-ready",
        &expect![[r#"
            78: error: branchline.yaml is wrong:
              buckett: no such field; did you mean bucket?
              bucket: is missing
              topic: "artifact-ready" is not a topic (projects/PROJECT/topics/TOPIC)
        "#]],
    );
    check_config(
        "params: {epochs: \"300\"}",
        "params: {epochs: 300}\n    attempts_max: 9\n    colour: red",
        &expect![[r"
            78: error: branchline.yaml is wrong:
              runs.iris.colour: no such field; known are project, region, params, per_pipeline, supersede, attempts_max, artifacts, training
              runs.iris.params.epochs: expected text in quotes, found 300
              runs.iris.attempts_max: expected a number from 1 to 5, found 9
        "]],
    );
    check_config(
        "region: europe-west4",
        "region: Europe",
        &expect![[r#"
        78: error: branchline.yaml is wrong:
          region: "Europe" is not a Vertex AI region such as europe-west4
    "#]],
    );
    check_config(
        "project: demo-project\n",
        "",
        &expect![[r"
        78: error: branchline.yaml is wrong:
          runs.iris.project: is missing, here and at the top of the file
    "]],
    );
    check_config(
        "artifacts_max: 3",
        "artifacts_max: 5000",
        &expect![[r"
        78: error: branchline.yaml is wrong:
          artifacts_max: expected a number from 1 to 1000, found 5000
    "]],
    );
}

#[test]
fn a_run_or_an_artifact_that_makes_no_sense_is_refused_with_its_path() {
    check_config(
        "{path: train.sh}",
        "{path: ../train.sh}",
        &expect![[r#"
        78: error: branchline.yaml is wrong:
          runs.iris.artifacts.code.path: "../train.sh" is not a path inside the repository
    "#]],
    );
    check_config(
        "{path: train.sh}",
        "{uri: s3://bucket/object}",
        &expect![[r#"
        78: error: branchline.yaml is wrong:
          runs.iris.artifacts.code.uri: "s3://bucket/object" is not a gs://bucket/object URI
    "#]],
    );
    check_config(
        "{path: train.sh}",
        "{}",
        &expect![[r"
        78: error: branchline.yaml is wrong:
          runs.iris.artifacts.code: takes either path or uri
    "]],
    );
    check_config(
        "runs:\n  iris:",
        "runs:\n  Iris:",
        &expect![[r#"
        78: error: branchline.yaml is wrong:
          runs.Iris: "Iris" is not a run name (a lower-case letter, then letters, digits or -; at most 40)
    "#]],
    );
    check_config(
        "custom_job:",
        "customJob:",
        &expect![[r"
        78: error: branchline.yaml is wrong:
          runs.iris.training.customJob: no such field; did you mean custom_job?
          runs.iris.training: takes exactly one of custom_job, pipeline_job, hyperparameter_tuning_job, training_pipeline
    "]],
    );
    check_config(
        "runs:",
        "runs: [",
        &expect![[r"
        78: error: branchline.yaml is wrong:
          line 9, column 11: while parsing a flow mapping, did not find expected ',' or '}' at line 9, column 11
    "]],
    );
}

#[test]
fn a_misspelt_training_field_is_told_with_its_path() {
    check_config(
        "machineSpec: {machineType: n1-standard-4}",
        "machinSpec: {machineType: n1-standard-4}",
        &expect![[r"
            78: error: branchline.yaml is wrong:
              runs.iris.training.custom_job.jobSpec.workerPoolSpecs[0].machinSpec: no such field; did you mean machineSpec?
        "]],
    );
}

#[test]
fn a_placeholder_that_nobody_fills_is_refused() {
    check_config(
        "\"{{ commit.sha }}\"",
        "\"{{ commit.hash }}\", \"{{ params.lr }}\", \"{{ artifacts.model.uri }}\"",
        &expect![[r"
            78: error: branchline.yaml is wrong:
              runs.iris.training.custom_job.jobSpec.workerPoolSpecs[0].containerSpec.args[3]: there is no {{ commit.hash }}; there are {{ params.epochs }}, {{ artifacts.data.uri }}, {{ artifacts.data.path }}, {{ artifacts.code.uri }}, {{ artifacts.code.path }}, {{ commit.sha }}, {{ commit.ref }}, {{ run.id }}, {{ output }}
              runs.iris.training.custom_job.jobSpec.workerPoolSpecs[0].containerSpec.args[4]: there is no {{ params.lr }}
              runs.iris.training.custom_job.jobSpec.workerPoolSpecs[0].containerSpec.args[5]: there is no {{ artifacts.model.uri }}
        "]],
    );
    check_config(
        "\"{{ commit.sha }}\"",
        "\"{{ commit.sha\"",
        &expect![[r"
        78: error: branchline.yaml is wrong:
          runs.iris.training.custom_job.jobSpec.workerPoolSpecs[0].containerSpec.args[3]: {{ is never closed
    "]],
    );
}

#[test]
fn a_glob_that_matches_nothing_or_too_much_is_refused_with_its_count() {
    let directory = repository(CONFIG);
    for name in ["c.csv", "d.csv"] {
        fs::write(directory.path().join("data").join(name), "").unwrap();
    }
    check(
        directory.path(),
        &[],
        &JOB,
        &expect![[r"
        66: error: artifact data: data/*.csv matches 4 files, and artifacts_max is 3
    "]],
    );
    check_config(
        "data/*.csv",
        "data/*.parquet",
        &expect![[r"
        66: error: artifact data: nothing matches data/*.parquet
    "]],
    );
    check_config(
        "data/*.csv",
        "nowhere/**",
        &expect![[r"
        66: error: artifact data: nothing matches nowhere/**
    "]],
    );
}

#[test]
fn a_path_that_is_no_file_of_the_repository_is_refused() {
    check_config(
        "{path: train.sh}",
        "{path: trian.sh}",
        &expect![[r"
        66: error: artifact code: opening trian.sh: No such file or directory (os error 2)
    "]],
    );
    check_config(
        "{path: train.sh}",
        "{path: data}",
        &expect![[r"
        66: error: artifact code: data is not a file; a glob such as data/** takes the files of a directory
    "]],
    );
    let (outside, directory) = (tempfile::NamedTempFile::new().unwrap(), repository(CONFIG));
    std::os::unix::fs::symlink(outside.path(), directory.path().join("data/c.csv")).unwrap();
    check(
        directory.path(),
        &[],
        &JOB,
        &expect![[r"
        66: error: artifact data: data/c.csv is a link that leaves the repository
    "]],
    );
}

#[test]
fn a_variable_that_gitlab_would_have_set_is_missed_by_name() {
    let directory = repository(CONFIG);
    let cases = [
        (
            "_ID",
            expect![[r"
                78: error: CI_PROJECT_ID, CI_PIPELINE_ID, CI_JOB_ID are not set; publish is made for a GitLab CI job, where GitLab sets them
            "]],
        ),
        (
            "CI_SERVER_URL",
            expect![[r"
                78: error: CI_SERVER_URL is not set; publish is made for a GitLab CI job, where GitLab sets it
            "]],
        ),
    ];
    for (missing, expect) in cases {
        let job: Vec<_> = JOB.into_iter().filter(|it| !it.0.ends_with(missing)).collect();
        check(directory.path(), &[], &job, &expect);
    }
    let job = [&JOB[..], &[("CI_COMMIT_SHA", "main")]].concat();
    let expect = expect![[r#"
        78: error: CI_COMMIT_SHA: "main" is not a full commit hash (40 or 64 lower-case hex digits)
    "#]];
    check(directory.path(), &[], &job, &expect);
}

#[test]
fn only_a_message_that_is_sent_needs_a_token() {
    let job: Vec<_> = JOB.into_iter().filter(|it| it.0 != "BRANCHLINE_ID_TOKEN").collect();
    assert!(publish(repository(CONFIG).path(), &["--dry-run"], &job).status.success());
    let output = publish(repository(CONFIG).path(), &[], &job);
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.ends_with("  id_tokens:\n    BRANCHLINE_ID_TOKEN: {aud: branchline}\n"), "{said}");
}

#[test]
fn a_name_that_the_file_does_not_hold_is_answered_with_those_that_it_does() {
    let directory = repository(CONFIG);
    check(
        directory.path(),
        &["mnist"],
        &JOB,
        &expect![[r#"
        64: error: branchline.yaml has no run "mnist"; it has iris
    "#]],
    );
    check(
        directory.path(),
        &["iris", "--set", "lr=0.1"],
        &JOB,
        &expect![[r#"
        64: error: run iris has no parameter "lr"; it has epochs
    "#]],
    );
    check(
        directory.path(),
        &["--config", "other.yaml"],
        &JOB,
        &expect![[r"
        66: error: reading other.yaml: No such file or directory (os error 2)
    "]],
    );
    let (head, run) = CONFIG.split_once("  iris:").unwrap();
    let two = repository(&format!("{head}  iris:{run}  wine:{run}"));
    check(
        two.path(),
        &[],
        &JOB,
        &expect![[r"
        64: error: branchline.yaml has several runs; name one of iris, wine
    "]],
    );
}

#[test]
fn a_pipeline_spec_may_be_a_file_and_is_left_as_it_is() {
    let spec = "pipelineInfo: {name: p}\nroot: {dag: {}}\nnote: '{{ not ours }} {{$.inputs}}'\n";
    let (head, _) = CONFIG.split_once("      custom_job:").unwrap();
    let training = "      pipeline_job: {displayName: p, pipelineSpec: {file: p.yaml}}\n";
    let directory = repository(&format!("{head}{training}"));
    check(
        directory.path(),
        &[],
        &JOB,
        &expect![[r"
        78: error: branchline.yaml is wrong:
          runs.iris.training.pipeline_job.pipelineSpec.file: opening p.yaml: No such file or directory (os error 2)
    "]],
    );
    fs::write(directory.path().join("p.yaml"), spec).unwrap();
    let output = publish(directory.path(), &["--dry-run"], &JOB);
    let message: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    expect![[r#"{"pipeline_job":{"displayName":"p","pipelineSpec":{"pipelineInfo":{"name":"p"},"root":{"dag":{}},"note":"{{ not ours }} {{$.inputs}}"}}}"#]].assert_eq(&message["data"]["training"].to_string());
}

#[test]
fn the_example_can_be_asked_for() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/iris");
    for name in ["iris", "iris-pipeline", "iris-tuning", "iris-training-pipeline"] {
        let output = publish(&example, &["--dry-run", name], &JOB);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
