//! What operators ask, and the small objects beside the queue that remember it.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use branchline_contract::{Request, RequestId};
use branchline_ledger::{Answer, Newests, Pauses, Places, Requests, Verdict};
use branchline_service::telemetry::chain;
use fastrand::Rng;
use futures::FutureExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::contract::refused;
use crate::json;
use crate::mutate::{short_text, text};
use crate::objects::Shelf;
use crate::runner::Target;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "request",
        weight: 80,
        memory: 200,
        make: |rng| json::bytes(rng, &REQUESTS),
        check: request,
    },
    Target {
        name: "request_name",
        weight: 300,
        memory: 200,
        make: |rng| text(rng, &["requests/20261123T030405000006-0a-cancel", "-"]).into_bytes(),
        check: request_name,
    },
    Target {
        name: "memory",
        weight: 200,
        memory: 200,
        make: |rng| text(rng, &MEMORIES).into_bytes(),
        check: memory,
    },
];

static REQUESTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let common = json!({"id": "0a-cancel", "actor": "ada@example.com", "reason": "wrong data"});
    let with = |more: Value| {
        let mut request = common.clone();
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let run = "train-636f38f3c36efd01c0eb";
    vec![
        with(json!({"kind": "cancel", "run": run})),
        with(json!({"kind": "cancel", "run": run, "attempt": 2})),
        with(json!({"kind": "retry", "run": run, "project_id": 7, "force": true})),
        with(json!({"kind": "pause", "project": "acme-training", "region": "europe-west4"})),
        with(json!({"kind": "resume", "project": "example.com:p", "region": "us-central1"})),
    ]
});

const MEMORIES: [&str; 5] = [
    "pauses/acme-training/europe-west4",
    "places/acme-training/europe-west4/custom_job",
    "places/example.com:p/us-central1/hyperparameter_tuning_job",
    "newest/574/train/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "newest/",
];

fn request(bytes: &[u8], _: &mut Rng) -> bool {
    match Request::decode(bytes) {
        Ok(request) => {
            let again = Request::decode(&request.encode()).expect("what was encoded decodes");
            assert_eq!(again, request);
            true
        }
        Err(error) => refused(&chain(&error)),
    }
}

/// A request is found by its name, and its answer lies under the same.
fn request_name(bytes: &[u8], _: &mut Rng) -> bool {
    let object = std::str::from_utf8(bytes).unwrap();
    let mut shelf = Shelf::default();
    shelf.put(object, Vec::new(), BTreeMap::new());
    let shelf = Arc::new(shelf);
    let requests = Requests::new(shelf.clone(), "bucket".to_owned(), "ledger".to_owned());
    let asked = requests.list().now_or_never().unwrap().unwrap();
    assert_eq!(asked.len(), usize::from(object.starts_with("requests/")));
    let Some(asked) = asked.first() else { return false };
    assert!(requests.read(asked).now_or_never().unwrap().unwrap().is_some());
    requests.remove(asked).now_or_never().unwrap().unwrap();
    assert_eq!(shelf.written(), [object]);
    let Some(name) = &asked.name else { return false };
    assert!(RequestId::parse(name.id()).is_ok());
    let answer = Answer {
        request: None,
        verdict: Verdict::Refused,
        message: String::new(),
        counts: BTreeMap::new(),
        time: Timestamp::UNIX_EPOCH,
    };
    requests.answer(name, &answer).now_or_never().unwrap().unwrap();
    assert_eq!(shelf.written(), [object.replacen("requests/", "answers/", 1)]);
    true
}

/// What is read from an object's name is written to that object and no other.
fn memory(bytes: &[u8], rng: &mut Rng) -> bool {
    let object = std::str::from_utf8(bytes).unwrap();
    let seeds = ["2026-11-23T03:04:05Z", "7", "true", "train-636f38f3c36efd01c0eb", ""];
    let keys = ["actor", "reason", "request", "asked-at", "over", "pipeline-id", "run"];
    let mut metadata: BTreeMap<_, _> =
        keys.map(|it| (it.to_owned(), short_text(rng, &seeds))).into();
    metadata.insert("sha".to_owned(), "9f2c1e0d8b7a65544332211000ffeeddccbbaa99".to_owned());
    if rng.bool() {
        metadata.insert("run".to_owned(), seeds[3].to_owned());
        metadata.insert("pipeline-id".to_owned(), "7".to_owned());
    }
    let mut shelf = Shelf::default();
    shelf.put(object, Vec::new(), metadata);
    let (shelf, bucket) = (Arc::new(shelf), "bucket".to_owned());
    let pauses = Pauses::new(shelf.clone(), bucket.clone());
    for (domain, pause) in pauses.list().now_or_never().unwrap().unwrap() {
        pauses.apply(&domain, &pause).now_or_never().unwrap().unwrap();
    }
    let places = Places::new(shelf.clone(), bucket.clone());
    for place in places.list().now_or_never().unwrap().unwrap() {
        places.add(&place).now_or_never().unwrap().unwrap();
    }
    let newests = Newests::new(shelf.clone(), bucket);
    for (line, mut newest) in newests.list().now_or_never().unwrap().unwrap() {
        newest.pipeline_id = newest.pipeline_id.saturating_add(1);
        newests.raise(&line, newest).now_or_never().unwrap().unwrap();
    }
    let written = shelf.written();
    assert!(written.iter().all(|it| it == object), "{written:?} instead of {object:?}");
    !written.is_empty()
}
