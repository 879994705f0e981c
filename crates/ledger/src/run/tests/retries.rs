//! Attempts that an operator asks for.

use std::collections::BTreeMap;

use super::*;
use crate::fact::Reopened;
use crate::grounds::{Decided, Grounds, Wanted};
use crate::state::State;

fn grounds(wanted: Option<Wanted>) -> Grounds {
    Grounds {
        decided: if wanted.is_some() { Decided::NeedsApproval } else { Decided::Allowed },
        claims: BTreeMap::new(),
        groups_direct: None,
        policy: "new".to_owned(),
        rules: Vec::new(),
        wanted,
        merge_requests: None,
    }
}

fn reopened(attempt: u32, wanted: Option<Wanted>) -> (u32, Body) {
    let operator = Some(Box::new(Reopened {
        request: "r1".to_owned(),
        by: "anna".to_owned(),
        reason: "the zone is back".to_owned(),
        grounds: Box::new(grounds(wanted)),
    }));
    (attempt, Body::Retried { request: None, reason: None, operator, asked_at: noon(2) })
}

fn submitted() -> Vec<(u32, Body)> {
    let copy = json!({
        "name": "data", "uri": "gs://staging/7/iris/data/a", "generation": 1, "size": 1,
        "crc32c": "AAAAAA==",
    });
    let staged = vec![serde_json::from_value(copy).unwrap()];
    let grounds = Some(Box::new(grounds(None)));
    vec![
        requested(),
        (1, Body::Verified { contents_read: true, grounds, staged }),
        (1, Body::Admitted {}),
        intended("a"),
        (1, Body::Submitted { intent: "a".to_owned(), job: "jobs/1".to_owned() }),
    ]
}

#[test]
fn an_operators_retry_puts_an_ended_run_in_line_with_its_inputs() {
    let ended = (1, finished(Outcome::Failed));
    check(
        [submitted(), vec![reopened(2, None), ended.clone(), reopened(3, None), reopened(2, None)]]
            .concat(),
        &expect![[r"
            requested -> attempt 1 Requested
            verified -> attempt 1 Verified
            admitted -> attempt 1 Admitted, says queued
            intended -> attempt 1 Intended
            submitted -> attempt 1 Submitted, says submitted
            retried -> attempt 1 Submitted
            finished -> attempt 1 Finished, says completed
            retried -> attempt 1 Finished
            retried -> attempt 2 Admitted, says queued
        "]],
    );
    let facts = ledger([submitted(), vec![ended, reopened(2, None)]].concat());
    let run = Run::fold(&facts).unwrap().0;
    assert_eq!((run.asked_at, run.waits_since), (noon(2), facts.last().unwrap().fact.time));
    assert_eq!((run.job, run.intents.len(), run.staged.len()), (None, 0, 1));
    assert_eq!(run.retried_by.as_deref(), Some("anna"));
    assert_eq!(run.grounds.unwrap().policy, "new");
}

#[test]
fn an_operators_retry_is_held_where_the_policy_wants_an_approval() {
    let wanted = Wanted { merge_request: 0, operator: true };
    let facts = [submitted(), vec![(1, finished(Outcome::Failed)), reopened(2, Some(wanted))]];
    let (run, events) = Run::fold(&ledger(facts.concat())).unwrap();
    assert!(matches!(run.state, State::Held(_)), "{:?}", run.state);
    assert_eq!((run.wanted, events.last().unwrap().attempt), (wanted, 2));
}

#[test]
fn a_fact_of_an_earlier_version_has_the_bytes_that_were_hashed() {
    let (_, Body::Retried { reason, asked_at, .. }) = reopened(2, None) else { panic!() };
    let body = Body::Retried { request: None, reason, operator: None, asked_at };
    let fact = Fact { body, ..ledger(vec![requested()]).remove(0).fact };
    let text = String::from_utf8(fact.encode()).unwrap();
    assert!(text.ends_with(r#""body":{"asked_at":"2026-11-02T12:00:00Z"}}"#), "{text}");
    assert_eq!(Entry::decode(text.as_bytes()).unwrap().fact, fact);
}
