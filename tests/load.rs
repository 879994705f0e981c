//! A backlog against Vertex AI's quota, three replicas, and the leader killed in
//! the middle: the quota is used, and every project gets its turns.
//!
//! `make load` queues 10,000 messages against 60 calls a second (`MESSAGES=… QUOTA=…`).
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use branchline_contract::{JobKind, Outcome, RunId};
use branchline_gcp::storage::Storage;
use branchline_ledger::Store;
use branchline_local::faults::Faults;
use branchline_local::installation::{LEDGER, PROJECT, QUEUE, subscription};
use branchline_tests::installation::Installation;
use branchline_tests::naps::{number, publish_all, request};
use branchline_tests::world::run_id;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use serde_json::{Value, json};

const GRACE: Duration = Duration::from_secs(3);
const REPLICAS: usize = 3;
/// Half of all runs are the first project's.
const PROJECTS: u64 = 10;
/// Every tenth run wants a machine that nobody can have.
const SCARCE_EVERY: u32 = 10;
const EXHAUSTED: &str = "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_nvidia_t4_gpus";
/// Calls of a leader that are under way when it dies go unseen by its successor's turns.
const AT_ONCE: usize = 16;
/// A run is in line from the leader's next round on, and a round of thousands is over by then.
const IN_LINE: Duration = Duration::from_secs(15);
/// Nothing takes longer than this to go on.
const STUCK: Duration = Duration::from_mins(2);

/// Runs and their projects.
#[derive(Default)]
struct Runs {
    /// What can be created.
    ready: BTreeMap<RunId, u64>,
    /// What waits for machines.
    scarce: BTreeMap<RunId, u64>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_uses_the_quota_and_every_project_gets_its_turns() {
    let (messages, quota) = (number("MESSAGES", 300), number("QUOTA", 10));
    let at = Installation::new(GRACE).unwrap();
    let stack = at.embedded(faults(quota, true)).await.unwrap();
    let unacknowledged = |name| stack.pubsub.unacknowledged(&subscription(PROJECT, name)).unwrap();
    let runs = publish(&at, messages).await;
    assert_eq!(unacknowledged("artifact-ready-worker"), usize::try_from(messages).unwrap());

    let started = Instant::now();
    let mut workers = Vec::new();
    for _ in 0..REPLICAS {
        workers.push(at.worker_with(quota * 60).await.unwrap().0);
    }
    let (mut acknowledged, mut killed) = (None, None);
    let mut progress = (0, Instant::now());
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if acknowledged.is_none() && unacknowledged("artifact-ready-worker") == 0 {
            acknowledged = Some(started.elapsed());
        }
        let created = stack.vertex.jobs();
        if created == runs.ready.len() {
            break;
        }
        if killed.is_none() && created > runs.ready.len() / 2 {
            let leader = at.leader().unwrap().unwrap();
            let leader = workers.iter().position(|it| it.id() == leader).unwrap();
            let leader = workers.remove(leader);
            leader.kill().unwrap();
            leader.dies(GRACE).await.unwrap();
            workers.push(at.worker_with(quota * 60).await.unwrap().0);
            killed = Some(started.elapsed());
        }
        if created != progress.0 {
            progress = (created, Instant::now());
        }
        assert!(progress.1.elapsed() < STUCK, "{created} created\n{}", at.logs());
    }
    let order = at.created().unwrap();

    // The machines are there again.
    stack.dice.set(faults(quota, false));
    let idle = Instant::now();
    while !stack.storage.list(QUEUE, "queue/").is_empty() {
        assert!(idle.elapsed() < STUCK * 2, "{}", at.logs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let used = used(&order, quota);
    let admitted = all_succeeded(&at, &runs).await;
    let beyond = waited_beyond(&order, &runs.ready, &admitted);
    let acknowledged = acknowledged.unwrap();
    println!(
        "{messages} messages, acknowledged within {:.1} s, the leader killed after {:.1} s; {} jobs in {:.1} s, {:.1} % of {quota} a second; {} runs waited for machines; at most {beyond} calls beyond {PROJECTS} for each of its own project; all over after {:.0} s",
        acknowledged.as_secs_f64(),
        killed.unwrap().as_secs_f64(),
        order.len(),
        span(&order),
        100.0 * used,
        runs.scarce.len(),
        started.elapsed().as_secs_f64(),
    );
    assert_eq!(at.dead_letters().unwrap(), 0);
    assert!(used >= 0.95, "{used}");
    assert!(beyond <= usize::try_from(quota).unwrap() + AT_ONCE, "{beyond}");
    stack.shutdown().await;
}

fn faults(quota: u32, exhausted: bool) -> Faults {
    let post = |fault: Value| json!({"service": "vertex", "method": "POST", "path": "Jobs", "fault": fault});
    let mut rules = vec![post(json!({"quota_per_minute": quota * 60}))];
    if exhausted {
        let mut rule = post(json!({"answer": {"status": 429, "message": EXHAUSTED}}));
        rule["body"] = json!("acceleratorCount");
        rules.push(rule);
    }
    serde_json::from_value(json!({ "rules": rules })).unwrap()
}

/// Queues that many requests, and tells their runs.
async fn publish(at: &Installation, messages: u32) -> Runs {
    let mut runs = Runs::default();
    let mut requests = Vec::new();
    for message in 0..messages {
        let distinct = usize::try_from(message).unwrap();
        let (mut request, _) = request(at, JobKind::CustomJob, "true", distinct).unwrap();
        let others = u64::from(message / 2) % (PROJECTS - 1);
        let project = if message % 2 == 0 { 1 } else { 2 + others };
        request["gitlab"]["project_id"] = project.into();
        request["gitlab"]["merge_request"] = Value::Null;
        request["gitlab"]["ref"] = "load".into();
        let scarce = message % SCARCE_EVERY == SCARCE_EVERY / 2;
        if scarce {
            let pool = &mut request["training"]["custom_job"]["jobSpec"]["workerPoolSpecs"][0];
            pool["machineSpec"]["acceleratorType"] = "NVIDIA_TESLA_T4".into();
            pool["machineSpec"]["acceleratorCount"] = 1.into();
        }
        let line = if scarce { &mut runs.scarce } else { &mut runs.ready };
        line.insert(run_id(&request), project);
        requests.push(request);
    }
    publish_all(at, requests).await.unwrap();
    runs
}

/// Seconds from the first job to the last.
fn span(order: &[(Timestamp, String)]) -> f64 {
    let first = order.iter().map(|it| it.0).min().unwrap();
    let last = order.iter().map(|it| it.0).max().unwrap();
    first.duration_until(last).as_secs_f64()
}

/// Share of the quota that was used from the first job to the last, on average: within its first
/// minute a quota by the minute allows more than its rate.
fn used(order: &[(Timestamp, String)], quota: u32) -> f64 {
    let count = u32::try_from(order.len()).unwrap();
    f64::from(count) / (span(order) * f64::from(quota))
}

/// One job and a success for every run, whatever it waited for. Tells when each was admitted.
async fn all_succeeded(at: &Installation, runs: &Runs) -> BTreeMap<RunId, Timestamp> {
    let storage = Arc::new(Storage::connect(&at.google()).await.unwrap());
    let store = Store::new(storage, LEDGER.to_owned(), Timestamp::now);
    let creates = at.creates().unwrap();
    let check = async |(run, project): (&RunId, &u64)| {
        assert_eq!(creates.get(run.as_str()), Some(&1), "{run}");
        let history = store.load(*project, run).await.unwrap().unwrap();
        let outcome = history.run.ending().map(|it| it.outcome);
        assert_eq!(outcome, Some(Outcome::Succeeded), "{run}");
        let mut facts = history.entries.iter().map(|it| &it.fact);
        (run.clone(), facts.find(|it| it.body.kind() == "admitted").unwrap().time)
    };
    let all = runs.ready.iter().chain(&runs.scarce).map(check);
    stream::iter(all).buffer_unordered(AT_ONCE).collect().await
}

/// How many calls beyond its bound a run waited for, once it was in line, at most. While a project waits for its next k
/// runs, at most k calls of each other project come between: it waits as many times as long as if
/// it were alone as there are projects.
fn waited_beyond(
    order: &[(Timestamp, String)],
    projects: &BTreeMap<RunId, u64>,
    admitted: &BTreeMap<RunId, Timestamp>,
) -> usize {
    let mut order: Vec<_> =
        order.iter().map(|(time, run)| (*time, RunId::parse(run.clone()).unwrap())).collect();
    order.sort();
    let mut of_project: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    let others = usize::try_from(PROJECTS).unwrap() - 1;
    let (mut beyond, mut worst) = (0, String::new());
    for (place, (_, run)) in order.iter().enumerate() {
        let own = of_project.entry(projects[run]).or_default();
        own.push(place);
        let first = order.partition_point(|(time, _)| *time <= admitted[run] + IN_LINE);
        let k = own.len() - own.partition_point(|it| *it < first);
        let between = (place + 1).saturating_sub(first + k);
        let here = between.saturating_sub(k * others);
        if here > beyond {
            beyond = here;
            worst = format!(
                "{run} of project {}: {k} of its own and {between} of others from call {first} to {place}",
                projects[run]
            );
        }
    }
    println!("longest: {worst}");
    beyond
}
