//! `runs cancel`, `pause` and `resume` against Cloud Storage on loopback; the
//! test answers in the leader's place.
#![cfg(feature = "local")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use branchline_contract::Request;
use branchline_gcp::{Config, Credentials};
use branchline_ledger::{Answer, Asked, Requests, Verdict};
use branchline_local::storage::Storage;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::process::Command;

const RUN: &str = "iris-0123456789abcdef0123";

struct Cloud {
    storage: Storage,
    endpoint: String,
    requests: Requests,
}

impl Cloud {
    async fn start() -> Self {
        let storage = Storage::open(None).unwrap();
        for bucket in ["demo-requests", "demo-ledger"] {
            storage.create_bucket(bucket).unwrap();
        }
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let router = storage.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let google = Config {
            credentials: Credentials::Anonymous,
            storage_endpoint: Some(endpoint.clone()),
            ..Config::default()
        };
        let door = Arc::new(branchline_gcp::storage::Storage::connect(&google).await.unwrap());
        let requests = Requests::new(door, "demo-requests".to_owned(), "demo-ledger".to_owned());
        Self { storage, endpoint, requests }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_branchline"));
        command
            .args(arguments)
            .env_clear()
            .env("USER", "anna")
            .env("BRANCHLINE_CREDENTIALS", "anonymous")
            .env("BRANCHLINE_STORAGE_ENDPOINT", &self.endpoint)
            .env("BRANCHLINE_REQUEST_BUCKET", "demo-requests")
            .env("BRANCHLINE_LEDGER_BUCKET", "demo-ledger");
        command.output().await.unwrap()
    }

    /// The next request, once it is there.
    async fn asked(&self) -> (Asked, Request) {
        loop {
            if let Some(asked) = self.requests.list().await.unwrap().pop() {
                let bytes = self.requests.read(&asked).await.unwrap().unwrap();
                return (asked, Request::decode(&bytes).unwrap());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs a command and answers what it asks for.
    async fn answered(
        &self,
        arguments: &[&str],
        verdict: Verdict,
        message: &str,
    ) -> (Value, Output) {
        let lead = async {
            let (asked, request) = self.asked().await;
            let shown = serde_json::to_value(&request).unwrap();
            let (time, message) = (Timestamp::UNIX_EPOCH, message.to_owned());
            let counts = std::collections::BTreeMap::new();
            let answer = Answer { request: Some(request), verdict, message, counts, time };
            self.requests.answer(asked.name.as_ref().unwrap(), &answer).await.unwrap();
            self.requests.remove(&asked).await.unwrap();
            shown
        };
        tokio::join!(lead, self.run(arguments))
    }
}

fn told(output: &Output) -> (Option<i32>, &str, &str) {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_and_what_became_of_it_is_told() {
    let cloud = Cloud::start().await;
    let europe = "demo-project/europe-west4";
    let domain = json!({"project": "demo-project", "region": "europe-west4"});
    let cases = [
        (
            vec!["runs", "cancel", RUN, "--reason", "wrong data", "--yes"],
            json!({"kind": "cancel", "run": RUN, "reason": "wrong data"}),
        ),
        (
            vec!["runs", "cancel", RUN, "--attempt", "2", "--reason", "no", "--yes"],
            json!({"kind": "cancel", "run": RUN, "attempt": 2, "reason": "no"}),
        ),
        (
            vec!["pause", europe, "--reason", "cost", "--actor", "Änne", "--yes"],
            json!({"kind": "pause", "reason": "cost", "actor": "Änne"}),
        ),
        (vec!["resume", europe], json!({"kind": "resume", "reason": "resumed"})),
    ];
    for (arguments, mut expected) in cases {
        // What the leader says must not write to the terminal as it likes.
        let said = cloud.answered(&arguments, Verdict::Done, "done\u{1b}[2J").await;
        let (mut request, output) = said;
        let id = request.as_object_mut().unwrap().remove("id").unwrap();
        assert_eq!(id.as_str().unwrap().len(), 32);
        let fields = expected.as_object_mut().unwrap();
        fields.entry("actor").or_insert(json!("anna"));
        if fields["kind"] != "cancel" {
            fields.extend(domain.as_object().unwrap().clone());
        }
        assert_eq!(request, expected);
        assert_eq!(told(&output), (Some(0), "done [2J\n", ""), "{arguments:?}");
    }
    let arguments = ["runs", "cancel", RUN, "--yes", "--reason", "late"];
    let (_, output) = cloud.answered(&arguments, Verdict::Refused, "it has ended").await;
    assert_eq!(told(&output), (Some(69), "", "error: it has ended\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_longer_than_asked_and_the_request_stands() {
    let cloud = Cloud::start().await;
    let pause = ["pause", "demo-project/europe-west4", "--reason", "cost", "--yes"];
    let output = cloud.run(&[&pause[..], &["--timeout", "1ms"]].concat()).await;
    let (code, _, stderr) = told(&output);
    assert_eq!(code, Some(14), "{stderr}");
    assert!(stderr.contains("the request stands"), "{stderr}");
    let output = cloud.run(&[&pause[..], &["--no-wait"]].concat()).await;
    assert_eq!(told(&output).0, Some(0));
    assert_eq!(cloud.storage.list("demo-requests", "requests/").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_command_line_asks_for_nothing() {
    let cloud = Cloud::start().await;
    let reason = ["--reason", "no"];
    for arguments in [
        &["runs", "cancel", "iris"][..],
        &["pause", "demo-project"],
        &["pause", "demo-project/nowhere"],
        &["pause", "demo-project/europe-west4", "--reason", "a\nb"],
    ] {
        let output = cloud.run(&[arguments, &reason[..]].concat()).await;
        assert_eq!(told(&output).0, Some(64), "{arguments:?}");
    }
    let output = cloud.run(&["pause", "demo-project/europe-west4"]).await;
    assert_eq!(told(&output).0, Some(64));
    for unconfirmed in [&["runs", "cancel", RUN][..], &["pause", "demo-project/europe-west4"]] {
        let output = cloud.run(&[unconfirmed, &reason[..]].concat()).await;
        let (code, _, stderr) = told(&output);
        assert_eq!(code, Some(64), "{unconfirmed:?}");
        assert!(stderr.contains("--yes"), "{stderr}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_branchline"));
    command.args(["resume", "a/europe-west4", "--request-bucket", "b", "--actor", "c"]).env_clear();
    let output = command.arg("--no-wait").env("BRANCHLINE_CREDENTIALS", "key").output().await;
    assert_eq!(told(&output.unwrap()).0, Some(78));
    assert!(cloud.storage.list("demo-requests", "").is_empty());
}
