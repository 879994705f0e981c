//! Which runs an operator may have tried once more, and on what grounds.

use branchline_ledger::{Ending, Wanted};

use super::*;
use crate::testing::{admitted, custom_job, held, history, request, submitted};

const ANYBODY: &str = "rules: [{name: anybody, forks: true}]";

fn ended(mut facts: Vec<Body>, outcome: Outcome) -> Vec<Body> {
    facts.push(Body::Finished(Ending::without_job(outcome, "so".to_owned())));
    facts
}

fn retry(attempt: Option<u32>, force: bool) -> Retry {
    let run = history(&request(&custom_job()), vec![]).run.id;
    Retry { run, project_id: 7, attempt, force }
}

#[test]
fn an_attempt_begins_behind_an_end_and_never_beside_a_live_one() {
    let rejected = Body::Rejected { reasons: vec!["no".to_owned()], grounds: None };
    let cases = [
        ("asked for", vec![], (None, false), Err("has not ended")),
        ("waits", admitted(), (None, false), Err("has not ended")),
        ("trains", submitted(), (None, true), Err("has not ended")),
        ("failed", ended(submitted(), Outcome::Failed), (None, false), Ok(())),
        ("cancelled", ended(submitted(), Outcome::Cancelled), (Some(1), false), Ok(())),
        ("expired", ended(admitted(), Outcome::Expired), (None, false), Ok(())),
        ("another", ended(submitted(), Outcome::Failed), (Some(2), false), Err("in force")),
        ("succeeded", ended(submitted(), Outcome::Succeeded), (None, false), Err("--force")),
        ("forced", ended(submitted(), Outcome::Succeeded), (None, true), Ok(())),
        ("rejected", vec![rejected], (None, true), Err("was rejected")),
    ];
    for (name, facts, (attempt, force), expected) in cases {
        let run = history(&request(&custom_job()), facts).run;
        let told = may_begin(&run, &retry(attempt, force));
        match (&told, expected) {
            (Ok(()), Ok(())) => {}
            (Err(told), Err(part)) => assert!(told.contains(part), "{name}: {told}"),
            _ => panic!("{name}: {told:?}"),
        }
    }
}

#[test]
fn what_was_proven_is_decided_anew_by_the_policy_in_force() {
    let conditions = |staging, verify_sha256| Conditions {
        regions: ["europe-west4".parse().unwrap()].into(),
        staging,
        verify_sha256,
    };
    let plain = conditions(false, false);
    let elsewhere = Conditions { regions: BTreeSet::new(), ..plain.clone() };
    let anna = "rules: [{name: anna, match: claims.user_email == 'anna@example.com'}]";
    let ben = "rules: [{name: ben, match: claims.user_email == 'ben@example.com'}]";
    let held_now = "rules: [{name: held, forks: true, approval: {operators: true}}]";
    let once_held = || ended(held(Wanted { merge_request: 0, operator: true }), Outcome::Expired);
    let cases = [
        ("allowed", once_held(), ANYBODY, &plain, Ok(None)),
        ("by claims", once_held(), anna, &plain, Ok(None)),
        ("by others", once_held(), ben, &plain, Err("policy")),
        ("held", once_held(), held_now, &plain, Ok(Some(true))),
        ("no region", once_held(), ANYBODY, &elsewhere, Err("europe-west4 is not allowed")),
        ("no copies", once_held(), ANYBODY, &conditions(true, false), Err("never staged")),
        ("not read", once_held(), ANYBODY, &conditions(false, true), Err("never compared")),
        ("nothing proven", ended(vec![], Outcome::Cancelled), ANYBODY, &plain, Err("proven")),
    ];
    for (name, facts, policy, conditions, expected) in cases {
        let history = history(&request(&custom_job()), facts);
        let policy = Policy::parse(policy).unwrap();
        let told = decide(&history, conditions, (&policy, None));
        match (&told, expected) {
            (Ok(grounds), Ok(wanted)) => {
                assert_eq!(grounds.wanted.map(|it| it.operator), wanted, "{name}");
                assert_eq!(grounds.policy, policy.digest(), "{name}");
                assert_eq!(grounds.claims["user_email"], "anna@example.com", "{name}");
            }
            (Err(told), Err(part)) => assert!(told.contains(part), "{name}: {told}"),
            _ => panic!("{name}: {told:?}"),
        }
    }
}
