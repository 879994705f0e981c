//! Rolling updates and rollbacks under load: processes of two versions work side by side, and no
//! run, delivery or job is one too many or too few.
//!
//! `make rolling` takes 1,000 runs at 20 a second, which fill a stream, then 60 at one a second, between which it is quiet
//! (`RUNS=…`, `PER_SECOND=…`), and another version's executable (`PREVIOUS=…`). Without that both versions are this one.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use branchline_contract::{JobKind, Outcome, RunId, Sha256};
use branchline_gcp::storage::{Objects as _, Storage};
use branchline_ledger::Store;
use branchline_local::faults::Faults;
use branchline_local::installation::{LEDGER, PROJECT, QUEUE, subscription, topic};
use branchline_local::pubsub::Delivered;
use branchline_local::stack::Stack;
use branchline_tests::eventually::eventually;
use branchline_tests::identity::signed;
use branchline_tests::installation::Installation;
use branchline_tests::naps::{number, request};
use branchline_tests::processes::{Role, executable};
use branchline_tests::world::run_id;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// As in production: how long a stream is watched before it is closed is part of it.
const GRACE: Duration = Duration::from_secs(25);
const REPLICAS: usize = 2;
/// A run that wants a machine which nobody can have stays in line.
const EXHAUSTED: &str = "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_nvidia_t4_gpus";
const AT_ONCE: usize = 16;
/// Nothing takes longer than this to go on.
const IDLE_WITHIN: Duration = Duration::from_mins(3);

#[tokio::test(flavor = "multi_thread")]
async fn two_versions_side_by_side_lose_nothing_and_do_nothing_twice() {
    let runs = number("RUNS", 60);
    let previous = std::env::var_os("PREVIOUS").map_or_else(executable, PathBuf::from);
    let mut at = Installation::new(GRACE).unwrap();
    let stack = at.embedded(faults(true)).await.unwrap();
    let token = stack.gitlab.token().clone();
    at.executable.clone_from(&previous);
    let mut roles = Vec::new();
    for _ in 0..REPLICAS {
        roles.push(at.worker().await.unwrap().0);
    }
    roles.push(at.notifier(token.clone()).await.unwrap().0);

    let waiting = ask(&at, &stack, runs, true);
    let foreseen = foresee(&at, &waiting).await;
    let (publishing, ids) =
        publish(&at, &stack, runs, Duration::from_secs(1) / number("PER_SECOND", 20));
    let mut rollouts = 0;
    while rollouts < 2 || !publishing.is_finished() {
        at.executable = if rollouts % 2 == 0 { executable() } else { previous.clone() };
        roll(&at, &mut roles, &token).await;
        rollouts += 1;
    }
    publishing.await.unwrap();
    idle(&at, &stack).await;

    succeeded(&at, &ids).await;
    let delivered = |name| stack.pubsub.delivered(&subscription(PROJECT, name)).unwrap();
    let requests = Delivered { deliveries: u64::from(runs) + 1, again: [].into() };
    assert_eq!(delivered("artifact-ready-worker"), requests);
    let events = delivered("run-events-notifier");
    // Nor can a notifier tell what is to be said of the run whose ledger goes beyond it.
    let again: Vec<_> = events.again.iter().filter(|it| **it != waiting.as_str()).collect();
    assert!(again.is_empty(), "{again:?}\n{}", at.logs_of("notifier"));
    assert_eq!(at.dead_letters().unwrap(), 0);

    // Nobody here can tell what a newer version has written, so nobody goes on, though they could.
    stack.dice.set(faults(false));
    let later = ask(&at, &stack, runs + 1, true);
    eventually("a later run gets its job", async || {
        at.creates().unwrap().get(later.as_str()).copied()
    })
    .await;
    assert_eq!(facts(&at, &waiting), foreseen);
    assert_eq!(at.creates().unwrap().get(waiting.as_str()), None);
    println!(
        "{runs} runs, {rollouts} rollouts of {} processes between {} and {}: lost 0, twice 0; {} and {} deliveries, each the first but of the run that nobody can read",
        REPLICAS + 1,
        previous.display(),
        executable().display(),
        requests.deliveries,
        events.deliveries,
    );
    for role in &roles {
        role.terminate().unwrap();
    }
    for role in roles {
        role.ends(GRACE).await.unwrap();
    }
    stack.shutdown().await;
}

/// Replaces every process, one after the other, as a Deployment without unavailable pods does.
async fn roll(at: &Installation, roles: &mut [Role], token: &str) {
    for (place, role) in roles.iter_mut().enumerate() {
        let is_notifier = place == REPLICAS;
        let started =
            if is_notifier { at.notifier(token.to_owned()).await } else { at.worker().await };
        let old = std::mem::replace(role, started.unwrap().0);
        old.terminate().unwrap();
        old.ends(GRACE).await.unwrap();
    }
}

/// Publishes requests for so many runs, each after such a pause, and tells their runs.
fn publish(
    at: &Installation,
    stack: &Stack,
    runs: u32,
    pause: Duration,
) -> (JoinHandle<()>, Vec<RunId>) {
    let (messages, ids): (Vec<_>, Vec<_>) = (0..runs).map(|it| message(at, it, false)).unzip();
    let pubsub = stack.pubsub.clone();
    let publishing = tokio::spawn(async move {
        for message in messages {
            pubsub.publish(&topic(PROJECT, "artifact-ready"), message, HashMap::new()).unwrap();
            tokio::time::sleep(pause).await;
        }
    });
    (publishing, ids)
}

/// A message that asks for a run of its own, and that run.
fn message(at: &Installation, number: u32, is_scarce: bool) -> (Bytes, RunId) {
    let (mut request, _) = request(at, JobKind::CustomJob, "true", number as usize).unwrap();
    // On a branch without a merge request: a thousand notes on one would be all that is measured.
    request["gitlab"]["merge_request"] = Value::Null;
    request["gitlab"]["ref"] = "rolling".into();
    if is_scarce {
        let pool = &mut request["training"]["custom_job"]["jobSpec"]["workerPoolSpecs"][0];
        pool["machineSpec"]["acceleratorType"] = "NVIDIA_TESLA_T4".into();
        pool["machineSpec"]["acceleratorCount"] = 1.into();
    }
    let run = run_id(&request);
    (signed(at.signer(), request).to_string().into(), run)
}

/// Asks for one run.
fn ask(at: &Installation, stack: &Stack, number: u32, is_scarce: bool) -> RunId {
    let (message, run) = message(at, number, is_scarce);
    stack.pubsub.publish(&topic(PROJECT, "artifact-ready"), message, HashMap::new()).unwrap();
    run
}

/// Nobody has the machines that scarce runs want, or anybody has.
fn faults(exhausted: bool) -> Faults {
    let answer = json!({"answer": {"status": 429, "message": EXHAUSTED}});
    let rule = json!({
        "service": "vertex", "method": "POST", "path": "Jobs", "body": "acceleratorCount", "fault": answer,
    });
    let rules = if exhausted { vec![rule] } else { Vec::new() };
    serde_json::from_value(json!({ "rules": rules })).unwrap()
}

/// The facts of a run as they lie there.
fn facts(at: &Installation, run: &RunId) -> BTreeMap<String, Vec<u8>> {
    let mut facts = at.objects(LEDGER).unwrap();
    facts.retain(|name, _| name.contains(run.as_str()));
    facts
}

/// Writes a fact behind a run that is in line, of a kind that no version knows, and tells all its
/// facts.
async fn foresee(at: &Installation, run: &RunId) -> BTreeMap<String, Vec<u8>> {
    let storage = Storage::connect(&at.google()).await.unwrap();
    eventually("a fact of a newer version is written", async || {
        let before = facts(at, run);
        let (last, bytes) = before.last_key_value()?;
        let last: Value = serde_json::from_slice(bytes).unwrap_or_else(|it| panic!("{last}: {it}"));
        // Vertex AI has refused it once, so that it is in line and waits for machines.
        at.logs_of("worker").contains(EXHAUSTED).then_some(())?;
        let sequence = last["sequence"].as_u64()? + 1;
        let fact = json!({
            "sequence": sequence, "previous": Sha256::of(bytes), "nonce": "n", "time": Timestamp::now(),
            "actor": "worker", "cause": "a newer version", "attempt": 1, "kind": "foreseen", "body": {},
        });
        let name = format!("runs/{}/{run}/{sequence:06}.json", at.project_id());
        let content = fact.to_string().into_bytes().into();
        // A leader may have written meanwhile.
        storage.create(LEDGER, &name, content, BTreeMap::new()).await.ok()?;
        Some(facts(at, run))
    })
    .await
}

/// Until everything but the run that waits is over.
async fn idle(at: &Installation, stack: &Stack) {
    let started = Instant::now();
    loop {
        let queued = stack.storage.list(QUEUE, "queue/").len();
        let unread = stack.pubsub.unacknowledged(&subscription(PROJECT, "artifact-ready-worker"));
        if (queued, unread.unwrap()) == (1, 0) {
            return;
        }
        assert!(started.elapsed() < IDLE_WITHIN, "{queued} queued\n{}", at.logs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// One job and a success for every run.
async fn succeeded(at: &Installation, runs: &[RunId]) {
    let storage = Arc::new(Storage::connect(&at.google()).await.unwrap());
    let store = Store::new(storage, LEDGER.to_owned(), Timestamp::now);
    let creates = at.creates().unwrap();
    let check = async |run: &RunId| {
        assert_eq!(creates.get(run.as_str()), Some(&1), "{run}");
        let history = store.load(at.project_id(), run).await.unwrap().unwrap();
        let outcome = history.run.ending().map(|it| it.outcome);
        assert_eq!(outcome, Some(Outcome::Succeeded), "{run}");
    };
    stream::iter(runs.iter().map(check)).buffer_unordered(AT_ONCE).collect::<()>().await;
}
