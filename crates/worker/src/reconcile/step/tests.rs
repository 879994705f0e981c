//! The next step in every state, as tables.

use std::time::Duration;

use branchline_contract::{JobKind, Outcome};
use branchline_gcp::vertex::{Job, JobError, JobState};
use branchline_ledger::{Body, Ending, Wanted};

use super::{Answer, Found, Hold, Memory, Next, Sight, Sighting, Times, next, outcome};
use crate::testing::{admitted, custom_job, held, intended, intent, request, run, submitted};

const SEC: Duration = Duration::from_secs(1);
const TIMES: Times = Times {
    settle: SEC.saturating_mul(60),
    wait_max: SEC.saturating_mul(3600),
    waited: SEC,
    cancel_again: SEC.saturating_mul(60),
};

/// One line for what is to be done.
fn told(next: &Next) -> String {
    match next {
        Next::Append(Body::Finished(Ending { outcome, .. })) => format!("end {}", outcome.as_str()),
        Next::Append(body) => format!("append {}", body.kind()),
        Next::Conclude(_, outcome) => format!("conclude {}", outcome.as_str()),
        Next::Rest => "rest".to_owned(),
        Next::Dispatch => "dispatch".to_owned(),
        Next::Repeat => "repeat".to_owned(),
        Next::Settle => "settle".to_owned(),
        Next::Look => "look".to_owned(),
        Next::Cancel => "cancel".to_owned(),
        Next::Retry(_) => "retry".to_owned(),
    }
}

fn check(
    name: &str,
    facts: Vec<Body>,
    memory: &Memory,
    (now, times): (Duration, Times),
    expected: &str,
) {
    let run = run(&request(&custom_job()), facts);
    assert_eq!(told(&next(&run, memory, now, times)), expected, "{name}");
}

fn cancelled(mut facts: Vec<Body>) -> Vec<Body> {
    facts.push(Body::CancelRequested { reason: "enough".to_owned(), request: None });
    facts
}

fn sight(answer: Answer) -> Memory {
    let intent = Some(Sight { nonce: "n".to_owned(), since: SEC, answer });
    Memory { intent, ..Memory::default() }
}

fn sees(job: Sighting) -> Memory {
    Memory { job, ..Memory::default() }
}

fn job(state: JobState) -> Box<Job> {
    Box::new(Job {
        name: "jobs/1".to_owned(),
        kind: JobKind::CustomJob,
        state,
        labels: [].into(),
        error: None,
        created: None,
        ended: None,
        metrics: [].into(),
        model: None,
        best_trial: None,
    })
}

#[test]
fn a_run_waits_in_line_until_it_may_be_created() {
    let later = Memory { retry_at: SEC * 5, ..Memory::default() };
    let fresh = Memory::default();
    let long = Times { waited: SEC * 3601, ..TIMES };
    let at = |seconds| (SEC * seconds, TIMES);
    let stalled = || vec![Body::Stalled { reason: "no answer".to_owned() }];
    let verified = || admitted()[..1].to_vec();
    check("in intake", vec![], &fresh, at(0), "rest");
    check("verified", verified(), &fresh, at(0), "rest");
    check("stalled", stalled(), &fresh, at(0), "rest");
    check("too long in intake", vec![], &fresh, (SEC, long), "end expired");
    check("verified too long", verified(), &fresh, (SEC, long), "end expired");
    check("stalled too long", stalled(), &fresh, (SEC, long), "end expired");
    check("in line", admitted(), &fresh, at(0), "dispatch");
    check("backs off", admitted(), &later, at(4), "rest");
    check("backed off", admitted(), &later, at(5), "dispatch");
    check("too long", admitted(), &fresh, (SEC, long), "end expired");
    check("cancelled in intake", cancelled(vec![]), &fresh, at(0), "end cancelled");
    check("cancelled in line", cancelled(admitted()), &fresh, at(0), "end cancelled");
}

#[test]
fn an_intent_without_a_definite_answer_is_settled_before_anything_else_happens() {
    // The intent was first seen at 1 s, may take 10 s and settles for 60 s: over at 71 s.
    let found = Found { job: "jobs/1".to_owned(), nonce: "n".to_owned() };
    let at = |seconds| (SEC * seconds, TIMES);
    check("not yet noticed", intended(), &Memory::default(), at(9_999), "rest");
    check("under way", intended(), &sight(Answer::Unknown), at(11), "rest");
    check("settling", intended(), &sight(Answer::Unknown), at(70), "rest");
    check("settled", intended(), &sight(Answer::Unknown), at(71), "settle");
    check("cancelled meanwhile", cancelled(intended()), &sight(Answer::Unknown), at(70), "rest");
    check(
        "found",
        intended(),
        &sight(Answer::Settled(Some(found.clone()))),
        at(71),
        "append submitted",
    );
    let cancelled_found = sight(Answer::Settled(Some(found)));
    check(
        "cancelled and found",
        cancelled(intended()),
        &cancelled_found,
        at(71),
        "append submitted",
    );
    let nothing = sight(Answer::Settled(None));
    check("not found", intended(), &nothing, at(71), "dispatch");
    let long = Times { waited: SEC * 3601, ..TIMES };
    check("never an answer", intended(), &nothing, (SEC * 71, long), "end expired");
    check(
        "cancelled, not found",
        cancelled(intended()),
        &sight(Answer::Settled(None)),
        at(71),
        "end cancelled",
    );
}

#[test]
fn an_intent_that_met_the_quota_is_used_again_within_its_time() {
    let quota = |retry_at| Memory { retry_at, ..sight(Answer::Quota) };
    let at = |seconds| (SEC * seconds, TIMES);
    check("backs off", intended(), &quota(SEC * 5), at(4), "rest");
    check("again", intended(), &quota(SEC * 5), at(5), "repeat");
    check("its time is over", intended(), &quota(SEC * 5), at(11), "dispatch");
    check("cancelled", cancelled(intended()), &quota(SEC * 5), at(4), "end cancelled");
    let long = Times { waited: SEC * 3601, ..TIMES };
    check("too long", intended(), &quota(SEC * 5), (SEC * 5, long), "end expired");
}

#[test]
fn a_pause_holds_back_create_calls_and_nothing_else() {
    let hold = || Some(Hold { request: "p1".to_owned(), reason: "paused".to_owned() });
    let paused = |memory| Memory { pause: hold(), ..memory };
    let blocked = |mut facts: Vec<Body>, request: &str| {
        let pause = Some(request.to_owned());
        facts.push(Body::Blocked { reason: "paused".to_owned(), pause });
        facts
    };
    let fresh = Memory::default;
    let at = (SEC * 71, TIMES);
    check("said", admitted(), &paused(fresh()), at, "append blocked");
    check("held", blocked(admitted(), "p1"), &paused(fresh()), at, "rest");
    check("paused anew", blocked(admitted(), "p0"), &paused(fresh()), at, "append blocked");
    check("resumed", blocked(admitted(), "p1"), &fresh(), at, "append unblocked");
    check("cancelled", cancelled(admitted()), &paused(fresh()), at, "end cancelled");
    let long = (SEC, Times { waited: SEC * 3601, ..TIMES });
    check("too long", blocked(admitted(), "p1"), &paused(fresh()), long, "end expired");
    let later = Memory { retry_at: SEC * 99, ..fresh() };
    check("backs off", admitted(), &paused(later.clone()), at, "rest");
    check("resumed, backs off", blocked(admitted(), "p1"), &later, at, "append unblocked");

    let unknown = sight(Answer::Unknown);
    check("settles", intended(), &paused(unknown), at, "settle");
    let quota = sight(Answer::Quota);
    check("no repeat", blocked(intended(), "p1"), &paused(quota), (SEC * 5, TIMES), "rest");
    let settled = sight(Answer::Settled(None));
    check("no next intent", blocked(intended(), "p1"), &paused(settled), at, "rest");
    let found = Found { job: "jobs/1".to_owned(), nonce: "n".to_owned() };
    let found = sight(Answer::Settled(Some(found)));
    check("found", intended(), &paused(found), at, "append submitted");
    let running = sees(Sighting::Live(JobState::Running));
    check("goes on", submitted(), &paused(running), at, "append running");
}

#[test]
fn a_job_is_looked_at_by_name_only_when_the_list_does_not_show_it() {
    let at = |seconds| (SEC * seconds, TIMES);
    let missing = |since| Memory { missing_since: Some(since), ..sees(Sighting::Missing) };
    check("no list yet", submitted(), &sees(Sighting::None), at(0), "rest");
    check("pending", submitted(), &sees(Sighting::Live(JobState::Pending)), at(0), "rest");
    check(
        "running",
        submitted(),
        &sees(Sighting::Live(JobState::Running)),
        at(0),
        "append running",
    );
    check("not listed", submitted(), &sees(Sighting::NotListed), at(0), "look");
    check("just missing", submitted(), &missing(SEC), at(60), "rest");
    check("deleted", submitted(), &missing(SEC), at(61), "end failed");
    let looked = |state| sees(Sighting::Looked(job(state)));
    check("ended", submitted(), &looked(JobState::Succeeded), at(0), "conclude succeeded");
    check("list was late", submitted(), &looked(JobState::Running), at(0), "append running");
}

#[test]
fn a_cancel_is_sent_once_a_while_and_vertex_ai_says_how_it_ends() {
    let at = |seconds| (SEC * seconds, TIMES);
    let running = || sees(Sighting::Live(JobState::Running));
    let sent = || Memory { cancel_sent: Some(SEC), ..running() };
    check("first", cancelled(submitted()), &running(), at(1), "cancel");
    check("just sent", cancelled(submitted()), &sent(), at(60), "append running");
    check("again", cancelled(submitted()), &sent(), at(61), "cancel");
    let cancelling = sees(Sighting::Live(JobState::Cancelling));
    check("on its way", cancelled(submitted()), &cancelling, at(1), "rest");
    let won = sees(Sighting::Looked(job(JobState::Succeeded)));
    check("too late", cancelled(submitted()), &won, at(1), "conclude succeeded");
}

#[test]
fn a_job_that_failed_for_want_of_quota_is_tried_again_where_that_is_allowed() {
    let failed = |code, message: &str| {
        let error = Some(JobError { code, message: message.to_owned() });
        let looked = Job { error, ..*job(JobState::Failed) };
        sees(Sighting::Looked(Box::new(looked)))
    };
    let check = |name: &str, attempts_max: u32, facts, memory: &Memory, expected: &str| {
        let mut request = request(&custom_job());
        request.attempts_max = attempts_max.try_into().unwrap();
        let next = next(&run(&request, facts), memory, SEC, TIMES);
        assert_eq!(told(&next), expected, "{name}");
    };
    let quota = failed(3, "The following quota metrics exceed quota limits: x/t4");
    check("no more attempts", 1, submitted(), &quota, "conclude failed");
    check("one more", 2, submitted(), &quota, "retry");
    check("cancelled", 2, cancelled(submitted()), &quota, "conclude failed");
    check("no machines", 2, submitted(), &failed(8, "Resources are insufficient."), "retry");
    check("its own fault", 2, submitted(), &failed(3, "non-zero status of 1"), "conclude failed");
    let memory = failed(8, "The replica ran out-of-memory and exited with a non-zero status of 9");
    check("its own memory", 2, submitted(), &memory, "conclude failed");
    let mut second = submitted();
    let reason = Some("quota".to_owned());
    second.push(Body::Retried {
        request: None,
        reason,
        operator: None,
        asked_at: jiff::Timestamp::UNIX_EPOCH,
    });
    second.push(Body::Intended(intent()));
    second.push(Body::Submitted { intent: intent().nonce, job: "jobs/2".to_owned() });
    check("the last one", 2, second.clone(), &quota, "conclude failed");
    check("not the last one", 3, second, &quota, "retry");
}

#[test]
fn a_finished_run_rests_whatever_is_seen() {
    let mut facts = submitted();
    facts.push(Body::Finished(Ending {
        outcome: Outcome::Succeeded,
        reason: None,
        metrics: [].into(),
        model_uri: None,
        model_files: Vec::new(),
    }));
    for memory in
        [sees(Sighting::NotListed), sees(Sighting::Live(JobState::Running)), sight(Answer::Unknown)]
    {
        check("finished", cancelled(facts.clone()), &memory, (SEC * 9_999, TIMES), "rest");
    }
}

#[test]
fn every_state_of_a_job_is_live_or_an_outcome() {
    let cases = [
        (JobState::Queued, None),
        (JobState::Pending, None),
        (JobState::Running, None),
        (JobState::Paused, None),
        (JobState::Updating, None),
        (JobState::Cancelling, None),
        (JobState::Unknown("JOB_STATE_NEW".to_owned()), None),
        (JobState::Succeeded, Some("succeeded")),
        (JobState::Failed, Some("failed")),
        (JobState::PartiallySucceeded, Some("failed")),
        (JobState::Cancelled, Some("cancelled")),
        (JobState::Expired, Some("expired")),
    ];
    for (state, expected) in cases {
        assert_eq!(outcome(&state).map(Outcome::as_str), expected, "{state:?}");
    }
}

#[test]
fn a_run_that_nobody_approves_expires() {
    let held = || held(Wanted { merge_request: 1, operator: false });
    let long = Times { waited: SEC * 3601, ..TIMES };
    check("held", held(), &Memory::default(), (SEC, TIMES), "rest");
    check("cancelled", cancelled(held()), &Memory::default(), (SEC, long), "end cancelled");
    check("too long", held(), &Memory::default(), (SEC, long), "end expired");
}
