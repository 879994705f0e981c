//! What a role says when it cannot start: one sentence, and exit code 78.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

/// Starts a role with this configuration and tells exit code and stderr.
fn start(role: &str, config: &str) -> (Option<i32>, String) {
    let file = tempfile::NamedTempFile::new().expect("a file can be made");
    std::fs::write(&file, config).expect("it is ours");
    let output = Command::new(env!("CARGO_BIN_EXE_branchline"))
        .args([role, "--config"])
        .arg(file.path())
        .env_clear()
        .output()
        .expect("the executable starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text.replace(&file.path().display().to_string(), "FILE"))
}

#[test]
fn a_wrong_configuration_is_one_sentence_with_the_field() {
    let worker = include_str!("../../../examples/local/worker.yaml");
    let notifier = include_str!("../../../examples/local/notifier.yaml");
    let cases = [
        ("worker", worker.replace("regions:", "regoins:"), "FILE: regoins: unknown field"),
        (
            "worker",
            worker.replace("europe-west4", "nowhere"),
            "FILE: regions[0]: \"nowhere\" is not",
        ),
        ("worker", String::new(), "FILE: "),
        ("notifier", notifier.replace("gitlab:", "gitlap:"), "FILE: gitlap: unknown field"),
        (
            "notifier",
            notifier.to_owned(),
            "there is no token for GitLab: set BRANCHLINE_GITLAB_TOKEN",
        ),
    ];
    for (role, config, sentence) in cases {
        let (code, text) = start(role, &config);
        assert_eq!(code, Some(78), "{sentence}: {text}");
        assert!(text.starts_with(&format!("error: {sentence}")), "{sentence}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn a_worker_that_believes_nobody_or_has_no_policy_does_not_start() {
    let worker = include_str!("../../../examples/local/worker.yaml");
    let issuer = "    - issuer: http://127.0.0.1:8087\n";
    let policy = "examples/local/policy.yaml";
    let readable = worker.replace(policy, "../../examples/local/policy.yaml");
    let asking = tempfile::NamedTempFile::new().unwrap();
    let text = "rules: [{name: a, match: merge_requests.size() > 0}]";
    std::fs::write(asking.path(), text).unwrap();
    let cases = [
        (worker.replace(issuer, "").replace("issuers:", "issuers: []"), "identity has no issuers"),
        (worker.replace("issuer: http", "issuer: ftp"), "identity cannot be used: \"ftp"),
        (
            format!("{worker}\n").replace("issuers:", "audience: ''\n  issuers:"),
            "identity cannot be used: the audience",
        ),
        (
            worker.replace(policy, "/none.yaml"),
            "the policy /none.yaml cannot be read: No such file",
        ),
        (worker.replace(policy, "/dev/null"), "the policy /dev/null cannot be used: "),
        // Its rules want approvals that nobody could give.
        (
            worker.replace(policy, "../../examples/policy.yaml"),
            "a rule of the policy wants approvals of merge requests, and gitlab is not set",
        ),
        (
            worker.replace(policy, asking.path().to_str().unwrap()),
            "a rule of the policy names merge_requests, and gitlab is not set",
        ),
        (
            format!("{readable}\ngitlab: https://gitlab.example.com\n"),
            "gitlab is set, and there is no token for it",
        ),
        (
            format!("{readable}\noperators: {{members: [], audiences: ['']}}\n"),
            "operators cannot be used: the audience",
        ),
    ];
    for (config, sentence) in cases {
        let (code, text) = start("worker", &config);
        assert_eq!(code, Some(78), "{sentence}: {text}");
        assert!(text.starts_with(&format!("error: {sentence}")), "{sentence}: {text}");
        let minimal = text.contains("a minimal one is:\nrules:\n- name: ");
        assert_eq!(minimal, sentence.contains("No such file"), "{text}");
    }
}

const IMPERSONATED: &str = r#"{"type": "impersonated_service_account",
    "source_credentials": {"type": "service_account", "private_key": "-"}}"#;

#[test]
fn nobody_starts_with_the_key_of_a_service_account() {
    let key = tempfile::NamedTempFile::new().expect("a file can be made");
    std::fs::write(&key, r#"{"type": "service_account", "private_key": "-"}"#).expect("it is ours");
    let other = tempfile::NamedTempFile::new().expect("a file can be made");
    let home = tempfile::tempdir().expect("a directory can be made");
    let known = home.path().join(".config/gcloud");
    std::fs::create_dir_all(&known).expect("it is ours");
    std::fs::copy(key.path(), known.join("application_default_credentials.json")).expect("so too");
    let worker = include_str!("../../../examples/local/worker.yaml")
        .replace("examples/local/policy.yaml", "/none.yaml");
    let notifier = include_str!("../../../examples/local/notifier.yaml").to_owned();
    let named = ("GOOGLE_APPLICATION_CREDENTIALS", key.path());
    let run = |role: &str, config: &str, variable: (&str, &Path)| {
        let file = tempfile::NamedTempFile::new().expect("a file can be made");
        std::fs::write(&file, config).expect("it is ours");
        let output = Command::new(env!("CARGO_BIN_EXE_branchline"))
            .args([role, "--config"])
            .arg(file.path())
            .env_clear()
            .env(variable.0, variable.1)
            .output()
            .expect("the executable starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let keyless =
        |config: &str| config.replace("credentials: anonymous", "credentials: application_default");
    for (role, config) in [("worker", &worker), ("notifier", &notifier)] {
        for variable in [named, ("HOME", home.path())] {
            let (code, text) = run(role, &keyless(config), variable);
            assert_eq!(code, Some(78), "{role}: {text}");
            assert!(text.contains("is the key of a service account"), "{role}: {text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
        // As whom somebody else's key acts, it is a key.
        std::fs::write(&other, IMPERSONATED).expect("it is ours");
        let foreign = Path::new(OsStr::from_bytes(b"/run/key\xff.json"));
        for path in [other.path(), foreign] {
            let (code, text) =
                run(role, &keyless(config), ("GOOGLE_APPLICATION_CREDENTIALS", path));
            assert_eq!(code, Some(78), "{role}: {text}");
        }
        let allowed = keyless(config).replace("google:", "google:\n  allow_key_files: true");
        let (_, text) = run(role, &allowed, named);
        assert!(!text.contains("is the key of a service account"), "{role}: {text}");
    }
}

#[test]
fn a_configuration_that_is_not_there_is_said_once() {
    let output = Command::new(env!("CARGO_BIN_EXE_branchline"))
        .args(["worker", "--config", "/none.yaml"])
        .output()
        .expect("the executable starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(text.matches("No such file").count(), 1, "{text}");
}
