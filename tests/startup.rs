//! What keeps a role from starting is told at once, with IAM enforced, by real processes; and where
//! nothing is wrong it starts.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::path::Path;
use std::time::{Duration, Instant};

use branchline_local::gitlab::AccessLevel;
use branchline_local::iam::Resource;
use branchline_local::installation::{
    self, DEAD_LETTERS, LEDGER, OUTPUT, PROJECT, QUEUE, REQUESTS, STAGING,
};
use branchline_local::stack::{Options, Stack};
use branchline_tests::processes::{Role, executable, free_ports};
use branchline_tests::roles::{account, endpoints, google, grant};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

/// A role that does not start has ended by then.
const ENDS_WITHIN: Duration = Duration::from_secs(8);

/// An installation in which every account has its roles, and no others.
struct Site {
    stack: Stack,
    directory: TempDir,
    worker: Value,
    notifier: Value,
}

impl Site {
    async fn open() -> Self {
        Self::open_faulty(json!([])).await
    }

    async fn open_faulty(rules: Value) -> Self {
        let faults = serde_json::from_value(json!({ "rules": rules })).unwrap();
        let options = Options { enforce_iam: true, faults, ..Options::default() };
        let stack = Stack::start(options).await.unwrap();
        installation::create(&stack, PROJECT).unwrap();
        grant(&stack);
        let directory = tempfile::tempdir().unwrap();
        let policy = directory.path().join("policy.yaml");
        std::fs::write(&policy, branchline_worker::MINIMAL_POLICY).unwrap();
        let gitlab = format!("http://{}", stack.endpoints().gitlab);
        let worker = installation::worker(json!({
            "policy": policy,
            "staging": {"bucket": STAGING},
            "identity": {"issuers": [{"issuer": gitlab}]},
            "google": endpoints(&google(&stack, "worker", true).await),
            "listen": "127.0.0.1:0",
        }));
        let notifier = installation::notifier(json!({
            "gitlab": gitlab,
            "merge_requests": {"queue_bucket": QUEUE, "request_bucket": REQUESTS},
            "google": endpoints(&google(&stack, "notifier", true).await),
            "listen": "127.0.0.1:0",
        }));
        Self { stack, directory, worker, notifier }
    }

    /// Takes a role on a bucket from an account.
    fn takes(&self, id: &str, bucket: &str, role: &str) {
        let member = format!("serviceAccount:{}", account(id));
        self.stack.iam.unbind(&Resource::bucket(bucket), role, &member);
    }

    /// Starts a role that ends soon, and tells its exit code and what its log says.
    async fn refused(&self, role: &str, config: &Value) -> (i32, Vec<String>) {
        self.refused_with(&self.stack.gitlab.token(), role, config).await
    }

    async fn refused_with(&self, token: &str, role: &str, config: &Value) -> (i32, Vec<String>) {
        let file = self.write(role, config);
        let started = Instant::now();
        let ended = Command::new(executable())
            .args([role, "--config", file.to_str().unwrap()])
            .env_clear()
            .env("BRANCHLINE_GITLAB_TOKEN", token)
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(ENDS_WITHIN, ended).await;
        let output = output.unwrap_or_else(|_| panic!("it runs")).unwrap();
        println!("{role} ended after {:?}", started.elapsed());
        let said = String::from_utf8(output.stderr).unwrap();
        let lines = said.lines().map(|line| {
            let entry: Value = serde_json::from_str(line).unwrap();
            assert_eq!(entry["severity"], "ERROR", "{line}");
            entry["message"].as_str().unwrap().replace(file.to_str().unwrap(), "FILE")
        });
        (output.status.code().unwrap(), lines.collect())
    }

    /// Starts a role that goes on, and ends it.
    async fn starts(&self, name: &str, config: &Value) {
        let [port] = free_ports();
        let mut config = config.clone();
        config["listen"] = json!(format!("127.0.0.1:{port}"));
        let file = self.write(name, &config);
        let token = ("BRANCHLINE_GITLAB_TOKEN".to_owned(), self.stack.gitlab.token());
        let arguments = [name, "--config", file.to_str().unwrap()];
        let started = Instant::now();
        let log = self.directory.path().join("log");
        let mut role = Role::start(name, &arguments, &[token], &log).unwrap();
        role.listens(port).await.unwrap();
        println!("{name} listened after {:?}", started.elapsed());
        role.terminate().unwrap();
        role.ends(Duration::from_secs(10)).await.unwrap();
    }

    fn write(&self, role: &str, config: &Value) -> std::path::PathBuf {
        let path = self.directory.path().join(format!("{role}.yaml"));
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }
}

/// A port that the system gives to nobody by itself.
const CLOSED: &str = "http://127.0.0.1:1";

/// Each begins with what is expected of it, and there are no others.
#[track_caller]
fn all(said: &[String], expected: &[String]) {
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.starts_with(expected), "{said}\nwants {expected}");
    }
}

fn lacks(id: &str, permission: &str, bucket: &str, role: &str) -> String {
    let who = account(id);
    format!("serviceAccount:{who} lacks {permission} on bucket {bucket}: it needs {role} there")
}

#[tokio::test(flavor = "multi_thread")]
async fn with_every_grant_a_role_starts() {
    let site = Site::open().await;
    site.starts("worker", &site.worker).await;
    site.starts("notifier", &site.notifier).await;
    site.stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_permission_that_is_missing_is_told_with_the_role_that_helps() {
    let site = Site::open().await;
    let (viewer, creator) = ("roles/storage.objectViewer", "roles/storage.objectCreator");
    site.takes("worker", OUTPUT, viewer);
    site.takes("worker", STAGING, creator);
    let (code, said) = site.refused("worker", &site.worker).await;
    let expected = [
        lacks("worker", "storage.objects.get", OUTPUT, viewer),
        lacks("worker", "storage.objects.create", STAGING, creator),
    ];
    all(&said, &expected);
    assert_eq!(code, 77);

    site.takes("notifier", LEDGER, viewer);
    site.takes("notifier", REQUESTS, creator);
    let (code, said) = site.refused("notifier", &site.notifier).await;
    let expected = [
        lacks("notifier", "storage.objects.get", LEDGER, viewer),
        lacks("notifier", "storage.objects.create", REQUESTS, creator),
    ];
    all(&said, &expected);
    assert_eq!(code, 77);
    site.stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_of_every_kind_are_told_at_once() {
    let site = Site::open().await;
    site.takes("worker", DEAD_LETTERS, "roles/storage.objectViewer");
    let vertex = CLOSED;
    let mut config = site.worker.clone();
    config["google"]["vertex_endpoint"] = json!(vertex);
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    config["listen"] = json!(taken.to_string());
    config["regoins"] = json!(["us-central1"]);
    config["lease"] = json!(60);
    config["run_event_topic"] = json!(["t"]);
    config.as_object_mut().unwrap().shift_remove("output_bucket");
    config["queue_bucket"] = json!("nowhere");
    config["policy"] = json!(Path::new("/dev/null"));
    let (code, said) = site.refused("worker", &config).await;
    all(
        &said,
        &[
            "FILE: run_event_topic: invalid type: sequence, expected a string at line 1".to_owned(),
            "FILE: regoins: unknown field `regoins`, expected one of ".to_owned(),
            "FILE: lease: invalid type: integer `60`, expected a ".to_owned(),
            "FILE: missing field `output_bucket`".to_owned(),
            format!("listen: {taken} cannot be listened on: Address already in use"),
            "the policy /dev/null cannot be used: ".to_owned(),
            format!("Vertex AI does not answer at {vertex}: no answer: "),
            "bucket nowhere does not exist: ".to_owned(),
            lacks("worker", "storage.objects.get", DEAD_LETTERS, "roles/storage.objectViewer"),
        ],
    );
    assert_eq!(code, 78);
    site.stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notifier_tells_what_gitlab_says_of_its_token_or_that_it_says_nothing() {
    let site = Site::open().await;
    let mut config = site.notifier.clone();
    let silent = CLOSED;
    config["gitlab"] = json!(silent);
    let (code, said) = site.refused("notifier", &config).await;
    all(&said, &[format!("{} does not answer: ", silent.trim_start_matches("http://"))]);
    assert_eq!(code, 78);

    let weak = site.stack.gitlab.create_token("weak", AccessLevel::Developer, &["read_api"]);
    let (code, said) = site.refused_with(&weak.unwrap(), "notifier", &site.notifier).await;
    let host = site.stack.endpoints().gitlab;
    all(&said, &[format!("the token for {host} has the scope read_api, and not api: ")]);
    assert_eq!(code, 77);
    site.stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_waited_out_and_what_google_does_not_tell_keeps_nobody_from_starting() {
    let answer = |status: u16| json!({"answer": {"status": status}});
    let rules = json!([
        {"service": "vertex", "method": "GET", "fault": "reset", "times": 2},
        {"service": "storage", "path": "testPermissions", "fault": answer(503)},
        {"service": "pubsub", "path": "testIamPermissions", "fault": answer(403)},
    ]);
    let site = Site::open_faulty(rules).await;
    site.starts("worker", &site.worker).await;
    let hits = site.stack.dice.hits();
    assert!(hits.iter().all(|it| *it > 0), "{hits:?}");
    site.stack.shutdown().await;
}
