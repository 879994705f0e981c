//! What goes wrong on the wire, and what the product makes of it. Counted from
//! the stack's log of its wire, and not from our own ledger.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

use std::time::Duration;

use branchline_contract::Outcome;
use branchline_local::faults::Faults;
use branchline_tests::eventually::eventually;
use branchline_tests::world::World;
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A world with faults, and where its wire is logged.
struct Faulty {
    world: World,
    directory: TempDir,
}

impl Faulty {
    async fn start(rules: Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let faults: Faults = serde_json::from_value(json!({"rules": rules})).unwrap();
        let world = World::start_faulty(faults, directory.path().join("wire.jsonl")).await;
        Self { world, directory }
    }

    /// Runs one request to its end and its commit status, and tells the create calls that reached Vertex AI.
    async fn play(self) -> Vec<Value> {
        let Self { world, directory } = self;
        let request = world.request("iris", &json!([]), "true");
        world.publish(request.to_string()).await;
        let history = world.ended(&request, 1).await;
        let ending = history.run.ending().unwrap();
        assert_eq!(ending.outcome, Outcome::Succeeded, "{ending:?}");
        assert_eq!(world.jobs(&request).await, 1);
        eventually("the status is success", async || {
            (world.commit_status("iris").await? == "success").then_some(())
        })
        .await;
        world.stop().await;
        let log = std::fs::read_to_string(directory.path().join("wire.jsonl")).unwrap();
        let lines = log.lines().map(|it| serde_json::from_str::<Value>(it).unwrap());
        let of_run = |it: &Value| it["labels"]["branchline-run"] == history.run.id.as_str();
        lines.filter(|it| it["service"] == "vertex" && of_run(it)).collect()
    }
}

fn time(line: &Value) -> Timestamp {
    line["time"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_whose_answer_is_lost_is_found_and_not_repeated() {
    let rule = json!({"service": "vertex", "method": "POST", "path": "customJobs", "fault": "drop_response", "times": 1});
    let creates = Faulty::start(json!([rule])).await.play().await;
    assert_eq!(creates.len(), 1, "{creates:?}");
    assert_eq!(
        (&creates[0]["fault"], &creates[0]["status"]),
        (&json!("drop_response"), &json!("200"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_never_arrives_is_settled_before_it_is_sent_again() {
    let rule = json!({"service": "vertex", "method": "POST", "path": "customJobs", "fault": "drop_request", "times": 1});
    let creates = Faulty::start(json!([rule])).await.play().await;
    assert_eq!(creates.len(), 2, "{creates:?}");
    assert_eq!(creates[0]["fault"], "drop_request");
    assert_ne!(
        creates[0]["labels"]["branchline-intent"],
        creates[1]["labels"]["branchline-intent"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_before_the_pause_that_vertex_ai_asks_for() {
    let answer = json!({"answer": {"status": 429, "retry_after": 2}});
    let rule = json!({"service": "vertex", "method": "POST", "path": "customJobs", "fault": answer, "times": 1});
    let creates = Faulty::start(json!([rule])).await.play().await;
    assert_eq!(creates.len(), 2, "{creates:?}");
    let pause = time(&creates[0]).duration_until(time(&creates[1]));
    assert!(Duration::try_from(pause).unwrap() >= Duration::from_secs(2), "{creates:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_wire_everywhere_delays_a_run_and_no_more() {
    let rules = json!([
        {"service": "vertex", "method": "GET", "fault": {"answer": {"status": 503}}, "probability": 0.3},
        {"service": "vertex", "method": "GET", "fault": "drop_response", "probability": 0.2},
        {"service": "vertex", "method": "POST", "fault": "drop_response", "probability": 0.5},
        {"service": "gitlab", "path": "statuses", "fault": "drop_response", "times": 2},
        {"service": "gitlab", "path": "notes", "fault": {"answer": {"status": 502}}, "times": 1},
        {"service": "gitlab", "fault": {"delay_ms": 200}, "times": 3},
        {"service": "storage", "fault": "drop_response", "skip": 20, "times": 3},
        {"service": "storage", "fault": {"answer": {"status": 503}}, "probability": 0.05},
        {"service": "pubsub", "path": "Publish", "fault": "drop_response", "skip": 1, "times": 2},
    ]);
    let creates = Faulty::start(rules).await.play().await;
    let done = creates.iter().filter(|it| it["status"] == "200").count();
    assert_eq!(done, 1, "{creates:?}");
}
