//! What a role says when it cannot start: one sentence for everything that is wrong, and exit code 78.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;

use expect_test::expect;

const WORKER: &str = include_str!("../../../examples/local/worker.yaml");
const NOTIFIER: &str = include_str!("../../../examples/local/notifier.yaml");

/// A configuration of the example's whose Google Cloud answers, and says no more than that.
fn answered(config: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has one").to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let asked = stream.read(&mut [0; 1_024]);
            let nothing =
                "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            asked.and_then(|_| stream.write_all(nothing.as_bytes())).ok();
        }
    });
    ["127.0.0.1:8085", "127.0.0.1:4443", "127.0.0.1:8086"]
        .iter()
        .fold(config.to_owned(), |config, it| config.replace(it, &address))
}

/// Starts a role with this configuration and tells exit code and stderr.
fn run(
    role: &str,
    config: &str,
    arguments: &[&str],
    environment: &[(&str, &Path)],
) -> (Option<i32>, String) {
    let file = tempfile::NamedTempFile::new().expect("a file can be made");
    let config =
        config.replace("127.0.0.1:8088", "127.0.0.1:0").replace("127.0.0.1:8089", "127.0.0.1:0");
    std::fs::write(&file, config).expect("it is ours");
    let output = Command::new(env!("CARGO_BIN_EXE_branchline"))
        .args([role, "--config"])
        .arg(file.path())
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("the executable starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text.replace(&file.path().display().to_string(), "FILE"))
}

/// The same with what it says as Cloud Logging reads it: every line is an error's.
fn start(role: &str, config: &str) -> (Option<i32>, Vec<String>) {
    let (code, text) = run(role, config, &[], &[]);
    (code, messages(&text))
}

fn messages(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).expect(line);
        assert_eq!(entry["severity"], "ERROR", "{line}");
        entry["message"].as_str().expect("a text").to_owned()
    });
    lines.collect()
}

#[test]
fn a_wrong_configuration_is_one_sentence_with_the_field() {
    let cases = [
        ("worker", WORKER.replace("regions:", "regoins:"), "FILE: regoins: unknown field"),
        (
            "worker",
            WORKER.replace("europe-west4", "nowhere"),
            "FILE: regions[0]: \"nowhere\" is not",
        ),
        ("notifier", NOTIFIER.replace("gitlab:", "gitlap:"), "FILE: gitlap: unknown field"),
    ];
    for (role, config, sentence) in cases {
        // The policy lies elsewhere, and the notifier has no token: that is told too.
        let (code, said) = start(role, &answered(&config));
        assert_eq!(code, Some(78), "{sentence}: {said:?}");
        assert!(said[0].starts_with(sentence), "{sentence}: {said:?}");
    }
    let (code, said) = start("notifier", &answered(NOTIFIER));
    assert_eq!(code, Some(78), "{said:?}");
    let [no_token] = &said[..] else { panic!("{said:?}") };
    assert!(no_token.starts_with("there is no token for GitLab: set BRANCHLINE_GITLAB_TOKEN"));
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let worker = WORKER.replace("ledger_bucket:", "ledger_buckets:").replace("5s", "[5s]");
    let worker = format!("{worker}\ncreates_per_minute: 0\nwait_max: 3 days\n");
    let (code, text) = run("worker", &answered(&worker), &["--log", "branchline=loud"], &[]);
    assert_eq!(code, Some(78), "{text}");
    expect![[r#"
        reading the log filter "branchline=loud": error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5
        FILE: ledger_buckets: unknown field `ledger_buckets`, expected one of `subscription`, `dead_letter_topic`, `dead_letter_subscription`, `dead_letter_bucket`, `artifact_topic`, `run_event_topic`, `ledger_bucket`, `queue_bucket`, `request_bucket`, `output_bucket`, `identity`, `policy`, `gitlab`, `operators`, `regions`, `installation`, `verify_sha256`, `staging`, `consume`, `lease`, `tick`, `create_max`, `settle`, `creates_per_minute`, `active_runs_per_project_max`, `wait_max`, `listen`, `google` at line 8
        FILE: settle: invalid type: sequence, expected a time with its unit, such as 500ms, 15s or 72h at line 17
        FILE: creates_per_minute: invalid value: integer `0`, expected a nonzero u32 at line 25
        FILE: wait_max: "3 days" is not a time between 1ms and a year, such as 500ms, 15s or 72h at line 26
        FILE: missing field `ledger_bucket`
        the policy examples/local/policy.yaml cannot be read: No such file or directory (os error 2); a minimal one is:
        rules:
        - name: main-branches
          match: origin.namespace == "my-group" && origin.ref_protected == true
          validations:
          - expression: vertex.project == "my-project"
            message: jobs run in my-project"#]].assert_eq(&messages(&text).join("\n"));

    // The same to people.
    let (code, text) = run("worker", "regoins: []", &["--log-format", "human"], &[]);
    assert_eq!(code, Some(78), "{text}");
    assert!(text.starts_with("error: FILE: regoins: unknown field"), "{text}");
    assert!(text.contains("\nerror: FILE: missing field `regions`\n"), "{text}");
}

#[test]
fn an_endpoint_that_does_not_answer_is_told_once_with_its_address() {
    // Ports that the system gives to nobody by itself.
    let (pubsub, vertex) = ("127.0.0.1:1", "127.0.0.1:2");
    let worker = WORKER
        .replace("examples/local/policy.yaml", "../../examples/local/policy.yaml")
        .replace("127.0.0.1:8085", pubsub)
        .replace("127.0.0.1:8086", vertex)
        .replace("regions: [europe-west4]", "regions: [europe-west4, us-central1]");
    let (code, said) = start("worker", &answered(&worker));
    assert_eq!(code, Some(78), "{said:?}");
    let mut expected = [
        format!("Pub/Sub does not answer at http://{pubsub}: no answer: "),
        format!("Vertex AI does not answer at http://{vertex}: no answer: "),
    ];
    expected.sort_by_key(|it| it.split_once("http").map(|(_, url)| url.to_owned()));
    assert_eq!(said.len(), 2, "{said:?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.starts_with(&expected), "{said}");
        assert!(said.contains("refused"), "{said}");
    }
}

#[test]
fn a_worker_that_believes_nobody_or_has_no_policy_does_not_start() {
    let issuer = "    - issuer: http://127.0.0.1:8087\n";
    let policy = "../../examples/local/policy.yaml";
    let worker = answered(&WORKER.replace("examples/local/policy.yaml", policy));
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
            format!("{worker}\ngitlab: https://gitlab.example.com\n"),
            "gitlab is set, and there is no token for it",
        ),
        (
            format!("{worker}\noperators: {{members: {{}}, audiences: ['']}}\n"),
            "operators cannot be used: the audience",
        ),
        (format!("{worker}\ntick: 6s\n"), "a lease of 15s is too short for rounds every 6s"),
    ];
    for (config, sentence) in cases {
        let (code, said) = start("worker", &config);
        assert_eq!(code, Some(78), "{sentence}: {said:?}");
        assert!(said[0].starts_with(sentence), "{sentence}: {said:?}");
        let minimal = said[0].contains("a minimal one is:\nrules:\n- name: ");
        assert_eq!(minimal, sentence.contains("No such file"), "{said:?}");
    }
    // What follows from a key that is wrong itself is not told.
    let (_, said) = start("worker", &format!("{worker}\ntick: 6s\nleese: 18s\n"));
    let [unknown] = &said[..] else { panic!("{said:?}") };
    assert!(unknown.starts_with("FILE: leese: unknown field"), "{unknown}");
}

#[test]
fn a_file_without_a_token_is_named() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    for (file, sentence) in [
        (Path::new("/none"), "reading GitLab's token from /none: No such file"),
        (empty.path(), "there is no token for GitLab in "),
    ] {
        let variable = ("BRANCHLINE_GITLAB_TOKEN_FILE", file);
        let (code, text) = run("notifier", &answered(NOTIFIER), &[], &[variable]);
        let said = messages(&text);
        assert_eq!((code, said.len()), (Some(78), 1), "{text}");
        assert!(said[0].starts_with(sentence), "{text}");
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
    let policy = "../../examples/local/policy.yaml";
    let worker = answered(&WORKER.replace("examples/local/policy.yaml", policy));
    let notifier = answered(NOTIFIER);
    let named = ("GOOGLE_APPLICATION_CREDENTIALS", key.path());
    let is_refused = |role: &str, config: &str, variable: (&str, &Path)| {
        let (code, text) = run(role, config, &[], &[variable]);
        let of_key =
            messages(&text).into_iter().filter(|it| it.contains("is the key of a service account"));
        (code, of_key.count())
    };
    let keyless =
        |config: &str| config.replace("credentials: anonymous", "credentials: application_default");
    for (role, config) in [("worker", &worker), ("notifier", &notifier)] {
        for variable in [named, ("HOME", home.path())] {
            assert_eq!(is_refused(role, &keyless(config), variable), (Some(78), 1), "{role}");
        }
        // As whom somebody else's key acts, it is a key.
        std::fs::write(&other, IMPERSONATED).expect("it is ours");
        let variable = ("GOOGLE_APPLICATION_CREDENTIALS", other.path());
        assert_eq!(is_refused(role, &keyless(config), variable), (Some(78), 1), "{role}");
        let foreign = Path::new(OsStr::from_bytes(b"/run/key\xff.json"));
        let variable = ("GOOGLE_APPLICATION_CREDENTIALS", foreign);
        let (code, text) = run(role, &keyless(config), &[], &[variable]);
        assert_eq!(
            (code, text.matches("a path that is no UTF-8").count()),
            (Some(78), 1),
            "{text}"
        );
        let allowed = keyless(config).replace("google:", "google:\n  allow_key_files: true");
        assert_eq!(is_refused(role, &allowed, named), (Some(78), 0), "{role}");
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
