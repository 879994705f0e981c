//! What an operator who approves a run is told, and which of GitLab's answers are of use.

use branchline_contract::Request;
use branchline_ledger::{Approval, Body, Verdict, Wanted};
use serde_json::json;

use super::super::requests::Next;
use super::{approve, is_still_asked, is_told_by};
use crate::testing::{admitted, custom_job, held, request, run};

const ONE: Wanted = Wanted { merge_request: 1, operator: false };
const OPERATOR: Wanted = Wanted { merge_request: 0, operator: true };

#[test]
fn an_operator_approves_what_is_held_for_operators_and_not_what_they_asked_for() {
    // User 7 of GitLab asked, whose address there is anna@example.com.
    let approved = |wanted| {
        let mut facts = held(wanted);
        let by = vec!["ada@example.com".to_owned()];
        facts.push(Body::Approved { given: Approval::Operator, by, reason: String::new() });
        facts
    };
    let both = Wanted { merge_request: 1, operator: true };
    let (done, refused) = (Some(Verdict::Done), Some(Verdict::Refused));
    let ada = ("ada@example.com", &[8][..]);
    let (anna, as_account) = (("anna@example.com", &[9][..]), "anna@acme.iam.gserviceaccount.com");
    let cases = [
        ("held", held(OPERATOR), None, ada, None),
        ("held for both", held(both), None, ada, None),
        ("this attempt", held(OPERATOR), Some(1), ada, None),
        ("another attempt", held(OPERATOR), Some(2), ada, refused),
        ("the requester's user", held(OPERATOR), None, (as_account, &[7][..]), refused),
        ("one of several users", held(OPERATOR), None, (as_account, &[8, 7][..]), refused),
        ("nobody in GitLab", held(OPERATOR), None, (as_account, &[][..]), refused),
        ("the requester's address", held(OPERATOR), None, anna, refused),
        ("in other letters", held(OPERATOR), None, ("Anna@Example.com", &[9][..]), refused),
        ("held for its merge request", held(ONE), None, ada, refused),
        ("approved before", approved(OPERATOR), None, ada, done),
        ("approved before, and still held", approved(both), None, ada, done),
        ("never held", admitted(), None, ada, refused),
        ("not checked yet", vec![], None, ada, refused),
    ];
    for (name, facts, attempt, (operator, users), expected) in cases {
        let it = run(&request(&custom_job()), facts);
        let asked = json!({
            "id": "a1", "kind": "approve", "run": it.id, "actor": operator, "reason": "fine",
        });
        let asked = Request::decode(asked.to_string().as_bytes()).unwrap();
        let next = approve(&it, attempt, &asked, users);
        let told = match &next {
            Next::Append(_) => None,
            Next::Answer(verdict, _) => Some(*verdict),
        };
        assert_eq!(told, expected, "{name}: {next:?}");
    }
}

#[test]
fn only_a_run_s_own_gitlab_is_asked_about_it() {
    let run = run(&request(&custom_job()), held(ONE));
    let cases = [("gitlab.example.com", true), ("gitlab.example.com:8443", false), ("", false)];
    for (host, expected) in cases {
        assert_eq!(is_told_by(host, &run), expected, "{host}");
    }
}

#[test]
fn what_gitlab_said_of_another_attempt_or_of_what_waits_no_more_is_not_used() {
    let mut approved = held(ONE);
    let (given, by) = (Approval::MergeRequest, vec!["ada".to_owned()]);
    approved.push(Body::Approved { given, by, reason: String::new() });
    let cases = [
        ("held", held(ONE), 1, true),
        ("another attempt", held(ONE), 2, false),
        ("approved meanwhile", approved, 1, false),
        ("held for an operator", held(OPERATOR), 1, false),
    ];
    for (name, facts, attempt, expected) in cases {
        let run = run(&request(&custom_job()), facts);
        assert_eq!(is_still_asked(&run, attempt), expected, "{name}");
    }
}
