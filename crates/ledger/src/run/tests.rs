//! The life of a run, told as stories.

mod approvals;
mod retries;
mod staged;
mod stalled;

use std::fmt::Write as _;

use branchline_contract::{ArtifactReady, Outcome, RunId};
use expect_test::{Expect, expect};
use jiff::Timestamp;
use serde_json::json;

use super::Run;
use crate::fact::{Body, DecodeError, Entry, Fact, Intent};
use crate::queue::Ticket;
use crate::run::FoldError;
use crate::state::Ending;

fn request() -> ArtifactReady {
    serde_json::from_value(json!({
        "run": "iris",
        "artifacts": [],
        "training": {"custom_job": {"jobSpec": {}}},
        "vertex": {"project": "demo-project", "region": "europe-west4"},
        "gitlab": {
            "host": "gitlab.example.com", "project_id": 7, "project_path": "team/iris",
            "sha": "0123456789012345678901234567890123456789", "ref": "main",
            "pipeline_id": 1, "job_id": 10
        }
    }))
    .unwrap()
}

/// A ledger of these facts, each with the attempt it belongs to.
fn ledger(facts: Vec<(u32, Body)>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (attempt, body) in facts {
        let fact = Fact {
            sequence: u32::try_from(entries.len()).unwrap(),
            previous: entries.last().map(|it| it.sha256),
            nonce: String::new(),
            time: noon(3) + jiff::SignedDuration::from_hours(i64::try_from(entries.len()).unwrap()),
            actor: "test".to_owned(),
            cause: "test".to_owned(),
            attempt,
            trace: None,
            body,
        };
        entries.push(Entry::decode(&fact.encode()).unwrap());
    }
    entries
}

fn requested() -> (u32, Body) {
    let request = request();
    let digest = RunId::derive(&request).1;
    (1, Body::Requested { request: Box::new(request), digest, asked_at: noon(1) })
}

/// Noon of a day in November.
fn noon(day: i8) -> Timestamp {
    format!("2026-11-{day:02}T12:00:00Z").parse().unwrap()
}

fn retried(attempt: u32, ci_job: u64) -> (u32, Body) {
    let mut request = request();
    request.gitlab.job_id = ci_job;
    (
        attempt,
        Body::Retried {
            request: Some(Box::new(request)),
            reason: None,
            operator: None,
            asked_at: noon(2),
        },
    )
}

fn intended(nonce: &str) -> (u32, Body) {
    let (nonce, output) = (nonce.to_owned(), format!("gs://o/{nonce}/"));
    (1, Body::Intended(Intent { nonce, duration_ms: 1, output }))
}

fn finished(outcome: Outcome) -> Body {
    Body::Finished(Ending { reason: None, ..Ending::without_job(outcome, String::new()) })
}

/// Folds fact by fact and tells state and event behind each.
fn check(facts: Vec<(u32, Body)>, expect: &Expect) {
    let entries = ledger(facts);
    let mut run = Run::begin(&entries[0]).unwrap();
    let mut story = format!("requested -> attempt 1 {:?}\n", run.state);
    for entry in &entries[1..] {
        let event = run.apply(entry).unwrap();
        let event = event.map_or(String::new(), |it| format!(", says {}", it.phase.as_str()));
        let state = format!("{:?}", run.state);
        let state = state.split(['(', ' ']).next().unwrap();
        let kind = entry.fact.body.kind();
        writeln!(story, "{kind} -> attempt {} {state}{event}", run.attempt).unwrap();
    }
    expect.assert_eq(&story);
    let (folded, _) = Run::fold(&entries).unwrap();
    assert_eq!(folded, run, "folding at once is folding one by one");
}

#[test]
fn a_run_goes_from_request_to_outcome() {
    let submitted = Body::Submitted { intent: "a".to_owned(), job: "jobs/1".to_owned() };
    let facts = vec![
        requested(),
        (1, Body::Verified { contents_read: false, grounds: None, staged: Vec::new() }),
        (1, Body::Admitted {}),
        intended("a"),
        (1, submitted),
        (1, Body::Running {}),
        (1, finished(Outcome::Succeeded)),
    ];
    check(
        facts,
        &expect![[r"
        requested -> attempt 1 Requested
        verified -> attempt 1 Verified
        admitted -> attempt 1 Admitted, says queued
        intended -> attempt 1 Intended
        submitted -> attempt 1 Submitted, says submitted
        running -> attempt 1 Running, says running
        finished -> attempt 1 Finished, says completed
    "]],
    );
}

#[test]
fn a_late_or_repeated_fact_changes_nothing_and_says_nothing() {
    let facts = vec![
        requested(),
        (1, Body::Rejected { reasons: vec!["no".to_owned()], grounds: None }),
        (1, Body::Verified { contents_read: false, grounds: None, staged: Vec::new() }),
        (1, Body::Admitted {}),
        (1, Body::Running {}),
        (1, finished(Outcome::Succeeded)),
        (1, Body::CancelRequested { reason: "late".to_owned(), request: None }),
    ];
    check(
        facts,
        &expect![[r"
        requested -> attempt 1 Requested
        rejected -> attempt 1 Finished, says completed
        verified -> attempt 1 Finished
        admitted -> attempt 1 Finished
        running -> attempt 1 Finished
        finished -> attempt 1 Finished
        cancel-requested -> attempt 1 Finished
    "]],
    );
}

#[test]
fn a_retry_begins_the_next_attempt_only_behind_an_end() {
    let facts = vec![
        requested(),
        retried(2, 11),
        (1, finished(Outcome::Failed)),
        retried(3, 12),
        retried(2, 13),
        (1, finished(Outcome::Succeeded)),
        (2, Body::Verified { contents_read: true, grounds: None, staged: Vec::new() }),
    ];
    check(
        facts,
        &expect![[r"
        requested -> attempt 1 Requested
        retried -> attempt 1 Requested
        finished -> attempt 1 Finished, says completed
        retried -> attempt 1 Finished
        retried -> attempt 2 Requested
        finished -> attempt 2 Requested
        verified -> attempt 2 Verified
    "]],
    );
}

#[test]
fn a_failure_that_is_not_made_the_end_puts_the_next_attempt_in_line() {
    let submitted = || Body::Submitted { intent: "a".to_owned(), job: "jobs/1".to_owned() };
    let again = |attempt| {
        let reason = Some("no quota".to_owned());
        (attempt, Body::Retried { request: None, reason, operator: None, asked_at: noon(1) })
    };
    let facts = vec![
        requested(),
        again(2),
        (1, Body::Verified { contents_read: false, grounds: None, staged: Vec::new() }),
        (1, Body::Admitted {}),
        again(2),
        intended("a"),
        (1, submitted()),
        again(3),
        again(2),
        (1, finished(Outcome::Failed)),
        (2, finished(Outcome::Failed)),
        again(3),
        retried(3, 11),
    ];
    let (run, events) = Run::fold(&ledger(facts[..9].to_vec())).unwrap();
    assert_eq!((run.job.as_deref(), run.intents.len()), (None, 0));
    assert_eq!((run.asked_at, run.reason()), (noon(1), Some("no quota")));
    let (event, end) = (events.last().unwrap(), events.iter().find(|it| it.outcome.is_some()));
    assert_eq!((event.attempt, event.reason.as_deref(), end), (2, Some("no quota"), None));
    check(
        facts,
        &expect![[r"
        requested -> attempt 1 Requested
        retried -> attempt 1 Requested
        verified -> attempt 1 Verified
        admitted -> attempt 1 Admitted, says queued
        retried -> attempt 1 Admitted
        intended -> attempt 1 Intended
        submitted -> attempt 1 Submitted, says submitted
        retried -> attempt 1 Submitted
        retried -> attempt 2 Admitted, says queued
        finished -> attempt 2 Admitted
        finished -> attempt 2 Finished, says completed
        retried -> attempt 2 Finished
        retried -> attempt 3 Requested
    "]],
    );
}

#[test]
fn an_attempt_has_its_own_place_in_the_queue() {
    let facts = vec![requested(), (1, finished(Outcome::Failed)), retried(2, 11)];
    let (first, _) = Run::fold(&ledger(facts[..2].to_vec())).unwrap();
    let (second, _) = Run::fold(&ledger(facts)).unwrap();
    assert_eq!((first.asked_at, second.asked_at), (noon(1), noon(2)));
    assert!(Ticket::of(&first) < Ticket::of(&second));
}

#[test]
fn a_refused_call_goes_back_in_line_and_the_job_belongs_to_the_intent_it_carries() {
    let facts = vec![
        requested(),
        (1, Body::Verified { contents_read: false, grounds: None, staged: Vec::new() }),
        (1, Body::Admitted {}),
        intended("a"),
        (1, Body::Refused { intent: "a".to_owned(), message: "no right".to_owned() }),
        (1, Body::Blocked { reason: "no right".to_owned(), pause: None }),
        intended("b"),
        intended("c"),
        (1, Body::Submitted { intent: "b".to_owned(), job: "jobs/1".to_owned() }),
    ];
    let (run, _) = Run::fold(&ledger(facts.clone())).unwrap();
    assert_eq!(run.submitted_by.unwrap().output, "gs://o/b/");
    assert_eq!(run.blocked, None);
    check(
        facts,
        &expect![[r"
        requested -> attempt 1 Requested
        verified -> attempt 1 Verified
        admitted -> attempt 1 Admitted, says queued
        intended -> attempt 1 Intended
        refused -> attempt 1 Admitted
        blocked -> attempt 1 Admitted, says queued
        intended -> attempt 1 Intended
        intended -> attempt 1 Intended
        submitted -> attempt 1 Submitted, says submitted
    "]],
    );
}

#[test]
fn a_surplus_job_changes_nothing_before_or_after_the_end() {
    let surplus = || Body::Surplus { intent: "a".to_owned(), job: "jobs/2".to_owned() };
    let facts = vec![
        requested(),
        (1, surplus()),
        (1, finished(Outcome::Succeeded)),
        (1, surplus()),
        retried(2, 11),
        (1, surplus()),
    ];
    check(
        facts,
        &expect![[r"
            requested -> attempt 1 Requested
            surplus -> attempt 1 Requested
            finished -> attempt 1 Finished, says completed
            surplus -> attempt 1 Finished
            retried -> attempt 2 Requested
            surplus -> attempt 2 Requested
        "]],
    );
}

#[test]
fn what_blocks_a_run_is_over_when_that_is_said_or_it_has_a_job() {
    let pause = Some("p1".to_owned());
    let blocked = || (1, Body::Blocked { reason: "paused".to_owned(), pause: pause.clone() });
    let waits = vec![
        requested(),
        (1, Body::Verified { contents_read: false, grounds: None, staged: Vec::new() }),
        (1, Body::Admitted {}),
        blocked(),
    ];
    let after = |more: Vec<(u32, Body)>| {
        let (run, _) = Run::fold(&ledger([waits.clone(), more].concat())).unwrap();
        (run.blocked, run.pause)
    };
    assert_eq!(after(vec![]), (Some("paused".to_owned()), pause.clone()));
    assert_eq!(after(vec![(1, Body::Unblocked {})]), (None, None));
    let other = Body::Blocked { reason: "no right".to_owned(), pause: None };
    assert_eq!(after(vec![(1, other)]), (Some("no right".to_owned()), None));
    let job = Body::Submitted { intent: "a".to_owned(), job: "jobs/1".to_owned() };
    assert_eq!(after(vec![intended("a"), (1, job)]), (None, None));
    assert_eq!(after(vec![(1, finished(Outcome::Failed)), retried(2, 11)]), (None, None));
}

#[test]
fn every_ci_job_that_announced_the_request_is_remembered() {
    let facts = vec![requested(), (1, Body::Duplicate { ci_job: 11, pipeline_id: None })];
    let (run, events) = Run::fold(&ledger(facts)).unwrap();
    assert_eq!(run.ci_jobs.into_iter().collect::<Vec<_>>(), [10, 11]);
    assert_eq!(events, []);
}

#[test]
fn facts_that_were_tampered_with_do_not_fold() {
    let facts = || {
        ledger(vec![
            requested(),
            (1, Body::Verified { contents_read: false, grounds: None, staged: Vec::new() }),
            (1, Body::Admitted {}),
        ])
    };
    let mut swapped = facts();
    swapped.swap(1, 2);
    let mut missing = facts();
    missing.remove(1);
    let mut changed = facts();
    changed[1].fact.actor = "somebody else".to_owned();
    changed[1] = Entry::decode(&changed[1].fact.encode()).unwrap();
    // Attempts that do not begin at 1 could run out of numbers.
    let last = |body| (u32::MAX, body);
    let later =
        ledger(vec![last(requested().1), last(finished(Outcome::Failed)), retried(u32::MAX, 11)]);
    let cases = [
        ("a later attempt", later, FoldError::NotRequested),
        ("none", vec![], FoldError::Empty),
        ("no request", facts()[1..].to_vec(), FoldError::NotRequested),
        ("swapped", swapped, FoldError::Position { expected: 1, found: 2 }),
        ("missing", missing, FoldError::Position { expected: 1, found: 2 }),
        ("changed", changed, FoldError::Chain(2)),
    ];
    for (name, entries, expected) in cases {
        assert_eq!(Run::fold(&entries).map(|_| ()), Err(expected), "{name}");
    }
}

#[test]
fn a_fact_of_a_newer_version_is_told_from_garbage() {
    let entry = &ledger(vec![requested()])[0];
    let text = String::from_utf8(entry.fact.encode()).unwrap();
    let newer = text.replace(r#""kind":"requested""#, r#""kind":"teleported""#);
    assert!(matches!(
        Entry::decode(newer.as_bytes()),
        Err(DecodeError::UnknownKind(kind)) if kind == "teleported"
    ));
    assert!(matches!(Entry::decode(b"{}"), Err(DecodeError::Malformed(_))));
}

#[test]
fn a_retry_takes_the_inputs_as_they_are_pinned_now() {
    let mut again = request();
    (again.gitlab.job_id, again.gitlab.pipeline_id) = (11, 2);
    let pinned = Some(Box::new(again.clone()));
    let retried =
        (2, Body::Retried { request: pinned, reason: None, operator: None, asked_at: noon(2) });
    let rejected = || (1, Body::Rejected { reasons: vec!["gone".to_owned()], grounds: None });
    let (run, _) = Run::fold(&ledger(vec![requested(), rejected(), retried.clone()])).unwrap();
    assert_eq!((run.attempt, &run.request), (2, &again));
    assert_eq!(run.pipeline_id, 2);
    // One that comes while the run goes on is late: its job is known, and nothing else changes.
    let (run, _) = Run::fold(&ledger(vec![requested(), retried])).unwrap();
    assert_eq!((run.attempt, &run.request), (1, &request()));
    assert!(run.ci_jobs.contains(&11));
}

#[test]
fn a_wait_in_line_counts_from_when_the_run_was_let_in() {
    let verified =
        || (1, Body::Verified { contents_read: false, grounds: None, staged: Vec::new() });
    let admitted = vec![requested(), verified(), (1, Body::Admitted {})];
    let hours = |count| noon(3) + jiff::SignedDuration::from_hours(count);
    let (run, _) = Run::fold(&ledger(admitted.clone())).unwrap();
    assert_eq!((run.asked_at, run.waits_since), (noon(1), hours(2)));
    let blocked = Body::Blocked { reason: "no role".to_owned(), pause: None };
    let (run, _) = Run::fold(&ledger([admitted, vec![(1, blocked)]].concat())).unwrap();
    assert_eq!(run.waits_since, hours(2));
}
