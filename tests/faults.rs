//! What goes wrong on the wire and in the services, and what the product makes of
//! it. Counted from the stack's log of its wire, and not from our own ledger.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

use std::time::Duration;

use branchline_contract::Outcome;
use branchline_ledger::Body;
use branchline_local::faults::Faults;
use branchline_tests::eventually::eventually;
use branchline_tests::world::{World, run_id};
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
        // A lost call is settled when its time is over.
        let lost = json!({"create_max": "1s"});
        let faults: Faults = serde_json::from_value(json!({"rules": rules})).unwrap();
        let world =
            World::start_faulty(faults, Some(directory.path().join("wire.jsonl")), lost).await;
        Self { world, directory }
    }

    /// Runs one request to its end.
    async fn run(&self, name: &str) -> (Value, Outcome) {
        let request = self.world.request(name, &json!([]), "true");
        self.world.publish(request.to_string()).await;
        let history = self.world.ended(&request, 1).await;
        let outcome = history.run.ending().unwrap().outcome;
        (request, outcome)
    }

    /// Runs one request to success and its commit status, and tells the create calls for it.
    async fn play(self) -> Vec<Value> {
        let (request, outcome) = self.run("iris").await;
        assert_eq!(outcome, Outcome::Succeeded);
        assert_eq!(self.world.jobs(&request).await, 1);
        eventually("the status is success", async || {
            (self.world.commit_status("iris").await? == "success").then_some(())
        })
        .await;
        let notes =
            format!("projects/{}/merge_requests/{}/notes", self.world.project_id, self.world.iid);
        assert_eq!(self.world.gitlab(&notes).await.as_array().unwrap().len(), 1);
        self.stop(&request).await
    }

    /// Tells the create calls for a request's run. A fault that never happened proves nothing.
    async fn stop(self, request: &Value) -> Vec<Value> {
        let hits = self.world.stack.dice.hits();
        assert!(hits.iter().all(|it| *it > 0), "{hits:?}");
        self.world.stop().await;
        let log = std::fs::read_to_string(self.directory.path().join("wire.jsonl")).unwrap();
        let lines = log.lines().map(|it| serde_json::from_str::<Value>(it).unwrap());
        let run = run_id(request);
        lines.filter(|it| it["labels"]["branchline-run"] == run.as_str()).collect()
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
async fn a_job_that_lists_show_late_is_found_and_not_made_again() {
    let lost = json!({"service": "vertex", "method": "POST", "path": "customJobs", "fault": "drop_response", "times": 1});
    let lag = json!({"service": "vertex", "fault": {"list_lag_ms": 1500}});
    let creates = Faulty::start(json!([lost, lag])).await.play().await;
    assert_eq!(creates.len(), 1, "{creates:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_never_arrives_is_settled_before_it_is_sent_again() {
    for fault in ["drop_request", "reset"] {
        let rule = json!({"service": "vertex", "method": "POST", "path": "customJobs", "fault": fault, "times": 1});
        let creates = Faulty::start(json!([rule])).await.play().await;
        assert_eq!(creates.len(), 2, "{creates:?}");
        assert_eq!(creates[0]["fault"], fault);
        assert_ne!(
            creates[0]["labels"]["branchline-intent"],
            creates[1]["labels"]["branchline-intent"]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_is_done_after_every_deadline_is_a_surplus_job_that_is_cancelled() {
    let rule = json!({"service": "vertex", "method": "POST", "path": "customJobs", "fault": {"delay_ms": 4000}, "times": 1});
    let faulty = Faulty::start(json!([rule])).await;
    let request = faulty.world.request("iris", &json!([]), "sleep 4");
    faulty.world.publish(request.to_string()).await;
    let surplus = eventually("the late job is found", async || {
        let history = faulty.world.history(&request).await?;
        history.entries.into_iter().find_map(|it| match it.fact.body {
            Body::Surplus { job, .. } => Some(job),
            _ => None,
        })
    })
    .await;
    let history = faulty.world.ended(&request, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    let ours = history.run.job.unwrap();
    eventually("the late job is cancelled, and the run's is not", async || {
        let [late, ours] = [&surplus, &ours].map(|it| faulty.world.vertex_job(it));
        let states = [late.await["state"].clone(), ours.await["state"].clone()];
        (states == ["JOB_STATE_CANCELLED", "JOB_STATE_SUCCEEDED"]).then_some(())
    })
    .await;
    let creates = faulty.stop(&request).await;
    assert_eq!(creates.iter().filter(|it| it["status"] == "200").count(), 2, "{creates:?}");
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
        {"service": "vertex", "method": "GET", "fault": {"answer": {"status": 503}}, "times": 2},
        {"service": "vertex", "method": "GET", "fault": "drop_response", "times": 1},
        {"service": "vertex", "method": "POST", "fault": "drop_response", "times": 1},
        {"service": "gitlab", "path": "statuses", "fault": "drop_response", "times": 2},
        {"service": "gitlab", "path": "notes", "fault": {"answer": {"status": 502}}, "times": 1},
        {"service": "gitlab", "fault": {"delay_ms": 200}, "times": 3},
        {"service": "storage", "fault": "drop_response", "skip": 20, "times": 3},
        {"service": "storage", "fault": {"answer": {"status": 503}}, "skip": 30, "times": 3},
        {"service": "pubsub", "path": "Publish", "fault": "drop_response", "skip": 1, "times": 2},
    ]);
    let creates = Faulty::start(rules).await.play().await;
    let done = creates.iter().filter(|it| it["status"] == "200").count();
    assert_eq!(done, 1, "{creates:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_that_come_twice_late_or_in_another_order_change_nothing() {
    let rule = |path, fault| json!({"service": "pubsub", "path": path, "fault": fault, "times": 2});
    let rules = ["artifact-ready-worker", "run-events-notifier"].map(|it| {
        [
            rule(it, json!("duplicate")),
            rule(it, json!({"reorder_ms": 300})),
            rule(it, json!({"redeliver_late_ms": 300})),
        ]
    });
    let expiry = json!({"service": "pubsub", "path": "run-events-notifier", "fault": "expire_lease", "skip": 1, "times": 1});
    let rules: Vec<Value> = [vec![expiry], rules.concat()].concat();
    let faulty = Faulty::start(json!(rules)).await;
    let (request, outcome) = faulty.run("iris").await;
    assert_eq!(outcome, Outcome::Succeeded);
    // A second request of the CI job, word for word: its delivery meets what the first has left.
    faulty.world.publish(request.to_string()).await;
    eventually("all has gone wrong", async || {
        faulty.world.stack.dice.hits().iter().all(|it| *it > 0).then_some(())
    })
    .await;
    let creates = faulty.play().await;
    assert_eq!(creates.len(), 1, "{creates:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ends_in_any_other_way_ends_its_run() {
    let cases = [
        ("expired", "EXPIRED", Outcome::Expired),
        ("partially_succeeded", "PARTIALLY_SUCCEEDED", Outcome::Failed),
        ("cancelled", "CANCELLED", Outcome::Cancelled),
        ("failed", "FAILED", Outcome::Failed),
    ];
    let rule =
        |it: &str| json!({"service": "vertex", "fault": {"end_as": {"state": it}}, "times": 1});
    let mut rules: Vec<Value> = cases.iter().map(|(state, ..)| rule(state)).collect();
    rules.push(
        json!({"service": "vertex", "path": "customJobs", "fault": {"pause_ms": 1500}, "skip": 4}),
    );
    let faulty = Faulty::start(json!(rules)).await;
    for (name, state, expected) in cases {
        let (request, outcome) = faulty.run(name.replace('_', "-").as_str()).await;
        assert_eq!(outcome, expected, "{state}");
        let job = faulty.world.history(&request).await.unwrap().run.job.unwrap();
        let said = faulty.world.vertex_job(&job).await;
        assert_eq!(said["state"], format!("JOB_STATE_{state}"));
    }
    let request = faulty.world.request("paused", &json!([]), "true");
    faulty.world.publish(request.to_string()).await;
    eventually("it is paused", async || {
        let job = faulty.world.history(&request).await?.run.job?;
        (faulty.world.vertex_job(&job).await["state"] == "JOB_STATE_PAUSED").then_some(())
    })
    .await;
    let history = faulty.world.ended(&request, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    faulty.stop(&request).await;
}
