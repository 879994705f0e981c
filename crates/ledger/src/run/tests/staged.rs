//! Copies of the inputs belong to the attempt that was verified with them.

use branchline_contract::{Artifact, Outcome};
use serde_json::{Value, json};

use super::{finished, intended, ledger, noon, requested, retried};
use crate::fact::{Body, Entry};
use crate::run::Run;

fn copies() -> Vec<Artifact> {
    let copy = json!([{
        "name": "data", "uri": "gs://staging/7/iris-0/data/iris.csv",
        "generation": 5, "size": 1, "crc32c": "AAAAAA=="
    }]);
    serde_json::from_value(copy).unwrap()
}

fn verified() -> (u32, Body) {
    (1, Body::Verified { contents_read: false, grounds: None, staged: copies() })
}

fn staged(facts: Vec<(u32, Body)>) -> Vec<Artifact> {
    Run::fold(&ledger(facts)).unwrap().0.staged
}

#[test]
fn an_attempt_trains_on_its_copies_until_a_ci_job_asks_for_another() {
    let submitted = Body::Submitted { intent: "a".to_owned(), job: "jobs/1".to_owned() };
    let by_itself = Body::Retried {
        request: None,
        reason: Some("quota".to_owned()),
        operator: None,
        asked_at: noon(1),
    };
    let begun = || vec![requested(), verified(), (1, Body::Admitted {}), intended("a")];
    let again = [(1, submitted), (2, by_itself)];
    let asked = [(1, finished(Outcome::Failed)), retried(2, 11)];
    assert_eq!(staged(vec![requested()]), []);
    assert_eq!(staged(begun()), copies());
    assert_eq!(staged(begun().into_iter().chain(again).collect()), copies());
    assert_eq!(staged(begun().into_iter().chain(asked).collect()), []);
}

#[test]
fn a_fact_without_copies_is_written_and_read_as_before_there_were_any() {
    let [_, entry] = &ledger(vec![requested(), verified()])[..] else { unreachable!() };
    let mut fact = entry.fact.clone();
    let written: Value = serde_json::from_slice(&fact.encode()).unwrap();
    assert_eq!(written["body"]["staged"][0]["generation"], 5);
    assert_eq!(Entry::decode(&fact.encode()).unwrap().fact, fact);

    fact.body = Body::Verified { contents_read: true, grounds: None, staged: Vec::new() };
    let written: Value = serde_json::from_slice(&fact.encode()).unwrap();
    assert_eq!(written["body"], json!({"contents_read": true}));
    assert_eq!(Entry::decode(&fact.encode()).unwrap().fact, fact);
}
