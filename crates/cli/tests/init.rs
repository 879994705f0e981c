//! `branchline init` in a team's repository, and what it writes in the eyes of `publish` and of the CI component.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "init/terminal.rs"]
mod terminal;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

use expect_test::{Expect, expect, expect_file};
use serde_json::Value;
use tempfile::TempDir;

const PROVIDER: &str = "projects/7/locations/global/workloadIdentityPools/gitlab/providers/gitlab";

const ANSWERS: [(&str, &str); 12] = [
    ("--project", "acme-ml"),
    ("--region", "europe-west4"),
    ("--bucket", "acme-artifacts"),
    ("--topic", "projects/acme-ml/topics/artifact-ready"),
    ("--ledger", "acme-ledger"),
    ("--image", "docker.io/library/python:3.13-slim"),
    ("--training-account", "branchline-trainer@acme-ml.iam.gserviceaccount.com"),
    ("--component", "platform/branchline/train@1.0.0"),
    ("--ci-image", "europe-docker.pkg.dev/acme/branchline/branchline:1.0.0"),
    ("--provider", PROVIDER),
    ("--service-account", "ci@acme-ml.iam.gserviceaccount.com"),
    ("--run", "iris"),
];

const JOB: [(&str, &str); 9] = [
    ("BRANCHLINE_CREDENTIALS", "anonymous"),
    ("BRANCHLINE_ID_TOKEN", "header.claims.signature"),
    ("CI_SERVER_URL", "https://gitlab.example.com"),
    ("CI_PROJECT_ID", "42"),
    ("CI_PROJECT_PATH", "ml/iris"),
    ("CI_COMMIT_SHA", "1111111111111111111111111111111111111111"),
    ("CI_COMMIT_REF_NAME", "main"),
    ("CI_PIPELINE_ID", "7"),
    ("CI_JOB_ID", "70"),
];

/// A repository with a program and data.
fn repository() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::create_dir_all(root.join(".git")).unwrap();
    fs::create_dir_all(root.join("data")).unwrap();
    fs::write(root.join("data/a.csv"), "1,2\n").unwrap();
    fs::write(root.join("train.py"), "print('trained')\n").unwrap();
    directory
}

fn branchline(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_branchline"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs(JOB)
        .output()
        .unwrap()
}

/// `init` with all answers, those that come after over those before.
fn init(directory: &Path, more: &[&str]) -> Output {
    let over = |flag: &str| more.iter().any(|it| it.split('=').next() == Some(flag));
    let answers = ANSWERS.iter().filter(|(flag, _)| !over(flag));
    let answers: Vec<_> = answers.map(|(flag, it)| format!("{flag}={it}")).collect();
    let answers = answers.iter().map(String::as_str);
    branchline(
        directory,
        &["init"].into_iter().chain(answers).chain(more.iter().copied()).collect::<Vec<_>>(),
    )
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn read(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap()
}

/// A refusal's exit code and text, and that it left nothing behind.
fn refused(directory: &Path, more: &[&str], expect: &Expect) {
    let before = names(directory);
    let output = init(directory, more);
    expect.assert_eq(&format!("{}: {}", output.status.code().unwrap(), stderr(&output)));
    assert_eq!(names(directory), before, "nothing may be left behind");
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_it_writes_is_what_publish_takes() {
    let directory = repository();
    let root = directory.path();
    let output = init(root, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    expect![[r"
        wrote branchline.yaml
        wrote .gitlab-ci.yml
        commit and push: the pipeline asks for the run iris
    "]]
    .assert_eq(stderr(&output));
    expect_file!["golden/init-branchline.yaml"].assert_eq(&read(root, "branchline.yaml"));
    expect_file!["golden/init-gitlab-ci.yml"].assert_eq(&read(root, ".gitlab-ci.yml"));
    let mode = fs::metadata(root.join("branchline.yaml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o100_644, 0o100_600 | (mode & 0o44), "as any file that is made here");
    assert_ne!(mode & 0o44, 0, "others may read it as far as the umask lets them");

    let output = branchline(root, &["publish", "--dry-run"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let message: Value = serde_json::from_slice(&output.stdout).unwrap();
    let container = &message["data"]["training"]["custom_job"]["jobSpec"]["workerPoolSpecs"][0]["containerSpec"];
    expect![[r#"{"imageUri":"docker.io/library/python:3.13-slim","command":["python3","{{ artifacts.code.path }}"],"args":["--data={{ artifacts.data.path }}","--output={{ output }}"]}"#]]
    .assert_eq(&container.to_string());
}

#[test]
fn every_choice_makes_a_file_that_publish_takes() {
    let choices: [(&[&str], &[&str]); 6] = [
        (&["--script=none"], &["data"]),
        (&["--data=none"], &["code"]),
        (&["--script=none", "--data=none"], &[]),
        (&["--script=./train.py", "--data=data/*.csv"], &["code", "data"]),
        (&["--topic=projects/other/topics/requests", "--run=no"], &["code", "data"]),
        (&["--component=$CI_SERVER_FQDN/a/b/c/train@~latest"], &["code", "data"]),
    ];
    for (choice, artifacts) in choices {
        let directory = repository();
        let output = init(directory.path(), choice);
        assert!(output.status.success(), "{choice:?}: {}", stderr(&output));
        let output = branchline(directory.path(), &["publish", "--dry-run"]);
        assert!(output.status.success(), "{choice:?}: {}", stderr(&output));
        let message: Value = serde_json::from_slice(&output.stdout).unwrap();
        let named = message["data"]["artifacts"].as_array().unwrap().iter();
        let named: Vec<_> = named.map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(named, artifacts, "{choice:?}");
    }
    // Whether there is such an object, nobody can say here.
    let directory = repository();
    let output = init(directory.path(), &["--data=gs://acme-data/iris/"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let config = yaml(&read(directory.path(), "branchline.yaml"));
    let artifacts = &config["runs"]["iris"]["artifacts"];
    expect![[r#"{"code":{"path":"train.py"},"data":{"uri":"gs://acme-data/iris/"}}"#]]
        .assert_eq(&artifacts.to_string());
}

#[test]
fn what_is_missing_is_told_all_at_once() {
    let directory = repository();
    let output = branchline(directory.path(), &["init", "--region", "Europe"]);
    assert_eq!(output.status.code(), Some(64));
    let text = stderr(&output);
    expect![[r#"
        error: nothing was written:
          --project is missing: Google Cloud project that trains
          --region: "Europe" is not a Vertex AI region such as europe-west4
          --bucket is missing: bucket that artifacts are uploaded to
          --topic is missing: topic of requests, projects/PROJECT/topics/TOPIC
          --ledger is missing: bucket of the run ledger
          --image is missing: container image that trains
          --component is missing: CI component, GROUP/PROJECT/train@VERSION on this GitLab
    "#]]
    .assert_eq(text);
    assert_eq!(names(directory.path()), [".git", "data", "train.py"]);
}

#[test]
fn no_answer_breaks_out_of_its_place() {
    let directory = repository();
    symlink("/etc/hostname", directory.path().join("out.py")).unwrap();
    let cases = [
        ("--run", "iris\nevil: 1", "holds control characters"),
        ("--run", "{{ commit.ref }}", "holds {{"),
        ("--run", "-x", "begins with a dash"),
        ("--run", "Iris", "is not a run name"),
        ("--project", "acme\" #", "is not a Google Cloud project id"),
        ("--region", "", "an answer is needed here"),
        ("--bucket", "acme/artifacts", "is not the name of a bucket"),
        ("--bucket", "\u{202e}stcafitra", "holds control characters"),
        ("--topic", "projects/p/topics/a\", x: \"", "is not a topic"),
        ("--topic", "artifact-ready", "is not a topic"),
        ("--image", "debian, command: [sh]", "is not a container image"),
        ("--image", "$IMAGE", "is not a container image"),
        ("--ci-image", "$[[ inputs.x ]]", "is not a container image"),
        ("--script", "../train.py", "is not a path inside the repository"),
        ("--script", "out.py", "out.py is a link that leaves the repository"),
        ("--script", "gone.py", "opening gone.py: No such file"),
        ("--script", "data", "is not a script that ends in .py or .sh"),
        ("--script", "*.py", "is not one file"),
        ("--data", "no/**", "nothing matches no/**"),
        ("--data", "gs://b", "is not a gs://bucket/object URI"),
        ("--component", "train@1", "is not a component"),
        ("--component", "a/b/train@1\ninclude: x", "holds control characters"),
        ("--component", "a/b/fetch@1", "is not a component"),
        (
            "--provider",
            "projects/acme/locations/global/workloadIdentityPools/a/providers/b",
            "NUMBER",
        ),
        ("--service-account", "ci@acme.example.com", "is not a service account"),
        ("--service-account", &"a".repeat(2_000), "is too long"),
    ];
    let before = names(directory.path());
    for (flag, answer, why) in cases {
        let output = init(directory.path(), &[&format!("{flag}={answer}")]);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(64), "{flag} {answer}: {text}");
        let lines: Vec<_> = text.lines().collect();
        assert!(
            matches!(lines[..], [_, told] if told.contains(flag) && told.contains(why)),
            "{text}"
        );
        assert_eq!(names(directory.path()), before, "nothing may be left behind");
    }
}

#[test]
fn a_name_that_yaml_would_misread_is_quoted() {
    let directory = repository();
    let name = "it's so, #1: \"x\" & \\ü.py";
    fs::write(directory.path().join(name), "").unwrap();
    let output = init(directory.path(), &[&format!("--script={name}")]);
    assert!(output.status.success(), "{}", stderr(&output));
    let config = yaml(&read(directory.path(), "branchline.yaml"));
    assert_eq!(config["runs"]["iris"]["artifacts"]["code"]["path"], name);
    let output = branchline(directory.path(), &["publish", "--dry-run"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_file_that_is_there_is_not_touched() {
    let directory = repository();
    let root = directory.path();
    fs::write(root.join("branchline.yaml"), "mine\n").unwrap();
    fs::write(root.join(".gitlab-ci.yml"), "mine: {script: [make]}\n").unwrap();
    refused(
        root,
        &[],
        &expect![[r"
            73: error: branchline.yaml is there already; --force replaces it, --dry-run shows what would be in it
        "]],
    );
    assert_eq!(read(root, "branchline.yaml"), "mine\n");

    let output = init(root, &["--force"]);
    assert!(output.status.success(), "{}", stderr(&output));
    expect![[r"
        wrote branchline.yaml
        .gitlab-ci.yml is there already; this belongs into it, below the include: it may have
        commit and push: the pipeline asks for the run iris
    "]]
    .assert_eq(stderr(&output));
    expect_file!["golden/init-gitlab-ci.yml"]
        .assert_eq(std::str::from_utf8(&output.stdout).unwrap());
    expect_file!["golden/init-branchline.yaml"].assert_eq(&read(root, "branchline.yaml"));
    assert_eq!(read(root, ".gitlab-ci.yml"), "mine: {script: [make]}\n");
    assert_eq!(
        names(root),
        [".git", ".gitlab-ci.yml", "branchline.yaml", "data", "train.py"],
        "no draft is left"
    );
}

#[test]
fn nothing_is_written_through_a_link() {
    let (directory, elsewhere) = (repository(), tempfile::tempdir().unwrap());
    let root = directory.path();
    symlink(elsewhere.path().join("config"), root.join("branchline.yaml")).unwrap();
    symlink(elsewhere.path().join("ci"), root.join(".gitlab-ci.yml")).unwrap();
    assert_eq!(init(root, &[]).status.code(), Some(73));
    let output = init(root, &["--force"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(fs::symlink_metadata(root.join("branchline.yaml")).unwrap().is_file());
    assert_eq!(names(elsewhere.path()), Vec::<String>::new());
}

#[test]
fn a_dry_run_prints_both_files_and_writes_none() {
    let directory = repository();
    let output = init(directory.path(), &["--dry-run"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let (config, include) = text.split_once("---\n").unwrap();
    assert_eq!(yaml(config)["bucket"], "acme-artifacts");
    assert_eq!(yaml(include)["include"][0]["inputs"]["run"], "iris");
    assert_eq!(names(directory.path()), [".git", "data", "train.py"]);
}

#[test]
fn a_directory_of_a_repository_has_a_file_of_its_own_and_the_name_of_it() {
    let directory = repository();
    let below = directory.path().join("models/Iris_2");
    fs::create_dir_all(&below).unwrap();
    fs::write(below.join("train.sh"), "").unwrap();
    let output = init(&below, &["--run=iris-2"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let ci = yaml(&read(directory.path(), ".gitlab-ci.yml"));
    assert_eq!(ci["include"][0]["inputs"]["config"], "models/Iris_2/branchline.yaml");
    let output = branchline(
        directory.path(),
        &["publish", "--dry-run", "--config", "models/Iris_2/branchline.yaml"],
    );
    assert!(output.status.success(), "{}", stderr(&output));

    let odd = directory.path().join("my models");
    fs::create_dir(&odd).unwrap();
    refused(
        &odd,
        &[],
        &expect![[r#"
        64: error: the path "my models/branchline.yaml" does not fit into a CI job; use directories of letters, digits, . _ and -
    "#]],
    );
    let nowhere = tempfile::tempdir().unwrap();
    refused(
        nowhere.path(),
        &[],
        &expect![[r"
        66: error: this directory is in no git repository; go to one, or make one by git init
    "]],
    );
}

#[test]
fn the_component_has_every_input_that_is_written() {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../templates/train/template.yml");
    let template = fs::read_to_string(template).unwrap();
    let spec = yaml(template.split_once("\n---\n").unwrap().0);
    let known = spec["spec"]["inputs"].as_object().unwrap();

    let directory = repository();
    let below = directory.path().join("models/iris");
    fs::create_dir_all(&below).unwrap();
    let output = init(&below, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let ci = yaml(&read(directory.path(), ".gitlab-ci.yml"));
    let written = ci["include"][0]["inputs"].as_object().unwrap();
    for (name, value) in written {
        let input = known.get(name).unwrap_or_else(|| panic!("there is no input {name}"));
        let Some(rule) = input["regex"].as_str() else { continue };
        let value = value.as_str().unwrap();
        assert!(regex::Regex::new(rule).unwrap().is_match(value), "{name}: {value}");
    }
    for (name, input) in known {
        let wanted = input.get("default").is_none();
        assert!(!wanted || written.contains_key(name), "{name} is not written");
    }
}
