//! What GitLab is to say about a run in each of its states.

use branchline_gitlab::User;
use branchline_ledger::Body;

use super::*;
use crate::testing::{finished, history, running};

fn check(facts: Vec<Body>, place: Option<u32>, state: StatusState, description: &str) {
    let wanted = wanted(&history(facts), place).status;
    assert_eq!((wanted.state, wanted.description.as_str()), (state, description));
}

fn running_then(more: impl IntoIterator<Item = Body>) -> Vec<Body> {
    running().into_iter().chain(more).collect()
}

#[test]
fn every_state_of_a_run_has_its_status() {
    use StatusState as S;
    let verified = || Body::Verified { contents_read: false, grounds: None, staged: Vec::new() };
    let reason = |it: &str| it.to_owned();
    check(vec![], None, S::Pending, "inputs are being checked");
    check(vec![verified()], None, S::Pending, "inputs were checked");
    let held = Body::Held { reason: reason("wants an approval") };
    check(vec![verified(), held], None, S::Pending, "held: wants an approval");
    let stalled = Body::Stalled { reason: reason("no answer") };
    check(vec![stalled], None, S::Pending, "stalled: no answer");
    check(vec![verified(), Body::Admitted {}], None, S::Pending, "waits in line");
    check(vec![verified(), Body::Admitted {}], Some(3), S::Pending, "waits in line, place 3");
    let blocked = Body::Blocked { reason: reason("actAs is missing"), pause: None };
    let blocked = vec![verified(), Body::Admitted {}, blocked];
    check(blocked.clone(), None, S::Pending, "blocked: actAs is missing");
    check(blocked, Some(3), S::Pending, "waits in line, place 3: actAs is missing");
    check(running()[..4].to_vec(), None, S::Pending, "submitted to Vertex AI");
    check(running(), None, S::Running, "training");
    let cancel = Body::CancelRequested { reason: reason("superseded"), request: None };
    check(running_then([cancel]), None, S::Running, "being cancelled: superseded");
    let rejected = Body::Rejected { reasons: vec![reason("a.\n"), reason("b.")], grounds: None };
    check(vec![rejected], None, S::Failed, "rejected: a. b.");
}

#[test]
fn every_outcome_has_its_status() {
    use StatusState as S;
    let end = |outcome, reason, metrics: &[_]| running_then([finished(outcome, reason, metrics)]);
    let metrics = [("accuracy", 0.97), ("b", 1.0), ("c", 2.5), ("d", 3.0)];
    let text = "succeeded: accuracy 0.97, b 1.0, c 2.5";
    check(end(Outcome::Succeeded, None, &metrics), None, S::Success, text);
    check(end(Outcome::Succeeded, None, &[]), None, S::Success, "succeeded");
    check(end(Outcome::Failed, Some("exit 1"), &[]), None, S::Failed, "failed: exit 1");
    check(end(Outcome::Expired, Some("72 h"), &[]), None, S::Failed, "expired: 72 h");
    check(end(Outcome::Cancelled, None, &[]), None, S::Canceled, "cancelled");
}

#[test]
fn a_next_attempt_says_so_and_begins_again() {
    let failed = finished(Outcome::Failed, Some("exit 1"), &[]);
    let again = running_then([
        failed,
        Body::Retried {
            request: None,
            reason: None,
            operator: None,
            asked_at: jiff::Timestamp::UNIX_EPOCH,
        },
    ]);
    check(again, None, StatusState::Pending, "inputs are being checked (attempt 2)");
}

#[test]
fn what_gitlab_refuses_is_not_asked_for() {
    let long = finished(Outcome::Failed, Some(&"ü\n".repeat(9_000)), &[]);
    let status = wanted(&history(running_then([long])), None).status;
    assert_eq!(status.description.chars().count(), TEXT_MAX);
    assert!(!status.description.contains('\n'));
    let url = status.target_url.unwrap();
    assert!(url.starts_with("https://console.cloud.google.com/") && url.len() <= TEXT_MAX, "{url}");

    let mut facts = running();
    let job = format!("projects/p/locations/r/customJobs/{}", "1".repeat(TEXT_MAX));
    facts[3] = Body::Submitted { intent: "n".to_owned(), job };
    assert_eq!(wanted(&history(facts), None).status.target_url, None);
}

#[test]
fn a_status_is_set_only_where_gitlab_would_move_on() {
    use StatusState as S;
    // Down: what stands there. Across: what is wanted.
    let across = [S::Pending, S::Running, S::Success, S::Failed, S::Canceled];
    let table = [
        (None, [true, true, true, true, true]),
        (Some(S::Pending), [false, true, true, true, true]),
        (Some(S::Running), [false, false, true, true, true]),
        (Some(S::Success), [true, true, false, true, true]),
        (Some(S::Failed), [true, true, true, false, true]),
        (Some(S::Canceled), [true, true, true, true, false]),
    ];
    for (found, row) in table {
        for (wanted, expected) in across.into_iter().zip(row) {
            assert_eq!(differs(found, wanted), expected, "{found:?} to {wanted:?}");
        }
    }
}

#[test]
fn only_our_own_row_in_our_own_pipeline_counts() {
    let row = |status, pipeline, author| CommitStatus {
        id: 1,
        status,
        description: None,
        target_url: None,
        pipeline_id: Some(pipeline),
        author: Some(User { id: author, username: String::new() }),
    };
    let rows = [
        row(StatusState::Success, 31, 9),
        row(StatusState::Failed, 30, 8),
        row(StatusState::Running, 30, 9),
        row(StatusState::Pending, 30, 9),
    ];
    assert_eq!(current(&rows, 9, Some(30)), Some(StatusState::Running));
    assert_eq!(current(&rows, 9, None), Some(StatusState::Success));
    assert_eq!(current(&rows, 7, Some(30)), None);
    assert_eq!(current(&rows, 9, Some(29)), None);
}
