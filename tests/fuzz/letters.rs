//! The archive of dead letters, and what a message says of the replay that it is.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use branchline_contract::LetterId;
use branchline_ledger::{Archive, Letter, Sent};
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
        name: "letter",
        weight: 60,
        memory: 200,
        make: |rng| json::bytes(rng, &LETTERS),
        check: letter,
    },
    Target {
        name: "archive",
        weight: 100,
        memory: 200,
        make: |rng| text(rng, &NAMES).into_bytes(),
        check: archive,
    },
    Target {
        name: "replay",
        weight: 200,
        memory: 100,
        make: |rng| text(rng, &["20261123T030405000006-d17/2", "/", ""]).into_bytes(),
        check: replay,
    },
];

const NAMES: [&str; 4] = [
    "letters/20261123T030405000006-17/000000.json",
    "letters/20261123T030405000006-d17/000012.json",
    "letters/",
    "letters/x/000000.json",
];

static LETTERS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let origins = [
        json!({"kind": "proven", "claims": {"job_id": "7"}, "token": "00".repeat(32)}),
        json!({"kind": "operator", "email": "ada@example.com"}),
        json!({"kind": "unproven", "why": "it does not decode"}),
    ];
    let letter = |origin: Value| {
        json!({
            "id": "20261123T030405000006-17", "reason": "panic", "class": "bug", "detail": "ü",
            "role": "worker", "subscription": "projects/p/subscriptions/s", "attempts": 100,
            "topic": "projects/p/topics/t", "first_published": "2026-11-23T03:04:05Z",
            "about": {"run": "iris-0123456789abcdef0123", "project_id": 7}, "origin": origin,
            "replays": 2, "replay_of": "20261123T030405000006-16/1", "sha256": "ab".repeat(32),
            "data": "aGVsbG8=", "attributes": {"ce-id": "1"}, "ordering_key": "iris",
        })
    };
    origins.map(letter).into()
});

fn letter(bytes: &[u8], _: &mut Rng) -> bool {
    match serde_json::from_slice::<Letter>(bytes) {
        Ok(letter) => {
            let again = serde_json::to_vec(&letter).unwrap();
            assert_eq!(serde_json::from_slice::<Letter>(&again).unwrap(), letter);
            true
        }
        Err(error) => refused(&chain(&error)),
    }
}

/// Whatever lies in the bucket is listed, or is nobody's letter.
fn archive(bytes: &[u8], rng: &mut Rng) -> bool {
    let name = std::str::from_utf8(bytes).unwrap();
    let keys = ["reason", "kind", "attempts", "first-published", "run", "bytes", "proven"];
    let metadata: BTreeMap<_, _> =
        keys.map(|key| (key.to_owned(), short_text(rng, &["replayed", "7", "true"]))).into();
    let mut shelf = Shelf::default();
    shelf.put(name, Vec::new(), metadata);
    let archive = Archive::new(Arc::new(shelf), "bucket".to_owned());
    let listed = archive.list(None).now_or_never().unwrap().unwrap();
    let Some(filed) = listed.first() else { return false };
    assert_eq!(name, format!("letters/{}/000000.json", filed.id));
    assert_eq!((filed.pick().seen, filed.is_unresolved()), (0, true));
    true
}

/// What a message names is one place in the archive, or none.
fn replay(bytes: &[u8], _: &mut Rng) -> bool {
    let name = std::str::from_utf8(bytes).unwrap();
    let any = Letter::id(Timestamp::UNIX_EPOCH, "d", name);
    assert!(LetterId::parse(any.as_str()).is_ok());
    Sent::parse(name).is_some_and(|it| {
        assert_eq!(it.to_string(), name);
        true
    })
}
