//! Whose approvals count, as tables.

use branchline_contract::Request;
use branchline_gitlab::User;
use branchline_ledger::{Approval, Body, Verdict, Wanted};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::super::requests::Next;
use super::{Given, MergeRequest, Version, approve, approvers, is_of};
use crate::testing::{admitted, custom_job, held, request, run};

const SHA: &str = "0123456789012345678901234567890123456789";
const OTHER: &str = "9999999999999999999999999999999999999999";
const ONE: Wanted = Wanted { merge_request: 1, operator: false };
const OPERATOR: Wanted = Wanted { merge_request: 0, operator: true };

fn pushed() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

fn user(id: u64) -> User {
    User { id, username: format!("user{id}") }
}

/// An approval so many seconds after the push.
fn given(id: u64, after: i64) -> Given {
    Given { user: user(id), approved_at: Some(pushed() + SignedDuration::from_secs(after)) }
}

fn merge_request(state: &str, sha: &str, author: Option<u64>) -> MergeRequest {
    MergeRequest {
        iid: 3,
        project_id: 7,
        state: state.to_owned(),
        source_branch: "try".to_owned(),
        target_branch: "main".to_owned(),
        sha: Some(sha.to_owned()),
        author: author.map(user),
    }
}

fn version(sha: &str) -> Version {
    Version { head_commit_sha: sha.to_owned(), created_at: pushed() }
}

#[test]
fn an_approval_counts_for_the_commit_that_it_saw_and_from_somebody_else() {
    let timeless = Given { user: user(4), approved_at: None };
    let cases = [
        ("another's", vec![given(4, 60)], Some(SHA), Some(5), 1),
        ("two others'", vec![given(4, 60), given(6, 60)], Some(SHA), Some(5), 2),
        ("twice by one", vec![given(4, 60), given(4, 61)], Some(SHA), Some(5), 1),
        ("before the push", vec![given(4, -1)], Some(SHA), Some(5), 0),
        ("at the push", vec![given(4, 0)], Some(SHA), Some(5), 0),
        ("at no known time", vec![timeless], Some(SHA), Some(5), 0),
        ("the author's", vec![given(5, 60)], Some(SHA), Some(5), 0),
        ("the requester's", vec![given(7, 60)], Some(SHA), Some(5), 0),
        ("of a later push", vec![given(4, 60)], Some(OTHER), Some(5), 0),
        ("of nothing known", vec![given(4, 60)], None, Some(5), 0),
        ("of an unknown author", vec![given(4, 60)], Some(SHA), None, 0),
    ];
    let run = run(&request(&custom_job()), held(ONE));
    for (name, approvals, newest, author, expected) in cases {
        let newest = newest.map(version);
        let it = merge_request("opened", SHA, author);
        let found = approvers(&run, &it, newest.as_ref(), &approvals);
        assert_eq!(found.len(), expected, "{name}");
    }
}

#[test]
fn a_run_whose_requester_is_not_known_has_no_approvers() {
    let mut run = run(&request(&custom_job()), held(ONE));
    run.grounds.as_mut().unwrap().claims.clear();
    let it = merge_request("opened", SHA, Some(5));
    assert!(approvers(&run, &it, Some(&version(SHA)), &[given(4, 60)]).is_empty());
}

#[test]
fn a_merge_request_of_another_commit_or_a_closed_one_approves_nothing() {
    let run = run(&request(&custom_job()), held(ONE));
    let cases = [("opened", SHA, true), ("merged", SHA, true), ("closed", SHA, false)];
    for (state, sha, expected) in cases.into_iter().chain([("opened", OTHER, false)]) {
        assert_eq!(is_of(&run, &merge_request(state, sha, Some(5))), expected, "{state} {sha}");
    }
}

#[test]
fn an_operator_approves_what_is_held_for_operators_and_not_what_they_asked_for() {
    let approved = |wanted| {
        let mut facts = held(wanted);
        let by = vec!["ada@example.com".to_owned()];
        facts.push(Body::Approved { given: Approval::Operator, by, reason: String::new() });
        facts
    };
    let both = Wanted { merge_request: 1, operator: true };
    let (done, refused) = (Some(Verdict::Done), Some(Verdict::Refused));
    let ada = "ada@example.com";
    let cases = [
        ("held", held(OPERATOR), None, ada, None),
        ("held for both", held(both), None, ada, None),
        ("this attempt", held(OPERATOR), Some(1), ada, None),
        ("another attempt", held(OPERATOR), Some(2), ada, refused),
        ("the requester", held(OPERATOR), None, "anna@example.com", refused),
        ("the requester in other letters", held(OPERATOR), None, "Anna@Example.com", refused),
        ("held for its merge request", held(ONE), None, ada, refused),
        ("approved before", approved(OPERATOR), None, ada, done),
        ("approved before, and still held", approved(both), None, ada, done),
        ("never held", admitted(), None, ada, refused),
        ("not checked yet", vec![], None, ada, refused),
    ];
    for (name, facts, attempt, operator, expected) in cases {
        let it = run(&request(&custom_job()), facts);
        let asked = json!({
            "id": "a1", "kind": "approve", "run": it.id, "actor": operator, "reason": "fine",
        });
        let asked = Request::decode(asked.to_string().as_bytes()).unwrap();
        let next = approve(&it, attempt, &asked);
        let told = match &next {
            Next::Append(_) => None,
            Next::Answer(verdict, _) => Some(*verdict),
        };
        assert_eq!(told, expected, "{name}: {next:?}");
    }
}
