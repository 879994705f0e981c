//! Many requests at once, a fifth of them again, Vertex AI's answers lost and
//! processes killed all the while: as many jobs as distinct runs, and none is lost.
//!
//! `make soak` takes 10,000 messages and 100 kills (`MESSAGES=… KILLS=…`).
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use branchline_contract::{JobKind, Outcome, RunId};
use branchline_gcp::storage::Storage;
use branchline_ledger::Store;
use branchline_local::installation::{LEDGER, QUEUE};
use branchline_tests::installation::Installation;
use branchline_tests::naps::{number, publish_all, request};
use branchline_tests::processes::Role;
use fastrand::Rng;
use jiff::Timestamp;
use serde_json::Value;

const GRACE: Duration = Duration::from_secs(3);
/// Runs whose commit statuses are looked at.
const STATUSES: usize = 200;
/// Three in ten answers to create calls are lost.
const FAULTS: &str = "{seed: 1, rules: [{service: vertex, method: POST, path: Jobs, fault: drop_response, probability: 0.3}]}";
/// Messages of a process that is killed come again a minute later.
const REDELIVERED_WITHIN: Duration = Duration::from_mins(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_jobs_as_runs_and_none_lost() {
    let (messages, kills) = (number("MESSAGES", 50), number("KILLS", 2));
    let at = Installation::new(GRACE).unwrap();
    fs::write(at.faults(), FAULTS).unwrap();
    let (_stack, token) = at.stack().await.unwrap();
    let mut roles = vec![
        at.worker().await.unwrap().0,
        at.worker().await.unwrap().0,
        at.notifier(token.clone()).await.unwrap().0,
    ];
    let started = Instant::now();

    // Every fifth is the message before once more, in turn with another id or by another CI job.
    let (mut runs, mut requests) = (BTreeSet::new(), Vec::new());
    for message in 0..messages {
        let again = message % 5 == 4;
        let distinct = usize::try_from(if again { message - 1 } else { message }).unwrap();
        let (mut request, run) = request(&at, JobKind::CustomJob, "true", distinct).unwrap();
        // On a branch without a merge request: thousands of notes on one would be all that is measured.
        request["gitlab"]["merge_request"] = Value::Null;
        request["gitlab"]["ref"] = "soak".into();
        if again && message % 2 == 0 {
            request["gitlab"]["job_id"] = 1_000_000.into();
        }
        runs.insert(run);
        requests.push(request);
    }
    publish_all(&at, requests).await.unwrap();

    let mut rng = Rng::with_seed(1);
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(rng.u64(500..4_000))).await;
        let role = rng.usize(..roles.len());
        kill(&at, &mut roles, role, &token).await;
    }
    let killed = started.elapsed();
    until_idle(&at, runs.len()).await;

    let storage = Arc::new(Storage::connect(&at.google()).await.unwrap());
    let store = Store::new(storage, LEDGER.to_owned(), Timestamp::now);
    let creates = at.creates().unwrap();
    let (mut duplicates, mut lost) = (Vec::new(), Vec::new());
    for run in &runs {
        let history = store.load(at.project_id(), run).await.unwrap();
        let ending = history.as_ref().and_then(|it| it.run.ending());
        if ending.is_none_or(|it| it.outcome != Outcome::Succeeded) {
            lost.push(run);
        }
        if creates.get(run.as_str()) != Some(&1) {
            duplicates.push((run, creates.get(run.as_str())));
        }
    }
    let leaders = leaders(&at);
    println!(
        "{messages} messages, {} runs, {} creates, {kills} kills in {:.0} s, all over after {:.0} s, {leaders} leaders, lost {}",
        runs.len(),
        creates.values().sum::<usize>(),
        killed.as_secs_f64(),
        started.elapsed().as_secs_f64(),
        lost.len()
    );
    assert_eq!(at.dead_letters().unwrap(), 0, "{}", at.logs());
    for run in runs.iter().step_by(1 + runs.len() / STATUSES) {
        is_told(&at, run, &token).await;
    }
    // The lease is handed on where a process dies, and nowhere else.
    assert!(leaders <= 2 * usize::try_from(kills).unwrap() + 2, "{leaders} leaders");
    assert!(lost.is_empty() && duplicates.is_empty(), "{lost:?} {duplicates:?}\n{}", at.logs());
}

async fn kill(at: &Installation, roles: &mut Vec<Role>, role: usize, token: &str) {
    let old = roles.remove(role);
    old.kill().unwrap();
    old.dies(GRACE).await.unwrap();
    let started = if role == 2 { at.notifier(token.to_owned()).await } else { at.worker().await };
    roles.insert(role, started.unwrap().0);
}

/// Until its commit says that it succeeded. What a killed notifier had comes to another.
async fn is_told(at: &Installation, run: &RunId, token: &str) {
    let started = Instant::now();
    while at.commit_status(run, token).await.unwrap().as_deref() != Some("success") {
        assert!(started.elapsed() < REDELIVERED_WITHIN, "{run} is not reported\n{}", at.logs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// How often somebody began to lead.
fn leaders(at: &Installation) -> usize {
    at.logs_of("worker").matches("\"leads\":true").count()
}

/// Until every run is on record and the queue is empty, and stays so while anything still happens.
async fn until_idle(at: &Installation, runs: usize) {
    let mut progress = (0, Instant::now());
    loop {
        let (requested, queued) = count(at);
        if requested == runs && queued == 0 {
            return;
        }
        let now = requested + at.creates().unwrap().len();
        if now + queued != progress.0 {
            progress = (now + queued, Instant::now());
        }
        let stuck = progress.1.elapsed() > REDELIVERED_WITHIN;
        assert!(!stuck, "{requested} of {runs} runs on record, {queued} queued\n{}", at.logs());
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

fn count(at: &Installation) -> (usize, usize) {
    let names = |bucket| at.objects(bucket).unwrap().into_keys();
    let requested = names(LEDGER).filter(|it| it.ends_with("/000000.json")).count();
    (requested, names(QUEUE).filter(|it| it.starts_with("queue/")).count())
}
