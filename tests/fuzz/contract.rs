//! What crosses the wire: requests, run events, training specs, placeholders, texts.

use std::collections::BTreeMap;
use std::fmt::Debug;

use branchline_contract::placeholder::{self, Fill};
use branchline_contract::{
    ArtifactName, ArtifactReady, CloudProject, CommitSha, Crc32c, Envelope, GitlabHost, Invalid,
    JobKind, ObjectUri, ProjectPath, RefName, Region, RunId, RunName, Sha256, VertexJob,
    vertex_fields,
};
use branchline_service::telemetry::chain;
use fastrand::Rng;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::corpus::{DECODED, EVENTS, REQUESTS, RUN_EVENTS, TRAININGS};
use crate::json;
use crate::mutate::{pick, short_text, text};
use crate::runner::Target;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "artifact_ready",
        weight: 25,
        memory: 200,
        make: |rng| json::bytes(rng, &REQUESTS),
        check: artifact_ready,
    },
    Target {
        name: "run_event",
        weight: 60,
        memory: 200,
        make: |rng| json::bytes(rng, &RUN_EVENTS),
        check: run_event,
    },
    Target {
        name: "vertex_fields",
        weight: 40,
        memory: 200,
        make: |rng| json::bytes(rng, &TRAININGS),
        check: training_fields,
    },
    Target {
        name: "placeholder",
        weight: 60,
        memory: 200,
        make: |rng| json::bytes(rng, &TRAININGS),
        check: placeholders,
    },
    Target {
        name: "text",
        weight: 500,
        memory: 200,
        make: |rng| text(rng, &TEXTS).into_bytes(),
        check: texts,
    },
];

/// A text of each type, and some that belong to none.
const TEXTS: [&str; 22] = [
    "iris",
    "train-636f38f3c36efd01c0eb",
    "flowers-2026",
    "gs://acme-data/flowers/2026-01/part-0.csv",
    "gitlab.example.com",
    "gitlab.example.com:8443",
    "vision/flowers",
    "group/sub.group/.project",
    "9f2c1e0d8b7a65544332211000ffeeddccbbaa99",
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "better-augmentation",
    "feature/ünïcode",
    "acme-training",
    "example.com:project",
    "europe-west4",
    "2tg2vA==",
    "AAAAAA==",
    "projects/42/locations/europe-west4/customJobs/7771",
    "{{ artifacts.data.uri }}",
    "{{$.inputs.parameters['x']}}",
    "2026-01-31T12:00:00Z",
    "",
];

fn artifact_ready(bytes: &[u8], rng: &mut Rng) -> bool {
    let attributes = attributes(rng);
    match Envelope::decode_artifact_ready(bytes, &attributes) {
        Err(error) => refused(&chain(&error)),
        Ok(request) => {
            let (run, digest) = RunId::derive(&request);
            assert_eq!(RunId::parse(run.as_str()), Ok(run.clone()));
            let sent = Envelope::artifact_ready(&request, Timestamp::UNIX_EPOCH);
            let again = Envelope::decode_artifact_ready(&sent.data, &sent.attributes);
            let again = again.expect("what was encoded decodes");
            assert_eq!(again, request);
            assert_eq!(RunId::derive(&again), (run.clone(), digest));
            let reordered = reversed(serde_json::to_value(&request).unwrap());
            let reordered: ArtifactReady = serde_json::from_value(reordered).unwrap();
            assert_eq!(RunId::derive(&reordered), (run, digest), "the order of keys counts");
            true
        }
    }
}

fn run_event(bytes: &[u8], rng: &mut Rng) -> bool {
    let attributes = attributes(rng);
    match Envelope::decode_run_event(bytes, &attributes) {
        Err(error) => refused(&chain(&error)),
        Ok(event) => {
            let sent = Envelope::run_event(&event);
            let again = Envelope::decode_run_event(&sent.data, &sent.attributes);
            assert_eq!(again.expect("what was encoded decodes"), event);
            true
        }
    }
}

/// A message may come bare, in binary mode, or with attributes that went wrong.
fn attributes(rng: &mut Rng) -> BTreeMap<String, String> {
    let golden = pick(rng, &EVENTS)["attributes"].as_object().unwrap();
    let mut attributes: BTreeMap<String, String> = BTreeMap::new();
    if rng.u8(..4) > 0 {
        return attributes;
    }
    for (name, value) in golden {
        let mut value = value.as_str().unwrap().to_owned();
        if rng.u8(..16) == 0 {
            value = short_text(rng, &[&value, "1.0", "branchline.artifact.ready.v1"]);
        }
        attributes.insert(name.clone(), value);
    }
    attributes
}

/// An error goes into logs, dead letters and onto commits.
pub(crate) fn brief(error: &str) {
    assert!(error.len() <= 4_096, "an error of {} bytes: {:.200}", error.len(), error);
}

/// It was refused, in few words.
pub(crate) fn refused(error: &str) -> bool {
    brief(error);
    false
}

fn reversed(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.into_iter().rev().map(|(key, it)| (key, reversed(it))).collect())
        }
        Value::Array(items) => items.into_iter().map(reversed).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn training_fields(bytes: &[u8], rng: &mut Rng) -> bool {
    let Ok(Value::Object(training)) = serde_json::from_slice(bytes) else { return false };
    let kind = JobKind::ALL.into_iter().find(|it| training.contains_key(it.key()));
    let kind = kind.unwrap_or_else(|| *pick(rng, &JobKind::ALL));
    let Some(body) = training.values().next() else { return false };
    match vertex_fields::check(kind, body) {
        Ok(checked) => {
            assert_eq!(vertex_fields::check(kind, &checked), Ok(checked), "checked once more");
            true
        }
        Err(errors) => {
            assert!((1..=vertex_fields::ERRORS_MAX).contains(&errors.len()));
            for error in errors {
                brief(&error.to_string());
            }
            false
        }
    }
}

fn placeholders(bytes: &[u8], rng: &mut Rng) -> bool {
    let Ok(training) = serde_json::from_slice::<Value>(bytes) else { return false };
    let body = training.as_object().and_then(|it| it.values().next()).unwrap_or(&training);
    let (request, run) = (pick(rng, &DECODED), RunId::parse("train-636f38f3c36efd01c0eb").unwrap());
    let kept = placeholder::expand_training(body, &|_| Fill::Keep);
    let filled = placeholder::expand_training(body, &|name| {
        placeholder::fill(request, &request.artifacts, &run, "gs://o/run/", name)
    });
    if let Ok(kept) = &kept {
        assert_eq!(kept, body, "keeping every placeholder changes nothing");
    }
    match filled {
        Ok(_) => {
            assert!(kept.is_ok());
            true
        }
        Err(error) => refused(&error.to_string()),
    }
}

fn texts(bytes: &[u8], _: &mut Rng) -> bool {
    let text = std::str::from_utf8(bytes).unwrap();
    let named = [
        is(text, RunName::parse, RunName::as_str),
        is(text, RunId::parse, RunId::as_str),
        is(text, ArtifactName::parse, ArtifactName::as_str),
        is(text, ObjectUri::parse, ObjectUri::as_str),
        is(text, GitlabHost::parse, GitlabHost::as_str),
        is(text, ProjectPath::parse, ProjectPath::as_str),
        is(text, CommitSha::parse, CommitSha::as_str),
        is(text, RefName::parse, RefName::as_str),
        is(text, CloudProject::parse, CloudProject::as_str),
        is(text, Region::parse, Region::as_str),
    ];
    if let Ok(uri) = ObjectUri::parse(text) {
        assert_eq!(ObjectUri::new(uri.bucket(), uri.object()), Ok(uri));
    }
    if let Ok(run) = RunId::parse(text) {
        assert!(RunName::parse(run.name()).is_ok() || run.name().len() > 40, "{run}");
    }
    if let Ok(crc32c) = Crc32c::try_from(text.to_owned()) {
        assert_eq!(crc32c.to_string(), text, "one checksum has one text");
    }
    if let Ok(sha256) = Sha256::try_from(text.to_owned()) {
        assert_eq!(sha256.to_string(), text, "one digest has one text");
    }
    for kind in JobKind::ALL {
        let job = VertexJob::new(kind, text.to_owned());
        assert!(job.console_url.len() <= text.len() + 200);
    }
    // Whether placeholders are seen in it does not hang on how it is asked.
    assert!(!placeholder::is_one(text) || placeholder::has_any(text));
    named.contains(&true)
}

/// A text type takes the text as it is or refuses it in few words, and JSON changes neither.
fn is<T: Clone + Debug + PartialEq + Serialize + DeserializeOwned>(
    text: &str,
    parse: fn(String) -> Result<T, Invalid>,
    as_str: fn(&T) -> &str,
) -> bool {
    let json = Value::from(text);
    match parse(text.to_owned()) {
        Ok(parsed) => {
            assert_eq!(as_str(&parsed), text);
            assert_eq!(serde_json::to_value(&parsed).unwrap(), json);
            assert_eq!(serde_json::from_value::<T>(json).unwrap(), parsed);
            true
        }
        Err(error) => {
            assert!(error.shown.chars().count() <= 81);
            assert!(serde_json::from_value::<T>(json).is_err());
            false
        }
    }
}
