//! What `branchline policy` says, and with which code it ends.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::process::Command;

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The golden request, which is for the project vision/flowers.
fn request() -> Value {
    let golden = include_str!("../../contract/golden/branchline.artifact.ready.v1.json");
    serde_json::from_str(golden).unwrap()
}

const POLICY: &str = r#"
rules:
- name: flowers
  match: origin.project_path.startsWith("vision/")
  validations:
  - expression: origin.user_login == "ada"
    message: only ada trains flowers
  - expression: job.accelerators.all(it, it.count <= 8)
    message: at most 8 accelerators a machine
- name: large
  match: job.replicas > 4
  approval: {merge_request: 2, operators: true}
"#;

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let claims = json!({"user_login": "ada"});
        let mut large = request()["data"].clone();
        let pools = &mut large["training"]["custom_job"]["jobSpec"]["workerPoolSpecs"];
        pools[0]["replicaCount"] = json!(5);
        files.write("policy.yaml", POLICY);
        files.write("request.json", &request().to_string());
        files.write("bare.json", &request()["data"].to_string());
        files.write("large.json", &large.to_string());
        files.write("claims.json", &claims.to_string());
        files
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    /// What it prints, and its exit code.
    fn run(&self, arguments: &str) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_branchline"))
            .arg("policy")
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .env_clear()
            .output()
            .unwrap();
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
        format!("{stdout}{stderr}exit {}\n", output.status.code().unwrap())
    }

    fn check(&self, arguments: &str, expected: &Expect) {
        expected.assert_eq(&self.run(arguments));
    }
}

#[test]
fn a_request_is_allowed_denied_or_waits_for_approval() {
    let files = Files::new();
    files.check("check --policy policy.yaml request.json --claims claims.json", &expect![[""]]);
    files.check("check --policy policy.yaml bare.json", &expect![[""]]);
    files.check("check --policy policy.yaml large.json --claims claims.json", &expect![[""]]);
}

#[test]
fn what_cannot_be_read_is_told_with_its_own_exit_code() {
    let files = Files::new();
    files.write("wrong.yaml", "rules: [{name: a, match: orign.ref == 'main'}]");
    files.write("list.json", "[]");
    files.write("not.json", "{");
    let mut typo = request();
    typo["data"]["training"]["custom_job"]["jobSpec"]["netwrk"] = json!("x");
    files.write("typo.json", &typo.to_string());
    files.check("check --policy wrong.yaml request.json", &expect![[""]]);
    files.check("check --policy none.yaml request.json", &expect![[""]]);
    files.check("check --policy policy.yaml list.json", &expect![[""]]);
    files.check("check --policy policy.yaml not.json", &expect![[""]]);
    files.check("check --policy policy.yaml typo.json", &expect![[""]]);
    files.check("check --policy policy.yaml request.json --claims list.json", &expect![[""]]);
}

#[test]
fn a_table_of_cases_is_compared_and_one_that_differs_fails() {
    let files = Files::new();
    let inline = request()["data"].clone();
    let case = |name: &str, request: Value, login: &str, expect: &str, violations: &[&str]| {
        json!({"name": name, "request": request, "claims": {"user_login": login},
            "expect": expect, "violations": violations})
    };
    let good = [
        case("ada trains", json!("request.json"), "ada", "allowed", &[]),
        case("eve does not", inline, "eve", "denied", &["only ada", "flowers: "]),
        case("many machines", json!("large.json"), "ada", "needs-approval", &[]),
    ];
    files.write("good.yaml", &json!({"cases": good}).to_string());
    files.check("test --policy policy.yaml good.yaml", &expect![[""]]);
    let bad = [
        case("ada is denied", json!("request.json"), "ada", "denied", &[]),
        case("eve for another reason", json!("bare.json"), "eve", "denied", &["accelerators"]),
    ];
    files.write("bad.yaml", &json!({"cases": bad}).to_string());
    files.check("test --policy policy.yaml bad.yaml", &expect![[""]]);
    files.write("none.yaml", "cases: []");
    files.check("test --policy policy.yaml none.yaml", &expect![[""]]);
    files.write("typo.yaml", "cases: [{name: a, request: a, expects: denied}]");
    files.check("test --policy policy.yaml typo.yaml", &expect![[""]]);
}

#[test]
fn the_minimal_policy_of_the_help_text_is_one() {
    let files = Files::new();
    let help = files.run("--help");
    let (_, from) = help.split_once("A minimal policy:\n").unwrap();
    let (policy, _) = from.split_once("\n\n").unwrap();
    files.write("minimal.yaml", policy);
    let shown = files.run("check --policy minimal.yaml request.json");
    assert!(shown.starts_with("denied\n  no rule of the policy matches"), "{shown}");
}

#[test]
fn the_example_policy_decides() {
    let files = Files::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/policy.yaml");
    files.write("example.yaml", &fs::read_to_string(example).unwrap());
    let shown = files.run("check --policy example.yaml request.json");
    assert!(shown.starts_with("denied\n  everyone: jobs run in demo-project"), "{shown}");
}
