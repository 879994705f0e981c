//! What the scripts do with their variables, run by `sh` with a stand-in for branchline.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::template::Template;

/// Keeps its arguments, and the files that hold its credentials, before the script removes them.
const STAND_IN: &str = r#"#!/bin/sh
printf '%s\n' "$@" >"$SEEN/arguments"
cp "$GOOGLE_APPLICATION_CREDENTIALS" "$SEEN/credentials"
cp "${GOOGLE_APPLICATION_CREDENTIALS%/*}/token" "$SEEN/token"
ls -ld "${GOOGLE_APPLICATION_CREDENTIALS%/*}" >"$SEEN/directory"
exit "$CODE"
"#;
const PROVIDER: &str = "projects/1/locations/global/workloadIdentityPools/gitlab/providers/gitlab";
const ACCOUNT: &str = "branchline-ci@acme.iam.gserviceaccount.com";

/// A job that has run.
struct Job {
    directory: TempDir,
    output: Output,
}

impl Job {
    /// Runs a component's script as a runner does, in one shell that stops at the first failure.
    fn run(name: &'static str, code: u8, variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["bin", "checkout", "seen", "tmp"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        // What a parameter would become if the shell looked for files.
        std::fs::write(directory.path().join("checkout/d=1"), "").unwrap();
        let stand_in = directory.path().join("bin/branchline");
        std::fs::write(&stand_in, STAND_IN).unwrap();
        std::fs::set_permissions(&stand_in, PermissionsExt::from_mode(0o755)).unwrap();
        let path = std::env::var("PATH").unwrap();
        let output = Command::new("sh")
            .args(["-e", "-c", &Template::read(name).script().join("\n")])
            .current_dir(directory.path().join("checkout"))
            .env_clear()
            .env("PATH", format!("{}:{path}", directory.path().join("bin").display()))
            .env("TMPDIR", directory.path().join("tmp"))
            .env("SEEN", directory.path().join("seen"))
            .env("CODE", code.to_string())
            .env("GOOGLE_ID_TOKEN", "header.claims.signature")
            .env("COMPONENT_PROVIDER", PROVIDER)
            .env("COMPONENT_SERVICE_ACCOUNT", ACCOUNT)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        Self { directory, output }
    }

    fn seen(&self, name: &str) -> String {
        let path = self.directory.path().join("seen").join(name);
        std::fs::read_to_string(path).unwrap_or_else(|it| panic!("{it}: {:?}", self.output))
    }

    fn arguments(&self) -> Vec<String> {
        self.seen("arguments").lines().map(str::to_owned).collect()
    }

    /// What lies in a directory of the job's.
    fn lies_in(&self, name: &str) -> usize {
        std::fs::read_dir(self.directory.path().join(name)).unwrap().count()
    }
}

/// The variables of `train` as its defaults make them.
const DEFAULTS: [(&str, &str); 5] = [
    ("COMPONENT_RUN", ""),
    ("COMPONENT_CONFIG", "branchline.yaml"),
    ("COMPONENT_SET", ""),
    ("COMPONENT_WAIT", "wait=true"),
    ("COMPONENT_TIMEOUT", "2h"),
];

/// Those of `fetch`, after a job that asked for a run.
const FETCH: [(&str, &str); 4] = [
    ("CI_PROJECT_ID", "7"),
    ("BRANCHLINE_RUN_ID", "iris-1"),
    ("COMPONENT_LEDGER", "acme-ledger"),
    ("COMPONENT_OUTPUT", "model"),
];

fn train(changes: &[(&'static str, &'static str)]) -> Job {
    Job::run("train", 0, &[&DEFAULTS, changes].concat())
}

#[test]
fn the_only_run_is_asked_for_and_followed_by_default() {
    let arguments = train(&[]).arguments();
    let expected = "publish --config branchline.yaml --dotenv branchline.env --wait --timeout 2h";
    assert_eq!(arguments.join(" "), expected);
}

#[test]
fn a_job_that_does_not_wait_has_no_timeout() {
    let arguments =
        train(&[("COMPONENT_WAIT", "wait=false"), ("COMPONENT_RUN", "iris")]).arguments();
    assert_eq!(
        arguments.join(" "),
        "publish --config branchline.yaml --dotenv branchline.env iris"
    );
}

#[test]
fn parameters_arrive_as_they_are_written_and_the_shell_evaluates_none() {
    let set = "a=$(touch pwned)\nb=two words; touch pwned\nc=`touch pwned`\nd=*\ne=\"'\\\n";
    let job = train(&[("COMPONENT_SET", set), ("COMPONENT_WAIT", "wait=false")]);
    let arguments = job.arguments();
    let expected = set.lines().flat_map(|it| ["--set", it]);
    assert_eq!(arguments[5..], expected.collect::<Vec<_>>());
    assert_eq!(job.lies_in("checkout"), 1);
}

/// Most of this never gets past the inputs' expressions.
#[test]
fn no_variable_is_ever_a_command() {
    // It begins and ends as what the script lets through.
    let nasty = "projects/x\"; touch pwned; $(touch pwned) `touch pwned` '\\\" a@b";
    let names = DEFAULTS.map(|(name, _)| name);
    let more = ["COMPONENT_PROVIDER", "COMPONENT_SERVICE_ACCOUNT", "GOOGLE_ID_TOKEN"];
    for name in names.into_iter().chain(more) {
        arrives(&train(&[(name, nasty)]), name, nasty);
    }
    for (name, _) in FETCH {
        arrives(&Job::run("fetch", 0, &[&FETCH[..], &[(name, nasty)]].concat()), name, nasty);
    }
}

/// The value is one argument, or part of a file, as it was given.
fn arrives(job: &Job, name: &str, value: &str) {
    assert!(job.output.status.success(), "{name}: {:?}", job.output);
    assert_eq!(job.lies_in("checkout"), 1, "{name}");
    let files = job.seen("credentials") + &job.seen("token");
    let whole = job.arguments().iter().any(|it| it == value) || files.contains(value);
    // That one is only compared.
    assert!(whole || name == "COMPONENT_WAIT", "{name}: {:?}, {files}", job.arguments());
}

#[test]
fn the_token_becomes_the_service_account_and_nothing_of_it_is_left() {
    for (job, code) in [
        (Job::run("train", 0, &DEFAULTS), 0),
        (Job::run("train", 13, &DEFAULTS), 13),
        (Job::run("fetch", 0, &FETCH), 0),
        (Job::run("fetch", 66, &FETCH), 66),
    ] {
        assert_eq!(job.output.status.code(), Some(code), "{:?}", job.output);
        // Google's client for Rust takes the file as it is, with its last newline.
        assert_eq!(job.seen("token"), "header.claims.signature");
        assert!(job.seen("directory").starts_with("drwx------ "), "{}", job.seen("directory"));
        let mut credentials: Value = serde_json::from_str(&job.seen("credentials")).unwrap();
        let file = credentials["credential_source"]["file"].take();
        assert!(Path::new(file.as_str().unwrap()).ends_with("token"), "{file}");
        assert_eq!(credentials, credentials_of_gcloud());
        assert_eq!(job.lies_in("tmp"), 0, "the token is still there");
        let said = [job.output.stdout, job.output.stderr].concat();
        assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
    }
}

/// As `gcloud iam workload-identity-pools create-cred-config --service-account=…
/// --credential-source-file=…` writes it, but for the universe, which is Google's own without a word.
fn credentials_of_gcloud() -> Value {
    json!({
        "type": "external_account",
        "audience": format!("//iam.googleapis.com/{PROVIDER}"),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "service_account_impersonation_url": format!(
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
        ),
        "credential_source": {"file": null},
    })
}

#[test]
fn a_job_that_is_nobody_at_google_says_so_before_it_writes_anything() {
    for name in ["COMPONENT_PROVIDER", "COMPONENT_SERVICE_ACCOUNT"] {
        for value in ["", "$BRANCHLINE_PROVIDER"] {
            let job = train(&[(name, value)]);
            assert_eq!(job.output.status.code(), Some(78), "{:?}", job.output);
            let said = String::from_utf8_lossy(&job.output.stderr);
            assert_eq!(said, "error: neither inputs nor variables say who this job is at Google\n");
            assert_eq!(job.lies_in("tmp") + job.lies_in("seen"), 0);
        }
    }
}

#[test]
fn the_model_of_the_run_that_was_asked_for_is_fetched() {
    let arguments = Job::run("fetch", 0, &FETCH).arguments();
    let expected = "fetch iris-1 --project 7 --ledger-bucket acme-ledger --output model";
    assert_eq!(arguments.join(" "), expected);
}

#[test]
fn a_job_that_knows_no_run_says_so() {
    let job = Job::run("fetch", 0, &[&FETCH[..1], &FETCH[2..]].concat());
    assert!(!job.output.status.success());
    let said = String::from_utf8_lossy(&job.output.stderr);
    assert!(said.contains("no job that this one needs has asked for a run"), "{said}");
    assert_eq!(job.lies_in("tmp"), 0);
}
