//! `branchline publish` as a CI job runs it, as far as it goes without a network.

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
    let output = publish(repository(CONFIG).path(), &["--dry-run", "--set", "epochs=500"], &JOB);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains("claims"));
    let mut shown = String::new();
    for line in text.lines() {
        let line = match line.split_once("\"ce-time\": ") {
            Some((indent, _)) => format!("{indent}\"ce-time\": \"…\","),
            None => line.to_owned(),
        };
        shown.push_str(&(line + "\n"));
    }
    expect_file!["golden/dry-run.json"].assert_eq(&shown);
}

#[test]
fn a_misspelt_or_missing_key_is_told_with_its_path_and_all_at_once() {
    check_config(
        "bucket: demo-artifacts\ntopic: projects/demo-project/topics/artifact-ready",
        "buckett: demo-artifacts\ntopic: artifact-ready",
        &expect![[r#""#]],
    );
    check_config(
        "params: {epochs: \"300\"}",
        "params: {epochs: 300}\n    colour: red",
        &expect![[r#""#]],
    );
    check_config("region: europe-west4", "region: Europe", &expect![[r#""#]]);
    check_config("project: demo-project\n", "", &expect![[r#""#]]);
    check_config("artifacts_max: 3", "artifacts_max: 5000", &expect![[r#""#]]);
    check_config("{path: train.sh}", "{path: ../train.sh}", &expect![[r#""#]]);
    check_config("{path: train.sh}", "{uri: s3://bucket/object}", &expect![[r#""#]]);
    check_config("{path: train.sh}", "{}", &expect![[r#""#]]);
    check_config("runs:\n  iris:", "runs:\n  Iris:", &expect![[r#""#]]);
    check_config("custom_job:", "customJob:", &expect![[r#""#]]);
    check_config("runs:", "runs: [", &expect![[r#""#]]);
}

#[test]
fn a_misspelt_training_field_is_told_with_its_path() {
    check_config(
        "machineSpec: {machineType: n1-standard-4}",
        "machinSpec: {machineType: n1-standard-4}",
        &expect![[r#""#]],
    );
}

#[test]
fn a_placeholder_that_nobody_fills_is_refused() {
    check_config(
        "\"{{ commit.sha }}\"",
        "\"{{ commit.hash }}\", \"{{ params.lr }}\", \"{{ artifacts.model.uri }}\"",
        &expect![[r#""#]],
    );
    check_config("\"{{ commit.sha }}\"", "\"{{ commit.sha\"", &expect![[r#""#]]);
}

#[test]
fn a_glob_that_matches_nothing_or_too_much_is_refused_with_its_count() {
    let directory = repository(CONFIG);
    for name in ["c.csv", "d.csv"] {
        fs::write(directory.path().join("data").join(name), "").unwrap();
    }
    check(directory.path(), &[], &JOB, &expect![[r#""#]]);
    check_config("data/*.csv", "data/*.parquet", &expect![[r#""#]]);
    check_config("data/*.csv", "nowhere/**", &expect![[r#""#]]);
}

#[test]
fn a_path_that_is_no_file_of_the_repository_is_refused() {
    check_config("{path: train.sh}", "{path: trian.sh}", &expect![[r#""#]]);
    check_config("{path: train.sh}", "{path: data}", &expect![[r#""#]]);
    let (outside, directory) = (tempfile::NamedTempFile::new().unwrap(), repository(CONFIG));
    std::os::unix::fs::symlink(outside.path(), directory.path().join("data/c.csv")).unwrap();
    check(directory.path(), &[], &JOB, &expect![[r#""#]]);
}

#[test]
fn a_variable_that_gitlab_would_have_set_is_missed_by_name() {
    let directory = repository(CONFIG);
    let job: Vec<_> = JOB.into_iter().filter(|it| !it.0.ends_with("_ID")).collect();
    check(directory.path(), &[], &job, &expect![[r#""#]]);
    let job: Vec<_> = JOB.into_iter().filter(|it| it.0 != "CI_SERVER_URL").collect();
    check(directory.path(), &[], &job, &expect![[r#""#]]);
    let job = [&JOB[..], &[("CI_COMMIT_SHA", "main")]].concat();
    check(directory.path(), &[], &job, &expect![[r#""#]]);
}

#[test]
fn a_name_that_the_file_does_not_hold_is_answered_with_those_that_it_does() {
    let directory = repository(CONFIG);
    check(directory.path(), &["mnist"], &JOB, &expect![[r#""#]]);
    check(directory.path(), &["iris", "--set", "lr=0.1"], &JOB, &expect![[r#""#]]);
    check(directory.path(), &["--config", "other.yaml"], &JOB, &expect![[r#""#]]);
    let (head, run) = CONFIG.split_once("  iris:").unwrap();
    let two = repository(&format!("{head}  iris:{run}  wine:{run}"));
    check(two.path(), &[], &JOB, &expect![[r#""#]]);
}

#[test]
fn a_pipeline_spec_may_be_a_file_and_is_left_as_it_is() {
    let spec = "pipelineInfo: {name: p}\nroot: {dag: {}}\nnote: '{{ not ours }} {{$.inputs}}'\n";
    let (head, _) = CONFIG.split_once("      custom_job:").unwrap();
    let training = "      pipeline_job: {displayName: p, pipelineSpec: {file: p.yaml}}\n";
    let directory = repository(&format!("{head}{training}"));
    check(directory.path(), &[], &JOB, &expect![[r#""#]]);
    fs::write(directory.path().join("p.yaml"), spec).unwrap();
    let output = publish(directory.path(), &["--dry-run"], &JOB);
    let message: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    expect![[r#""#]].assert_eq(&message["data"]["training"].to_string());
}

#[test]
fn every_help_text_reads_well() {
    for command in ["", "publish", "schema", "completions"] {
        let output = Command::new(env!("CARGO_BIN_EXE_branchline"))
            .args([command, "--help"].iter().filter(|it| !it.is_empty()))
            .env_clear()
            .env("COLUMNS", "100")
            .output()
            .unwrap();
        assert!(output.status.success());
        let name = if command.is_empty() { "branchline" } else { command };
        let text = String::from_utf8(output.stdout).unwrap();
        expect_file![format!("golden/help-{name}.txt")].assert_eq(&text);
    }
}
