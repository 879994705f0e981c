//! What proves an origin, and what is decided about it: tokens, key sets and the facts of a policy.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use branchline_contract::{ArtifactReady, Envelope};
use branchline_gitlab::id_token::{Expected, agree, verify};
use branchline_gitlab::signing_keys::KeySet;
use branchline_local::gitlab::{GitLab, Signer};
use branchline_policy::{Facts, Policy};
use branchline_service::telemetry::chain;
use branchline_tests::identity::{AUDIENCE, claims};
use fastrand::Rng;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::contract::{brief, refused};
use crate::corpus::{REQUESTS, example};
use crate::json;
use crate::mutate::{change_bytes, pick};
use crate::runner::Target;

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "id_token", weight: 3, memory: 200, make: token, check: proof },
    Target {
        name: "jwk_set",
        weight: 10,
        memory: 400,
        make: |rng| json::bytes(rng, &KEY_SETS),
        check: key_set,
    },
    Target {
        name: "policy_facts",
        weight: 2,
        memory: 1_000,
        make: |rng| json::bytes(rng, &REQUESTS),
        check: decision,
    },
];

static SIGNER: LazyLock<Signer> = LazyLock::new(|| GitLab::open(None).unwrap().signer().unwrap());
static KEY_SETS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let key = SIGNER.public();
    let other = json!({"kty": "EC", "kid": "b", "crv": "P-256", "x": "AA", "y": "AA"});
    vec![json!({"keys": [key]}), json!({"keys": [other, key]})]
});
static KEYS: LazyLock<BTreeMap<String, KeySet>> = LazyLock::new(|| {
    let keys = KeySet::decode(KEY_SETS[0].to_string().as_bytes()).unwrap();
    BTreeMap::from([(CLAIMS[0]["iss"].as_str().unwrap().to_owned(), keys)])
});
static CLAIMS: LazyLock<Vec<Value>> =
    LazyLock::new(|| REQUESTS.iter().map(|it| claims(it, "token", NOW)).collect());
static POLICY: LazyLock<Policy> = LazyLock::new(|| Policy::parse(&example("policy.yaml")).unwrap());
const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// Odd claims in a genuine token, or a token that was put together of odd parts.
fn token(rng: &mut Rng) -> Vec<u8> {
    let claims = json::bytes(rng, &CLAIMS);
    if let Some(claims) = serde_json::from_slice(&claims).ok().filter(|_| rng.bool()) {
        return SIGNER.sign(&claims).unwrap().into_bytes();
    }
    let good = SIGNER.sign(&CLAIMS[0]).unwrap();
    let [header, _, signature] = good.split('.').collect::<Vec<_>>()[..] else { unreachable!() };
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(header).unwrap();
    let header = json::bytes(rng, &[serde_json::from_slice(&decoded).unwrap()]);
    let [header, claims] = [header, claims].map(|it| BASE64_URL_SAFE_NO_PAD.encode(it));
    let mut token = format!("{header}.{claims}.{signature}").into_bytes();
    if rng.bool() {
        change_bytes(rng, &mut token, good.as_bytes());
    }
    token
}

/// What is proven is of a bounded size, and so is what is said about the rest.
fn proof(bytes: &[u8], rng: &mut Rng) -> bool {
    let token = String::from_utf8_lossy(bytes);
    let expected = Expected { issuers: &KEYS, audiences: &[AUDIENCE.to_owned()], published: NOW };
    match verify(&token, &expected) {
        Err(forgery) => refused(&chain(&forgery)),
        Ok(claims) => {
            let written = claims.written();
            assert!(written.values().map(String::len).sum::<usize>() <= bytes.len());
            let request: ArtifactReady =
                serde_json::from_value(pick(rng, &REQUESTS).clone()).unwrap();
            if let Err(forgery) = agree(&claims, &request.gitlab) {
                brief(&chain(&forgery));
            }
            true
        }
    }
}

fn key_set(bytes: &[u8], _: &mut Rng) -> bool {
    KeySet::decode(bytes).map_or_else(|it| refused(&chain(&it)), |_| true)
}

/// A policy decides about whatever decodes, and says why in few words.
fn decision(bytes: &[u8], _: &mut Rng) -> bool {
    let Ok(request) = Envelope::decode_artifact_ready(bytes, &BTreeMap::new()) else {
        return false;
    };
    let claims: Map<String, Value> = CLAIMS[0].as_object().unwrap().clone();
    match Facts::new(&request, Some(&claims)) {
        Err(error) => refused(&chain(&error)),
        Ok(facts) => {
            let decision = POLICY.decide(&facts);
            decision.violations.iter().for_each(|it| brief(&it.message));
            true
        }
    }
}
