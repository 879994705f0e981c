//! Runs that are held until they are approved.

use std::collections::BTreeMap;

use branchline_contract::Outcome;
use expect_test::expect;

use super::{check, finished, ledger, requested, retried};
use crate::fact::{Approval, Body, Decided, Grounds, Wanted};
use crate::run::Run;
use crate::state::State;

fn verified(wanted: Wanted) -> (u32, Body) {
    let grounds = Grounds {
        decided: Decided::NeedsApproval,
        claims: BTreeMap::new(),
        groups_direct: None,
        policy: String::new(),
        rules: Vec::new(),
        wanted: Some(wanted),
        merge_requests: None,
    };
    (
        1,
        Body::Verified {
            contents_read: false,
            grounds: Some(Box::new(grounds)),
            staged: Vec::new(),
        },
    )
}

fn held() -> (u32, Body) {
    (1, Body::Held { reason: "it wants".to_owned() })
}

fn approved(given: Approval) -> (u32, Body) {
    (1, Body::Approved { given, by: vec!["ada".to_owned()], reason: "fine".to_owned() })
}

const BOTH: Wanted = Wanted { merge_request: 2, operator: true };

#[test]
fn the_last_approval_that_is_wanted_lets_a_run_in() {
    let facts = vec![
        requested(),
        verified(BOTH),
        held(),
        approved(Approval::Operator),
        approved(Approval::Operator),
        approved(Approval::MergeRequest),
        approved(Approval::MergeRequest),
    ];
    check(
        facts,
        &expect![[r"
        requested -> attempt 1 Requested
        verified -> attempt 1 Verified
        held -> attempt 1 Held, says held
        approved -> attempt 1 Held, says held
        approved -> attempt 1 Held, says held
        approved -> attempt 1 Admitted, says queued
        approved -> attempt 1 Admitted
    "]],
    );
}

#[test]
fn a_run_that_wants_an_approval_is_not_admitted_without() {
    let facts = vec![
        requested(),
        verified(BOTH),
        (1, Body::Admitted {}),
        approved(Approval::Operator),
        held(),
        (1, Body::Admitted {}),
    ];
    check(
        facts,
        &expect![[r"
        requested -> attempt 1 Requested
        verified -> attempt 1 Verified
        admitted -> attempt 1 Verified
        approved -> attempt 1 Verified
        held -> attempt 1 Held, says held
        admitted -> attempt 1 Held
    "]],
    );
}

#[test]
fn an_approval_is_of_one_attempt() {
    let operator = Wanted { merge_request: 0, operator: true };
    let second = |(_, body)| (2, body);
    let facts = vec![
        requested(),
        verified(operator),
        held(),
        approved(Approval::Operator),
        (1, finished(Outcome::Failed)),
        retried(2, 11),
        approved(Approval::Operator),
        second(verified(operator)),
        second(held()),
        second(approved(Approval::Operator)),
    ];
    check(
        facts,
        &expect![[r"
        requested -> attempt 1 Requested
        verified -> attempt 1 Verified
        held -> attempt 1 Held, says held
        approved -> attempt 1 Admitted, says queued
        finished -> attempt 1 Finished, says completed
        retried -> attempt 2 Requested
        approved -> attempt 2 Requested
        verified -> attempt 2 Verified
        held -> attempt 2 Held, says held
        approved -> attempt 2 Admitted, says queued
    "]],
    );
}

#[test]
fn what_is_still_wanted_is_told() {
    let facts = ledger(vec![requested(), verified(BOTH), held(), approved(Approval::MergeRequest)]);
    let (run, _) = Run::fold(&facts).unwrap();
    let wanted = "it wants an operator's approval (runs approve)".to_owned();
    assert_eq!(run.state, State::Held(wanted));
    // A wait for approval counts from the hold, whatever is approved meanwhile.
    assert_eq!(run.waits_since, facts[2].fact.time);
    assert_eq!(
        BOTH.to_string(),
        "it wants 2 approvals of its merge request and an operator's approval (runs approve)"
    );
}
