//! What training code and users give the worker: metrics, and specs to fill in.

use branchline_contract::{ArtifactReady, Envelope, Installation};
use branchline_ledger::{Body, Ending, Entry, Fact, Intent, Run};
use branchline_worker::fuzz;
use fastrand::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::contract::{brief, refused};
use crate::corpus::{DECODED, REQUESTS};
use crate::json;
use crate::ledger::facts;
use crate::runner::Target;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "metrics",
        weight: 100,
        memory: 200,
        make: |rng| json::bytes(rng, &METRICS),
        check: metrics,
    },
    Target {
        name: "job_body",
        weight: 20,
        memory: 200,
        make: |rng| json::bytes(rng, &REQUESTS),
        check: job_body,
    },
];

static FACT: LazyLock<Fact> = LazyLock::new(|| facts(&DECODED[0], "worker", Vec::new()).remove(0));

static METRICS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let many: serde_json::Map<_, _> = (0..100).map(|it| (format!("m{it}"), json!(it))).collect();
    vec![
        json!({"accuracy": 0.9375, "loss": 1e-9, "rows": 30}),
        json!({"a": 0, "b": -1.5, "c": 1e308}),
        json!("text"),
        many.into(),
    ]
});

fn metrics(bytes: &[u8], _: &mut Rng) -> bool {
    match fuzz::metrics(bytes) {
        Ok(metrics) => {
            assert!(metrics.len() <= 100);
            assert!(metrics.keys().all(|it| (1..=100).contains(&it.len())));
            assert!(metrics.values().all(|it| it.is_finite()));
            written_and_read(metrics);
            true
        }
        Err(problem) => refused(&problem),
    }
}

/// The ledger keeps them as they are.
fn written_and_read(metrics: BTreeMap<String, f64>) {
    let body = Body::Finished(Ending {
        outcome: branchline_contract::Outcome::Succeeded,
        reason: None,
        metrics,
        model_uri: None,
        model_files: Vec::new(),
    });
    let fact = Fact { body, ..FACT.clone() };
    assert_eq!(Entry::decode(&fact.encode()).unwrap().fact, fact);
}

/// A request without problems has a body for its create call, and that is labelled as ours.
fn job_body(bytes: &[u8], _: &mut Rng) -> bool {
    let Ok(request) = Envelope::decode_artifact_ready(bytes, &BTreeMap::new()) else {
        return false;
    };
    assert!(fuzz::need(&request.training).starts_with("Need("));
    let problems = fuzz::problems(&request);
    let built = body(&request);
    if !problems.is_empty() {
        for problem in problems {
            brief(&problem);
        }
        return false;
    }
    let body = built.expect("a request without problems has a body");
    let labels = &body["labels"];
    assert_eq!(labels["branchline-intent"], "nonce");
    assert_eq!(labels["branchline-installation"], "fuzz");
    assert!(body["displayName"].is_string());
    true
}

fn body(request: &ArtifactReady) -> Result<Value, String> {
    let bodies = vec![
        Body::Verified { contents_read: false, grounds: None, staged: Vec::new() },
        Body::Admitted {},
    ];
    let facts = facts(request, "worker", bodies);
    let entries: Vec<Entry> = facts.iter().map(|it| Entry::decode(&it.encode()).unwrap()).collect();
    let (run, _) = Run::fold(&entries).unwrap();
    let intent = Intent {
        nonce: "nonce".to_owned(),
        duration_ms: 60_000,
        output: format!("gs://output/{}/1-nonce/", run.id),
    };
    fuzz::body(&run, &intent, &Installation::parse("fuzz").unwrap())
}
