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
    files.check(
        "check --policy policy.yaml request.json --claims claims.json",
        &expect![[r"
        allowed
        rules: flowers
        policy: sha256:75dcf145e70ac80db14a07ce569f8e16342c63a5bd99222140cb83dbd09df63c
        exit 0
    "]],
    );
    files.check(
        "check --policy policy.yaml bare.json",
        &expect![[r"
        denied
          flowers: only ada trains flowers
        rules: flowers
        policy: sha256:75dcf145e70ac80db14a07ce569f8e16342c63a5bd99222140cb83dbd09df63c
        exit 77
    "]],
    );
    files.check(
        "check --policy policy.yaml large.json --claims claims.json",
        &expect![[r"
        needs approval: merge request approvals: 2, an operator
        rules: flowers, large
        policy: sha256:75dcf145e70ac80db14a07ce569f8e16342c63a5bd99222140cb83dbd09df63c
        exit 75
    "]],
    );
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
    files.check("check --policy wrong.yaml request.json", &expect![[r"
        error: wrong.yaml: the policy is wrong:
          rule a, match: there is no variable orign; there are origin, claims, merge_requests, artifacts, vertex, job, in `orign.ref == 'main'`
        exit 78
    "]]);
    files.check(
        "check --policy none.yaml request.json",
        &expect![[r"
        error: reading none.yaml: No such file or directory (os error 2)
        exit 66
    "]],
    );
    files.check("check --policy policy.yaml list.json", &expect![[r"
        error: list.json: the request is wrong: the message does not decode: invalid length 0, expected struct ArtifactReady with 9 elements at line 1 column 2
        exit 65
    "]]);
    files.check(
        "check --policy policy.yaml not.json",
        &expect![[r"
        error: not.json: expected a request as JSON: EOF while parsing an object at line 1 column 1
        exit 65
    "]],
    );
    files.check("check --policy policy.yaml typo.json", &expect![[r"
        error: typo.json: the training spec is wrong: training.custom_job.jobSpec.netwrk: no such field; did you mean network?
        exit 65
    "]]);
    files.check(
        "check --policy policy.yaml request.json --claims list.json",
        &expect![[r"
        error: list.json: expected an object of claims as JSON
        exit 65
    "]],
    );
}

#[test]
fn claims_that_no_token_has_in_that_form_are_refused() {
    let files = Files::new();
    let cases = [
        (
            json!({"runner_idd": "3"}),
            "there is no claim runner_idd; there are iss, sub, project_id",
        ),
        (json!({"aud": "branchline"}), "there is no claim aud;"),
        (json!({"ref_protected": true}), "the claim ref_protected is a text, such as"),
        (json!({"runner_id": 3}), "the claim runner_id is a text"),
        (json!({"groups_direct": "ml"}), "the claim groups_direct is a list of texts"),
        (json!({"\u{1b}[31m": "3"}), "there is no claim "),
    ];
    for (claims, expected) in cases {
        files.write("wrong.json", &claims.to_string());
        let told = files.run("check --policy policy.yaml request.json --claims wrong.json");
        assert!(told.contains(expected) && !told.contains('\u{1b}'), "{told}");
        assert!(told.ends_with("exit 65\n"), "{told}");
        let case =
            json!({"name": "a", "request": "request.json", "claims": claims, "expect": "denied"});
        files.write("wrong.yaml", &json!({"cases": [case]}).to_string());
        let told = files.run("test --policy policy.yaml wrong.yaml");
        assert!(told.contains(expected) && told.ends_with("exit 65\n"), "{told}");
    }
    let groups = json!({"user_login": "ada", "groups_direct": ["ml"], "runner_id": "3"});
    files.write("good.json", &groups.to_string());
    let told = files.run("check --policy policy.yaml request.json --claims good.json");
    assert!(told.starts_with("allowed\n"), "{told}");
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
    files.check(
        "test --policy policy.yaml good.yaml",
        &expect![[r"
        ok     ada trains: allowed
        ok     eve does not: denied
        ok     many machines: needs approval: merge request approvals: 2, an operator
        3 cases, 0 failed
        exit 0
    "]],
    );
    let bad = [
        case("ada is denied", json!("request.json"), "ada", "denied", &[]),
        case("eve for another reason", json!("bare.json"), "eve", "denied", &["accelerators"]),
    ];
    files.write("bad.yaml", &json!({"cases": bad}).to_string());
    files.check(
        "test --policy policy.yaml bad.yaml",
        &expect![[r#"
        FAILED ada is denied: allowed
               expected denied
        FAILED eve for another reason: denied
               no violation says "accelerators"
               flowers: only ada trains flowers
        2 cases, 2 failed
        exit 65
    "#]],
    );
    files.write("none.yaml", "cases: []");
    files.check(
        "test --policy policy.yaml none.yaml",
        &expect![[r"
        error: none.yaml: the cases are wrong: there are none
        exit 65
    "]],
    );
    files.write("typo.yaml", "cases: [{name: a, request: a, expects: denied}]");
    files.check("test --policy policy.yaml typo.yaml", &expect![[r"
        error: typo.yaml: the cases are wrong: unknown field `expects`, expected one of name, request, claims, merge_requests, expect, violations at line 1, column 31
        exit 65
    "]]);
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
