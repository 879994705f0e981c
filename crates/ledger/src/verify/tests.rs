//! Tampering is found, and where it happened is told.

use std::collections::BTreeMap;

use branchline_contract::Outcome;
use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;
use crate::fact::{Fact, Intent};
use crate::state::Ending;

type Facts = Vec<(String, Vec<u8>)>;

const PROJECT: u64 = 7;

fn request() -> ArtifactReady {
    serde_json::from_value(json!({
        "run": "iris",
        "artifacts": [],
        "training": {"custom_job": {"jobSpec": {}}},
        "vertex": {"project": "demo-project", "region": "europe-west4"},
        "gitlab": {
            "host": "gitlab.example.com", "project_id": PROJECT, "project_path": "team/iris",
            "sha": "0123456789012345678901234567890123456789", "ref": "main",
            "pipeline_id": 1, "job_id": 10
        }
    }))
    .unwrap()
}

fn name(position: u32) -> FactName {
    FactName { project_id: PROJECT, run: RunId::derive(&request()).0, position }
}

/// A run of two attempts, with its head.
fn ledger() -> (Facts, LedgerHead) {
    let (request, intent) = (Box::new(request()), "n".to_owned());
    let digest = RunId::derive(&request).1;
    let asked_at = "2026-11-23T12:00:00Z".parse().unwrap();
    let finished = |outcome| {
        Body::Finished(Ending {
            outcome,
            reason: Some("exit 1".to_owned()),
            metrics: BTreeMap::from([("loss".to_owned(), 0.1)]),
            model_uri: None,
            model_files: Vec::new(),
        })
    };
    let bodies = [
        (1, Body::Requested { request: request.clone(), digest, asked_at }),
        (1, Body::Verified { contents_read: true, grounds: None, staged: Vec::new() }),
        (1, Body::Admitted {}),
        (
            1,
            Body::Intended(Intent {
                nonce: intent.clone(),
                duration_ms: 1,
                output: "gs://o/".to_owned(),
            }),
        ),
        (1, Body::Submitted { intent, job: "projects/p/locations/r/customJobs/1".to_owned() }),
        (1, finished(Outcome::Failed)),
        (2, Body::Retried { request: Some(request), reason: None, operator: None, asked_at }),
        (2, Body::Rejected { reasons: vec!["no".to_owned()], grounds: None }),
    ];
    let mut facts: Facts = Vec::new();
    for (sequence, (attempt, body)) in (0..).zip(bodies) {
        let fact = Fact {
            sequence,
            previous: facts.last().map(|(_, bytes)| Sha256::of(bytes)),
            nonce: format!("{sequence:032x}"),
            time: asked_at,
            actor: "worker".to_owned(),
            cause: "message 1".to_owned(),
            attempt,
            trace: None,
            body,
        };
        facts.push((name(sequence).to_string(), fact.encode()));
    }
    let head = head(&facts, facts.len() - 1);
    (facts, head)
}

fn head(facts: &Facts, at: usize) -> LedgerHead {
    LedgerHead { sequence: u32::try_from(at).unwrap(), sha256: Sha256::of(&facts[at].1) }
}

/// The objects that are told to be wrong; those that only follow from them are left out.
fn located(facts: &Facts, head: Option<LedgerHead>) -> Vec<String> {
    let problems = verify(facts, head).into_iter();
    let causes = problems.filter(|it| !matches!(it.fault, Fault::Unproven { .. }));
    causes.map(|it| it.object).collect()
}

fn check(facts: &Facts, head: Option<LedgerHead>, expect: &Expect) {
    let problems = verify(facts, head).into_iter().map(|it| format!("{it}\n"));
    expect.assert_eq(&problems.collect::<String>());
}

/// The same bytes with another value in the fact.
fn edit(facts: &mut Facts, at: usize, change: impl FnOnce(&mut Value)) {
    let mut fact = serde_json::from_slice(&facts[at].1).unwrap();
    change(&mut fact);
    facts[at].1 = serde_json::to_vec(&fact).unwrap();
}

#[test]
fn nothing_is_wrong_with_what_was_written() {
    let (facts, head) = ledger();
    assert_eq!(verify(&facts, None), []);
    assert_eq!(verify(&facts, Some(head)), []);
    // A head that was noted earlier is one of its facts.
    for at in 0..facts.len() {
        assert_eq!(verify(&facts, Some(self::head(&facts, at))), []);
        // And the facts of that time were no fewer.
        assert_eq!(verify(&facts[..=at], None), []);
    }
    assert_eq!(verify(&Facts::new(), None), []);
}

#[test]
fn a_flipped_bit_is_always_found_and_located() {
    let (facts, head) = ledger();
    let mut rng = fastrand::Rng::with_seed(7);
    let (last, objects) = (facts.len() - 1, facts.iter().map(|it| &it.0).collect::<Vec<_>>());
    for at in 0..facts.len() {
        for _ in 0..500 {
            let mut facts = facts.clone();
            let bit = rng.usize(..facts[at].1.len() * 8);
            facts[at].1[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(located(&facts, Some(head)), [objects[at].as_str()], "bit {bit} of {at}");
            let blamed = located(&facts, None);
            if at < last {
                assert_eq!(blamed, [objects[at].as_str()], "bit {bit} of {at}, without a head");
            } else {
                // Nothing covers the last fact; what of it disagrees with the one before is seen.
                let pair = [objects[last], objects[last - 1]];
                assert!(blamed.iter().all(|it| pair.contains(&it)), "bit {bit}: {blamed:?}");
            }
        }
    }
}

#[test]
fn a_deleted_fact_is_always_found_and_located() {
    let (facts, head) = ledger();
    for at in 0..facts.len() {
        let (mut facts, deleted) = (facts.clone(), facts[at].0.clone());
        facts.remove(at);
        let seen = (at < facts.len()).then(|| deleted.clone());
        assert_eq!(located(&facts, None), Vec::from_iter(seen));
        assert_eq!(located(&facts, Some(head)), [deleted]);
    }
}

#[test]
fn a_swapped_pair_is_always_found_and_located() {
    let (facts, head) = ledger();
    for (a, b) in (0..facts.len()).flat_map(|a| (0..a).map(move |b| (b, a))) {
        let mut facts = facts.clone();
        let (first, second) = (facts[a].1.clone(), facts[b].1.clone());
        (facts[a].1, facts[b].1) = (second, first);
        let pair = [facts[a].0.clone(), facts[b].0.clone()];
        for head in [None, Some(head)] {
            let blamed = located(&facts, head);
            assert_eq!(blamed.len(), 2, "{a} and {b}: {blamed:?}");
            assert!(pair.iter().all(|it| blamed.contains(it)), "{a} and {b}: {blamed:?}");
        }
    }
}

#[test]
fn a_truncated_tail_is_found_when_the_head_is_known() {
    let (facts, head) = ledger();
    for kept in 0..facts.len() {
        let first = u32::try_from(kept).unwrap();
        let fault = Fault::Missing { first, last: head.sequence };
        let object = if kept == 0 { "000000.json".to_owned() } else { facts[kept].0.clone() };
        assert_eq!(verify(&facts[..kept], Some(head)), [Problem { object, fault }]);
    }
}

#[test]
fn a_tail_that_was_written_anew_is_found_when_the_head_is_known() {
    let (mut facts, head) = ledger();
    let last = facts.len() - 1;
    edit(&mut facts, last, |it| it["body"]["reasons"] = json!(["another"]));
    assert_eq!(verify(&facts, None), []);
    check(
        &facts,
        Some(head),
        &expect![[r"
            runs/7/iris-fc809e2c293a9207edc5/000007.json: altered: its SHA-256 is ec65ea6fa6c7f9a521c4d2dd7a940058c9f3e7c6a39bb4f040fce4a7e0eeb099; the head that was given says b367bce1169382d6c53d07629ad98a473f980bc8dbaba4a15e3c092e70a427e9
        "]],
    );
}

#[test]
fn what_is_wrong_is_told_with_what_was_expected() {
    let (facts, head) = ledger();
    let mut edited = facts.clone();
    edit(&mut edited, 4, |it| it["actor"] = json!("mallory"));
    check(
        &edited,
        None,
        &expect![[r"
        runs/7/iris-fc809e2c293a9207edc5/000004.json: altered: its SHA-256 is 2f020caa3e22e5e85d79126778a19745d4d6baa5b4a4beee738b9ee3ae120282; runs/7/iris-fc809e2c293a9207edc5/000005.json says 28cf83566e537af0bb6357ffa5bb73f4021eca1f5cf6befcf9d8ed65fabf0ab7
    "]],
    );

    let mut edited = facts.clone();
    edit(&mut edited, 4, |it| it["previous"] = json!(head.sha256));
    check(
        &edited,
        None,
        &expect![[r"
        runs/7/iris-fc809e2c293a9207edc5/000003.json: cannot be judged: its SHA-256 is 5931e7038058092c46bd34a043c4b54515a3eee74068a78c6add3f6e8c34a40d; runs/7/iris-fc809e2c293a9207edc5/000004.json, which is wrong itself, says b367bce1169382d6c53d07629ad98a473f980bc8dbaba4a15e3c092e70a427e9
        runs/7/iris-fc809e2c293a9207edc5/000004.json: altered: its SHA-256 is 11472ed2ed179bd4fee1784f52e79826863ecdd3656789d445aa1e299f88c0f2; runs/7/iris-fc809e2c293a9207edc5/000005.json says 28cf83566e537af0bb6357ffa5bb73f4021eca1f5cf6befcf9d8ed65fabf0ab7
    "]],
    );

    let mut edited = facts.clone();
    edit(&mut edited, 7, |it| it["previous"] = json!(head.sha256));
    check(
        &edited,
        None,
        &expect![[r"
        runs/7/iris-fc809e2c293a9207edc5/000006.json: this or runs/7/iris-fc809e2c293a9207edc5/000007.json was altered: the SHA-256 of this is 983fc8d854e9300090dea2aac869c4b576c8edd6a6a273b9a44af70b6853b56d; that one, covered by nothing, says b367bce1169382d6c53d07629ad98a473f980bc8dbaba4a15e3c092e70a427e9
    "]],
    );

    let mut edited = facts.clone();
    edited.drain(2..5);
    edited.insert(0, ("runs/7/notes.txt".to_owned(), b"hello".to_vec()));
    check(
        &edited,
        None,
        &expect![[r"
        runs/7/notes.txt: this is not the name of a fact of the run
        runs/7/iris-fc809e2c293a9207edc5/000002.json: missing, up to position 4
    "]],
    );
}

#[test]
fn a_whole_ledger_that_was_made_up_has_to_be_that_of_its_run() {
    let (facts, _) = ledger();
    let elsewhere = |object: &str| {
        let name = FactName { project_id: 8, ..FactName::parse(object).unwrap() };
        name.to_string()
    };
    let copied: Facts = facts.iter().map(|(it, bytes)| (elsewhere(it), bytes.clone())).collect();
    check(
        &copied,
        None,
        &expect![[r"
        runs/8/iris-fc809e2c293a9207edc5/000000.json: asks for run iris-fc809e2c293a9207edc5 of project 7, expected run iris-fc809e2c293a9207edc5 of project 8
        runs/8/iris-fc809e2c293a9207edc5/000006.json: asks for run iris-fc809e2c293a9207edc5 of project 7, expected run iris-fc809e2c293a9207edc5 of project 8
    "]],
    );

    let rechain = |facts: &mut Facts| {
        for at in 1..facts.len() {
            let previous = Sha256::of(&facts[at - 1].1);
            edit(facts, at, |it| it["previous"] = json!(previous));
        }
    };
    let mut edited = facts.clone();
    edit(&mut edited, 0, |it| it["body"]["digest"] = json!(Sha256::of(b"")));
    rechain(&mut edited);
    check(
        &edited,
        None,
        &expect![[r"
        runs/7/iris-fc809e2c293a9207edc5/000000.json: asks for one of fc809e2c293a9207edc504721545c6a6bc4a71f66e811a1f548b79863b031de2, expected a request of the digest e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
    "]],
    );

    let mut edited = facts.clone();
    edit(&mut edited, 0, |it| it["attempt"] = json!(2));
    edit(&mut edited, 1, |it| it["kind"] = json!("teleported"));
    edit(&mut edited, 2, |it| it["sequence"] = json!(9));
    rechain(&mut edited);
    check(
        &edited,
        None,
        &expect![[r#"
        runs/7/iris-fc809e2c293a9207edc5/000000.json: the first fact is not a request for attempt 1
        runs/7/iris-fc809e2c293a9207edc5/000001.json: not a fact: a fact of kind "teleported" was written by a newer version
        runs/7/iris-fc809e2c293a9207edc5/000002.json: states position 9, expected 2
    "#]],
    );
}
