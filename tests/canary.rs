//! Tokens and secrets of whole runs, good and bad, searched for in everything that is kept or shown.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use branchline_contract::JobKind;
use branchline_gcp::pubsub::{Message, Publish as _, Publisher};
use branchline_ledger::Letter;
use branchline_local::faults::Faults;
use branchline_local::installation::{self, PROJECT, subscription, topic};
use branchline_local::stack::Stack;
use branchline_tests::counts::KEPT;
use branchline_tests::eventually::eventually;
use branchline_tests::identity::{claims, signed};
use branchline_tests::installation::Installation;
use branchline_tests::naps::{NAP, request};
use fastrand::Rng;
use jiff::Timestamp;
use serde_json::{Value, json};

const GRACE: Duration = Duration::from_secs(3);
const MESSAGES: usize = 40;

/// As much of a token as nobody guesses.
const PART: usize = 32;

/// What must be nowhere, by what it is.
#[derive(Default)]
struct Secrets {
    texts: BTreeMap<String, String>,
    /// Whose token each part of one is.
    parts: HashMap<[u8; PART], String>,
}

impl Secrets {
    /// A text, and what base64 makes of it wherever it stands in what is encoded.
    fn add(&mut self, name: &str, secret: &str) {
        self.texts.insert(name.to_owned(), secret.to_owned());
        for offset in 0..3 {
            let moved = [&vec![b' '; offset], secret.as_bytes()].concat();
            // What the neighbours' bits are part of is left out.
            let whole = 4..(moved.len() / 3) * 4;
            let encoded = [
                BASE64_STANDARD_NO_PAD.encode(&moved)[whole.clone()].to_owned(),
                BASE64_URL_SAFE_NO_PAD.encode(&moved)[whole].to_owned(),
            ];
            for (number, it) in encoded.into_iter().enumerate() {
                self.texts.insert(format!("{name}, in base64 {offset}-{number}"), it);
            }
        }
    }

    /// A JSON web token, its claims and its signature, every part of them and its own id. Its
    /// header is everybody's.
    fn add_token(&mut self, name: &str, token: &str) {
        self.add(name, token);
        for (segment, it) in ["claims", "signature"].iter().zip(token.split('.').skip(1)) {
            let name = format!("{segment} of {name}");
            self.add(&name, it);
            let parts = it.as_bytes().windows(PART).filter_map(|it| it.try_into().ok());
            self.parts.extend(parts.map(|it| (it, format!("a part of the {name}"))));
        }
        let claims = token.split('.').nth(1).and_then(|it| BASE64_URL_SAFE_NO_PAD.decode(it).ok());
        let claims = claims.and_then(|it| serde_json::from_slice::<Value>(&it).ok());
        if let Some(id) = claims.as_ref().and_then(|it| it["jti"].as_str()) {
            self.add(&format!("the id of {name}"), id);
        }
    }

    fn found_in<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let texts = self.texts.iter().filter(|it| text.contains(it.1.as_str()));
        let words = text.split(|it: char| !(it.is_ascii_alphanumeric() || "-_".contains(it)));
        let parts = words.flat_map(|it| it.as_bytes().windows(PART));
        let parts = parts.filter_map(|it| self.parts.get(it).map(String::as_str));
        texts.map(|it| it.0.as_str()).chain(parts)
    }
}

/// Of a token, as GitLab makes them up.
fn random() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// A message that a CI job, or somebody else, may publish, with the token that is in it.
fn message(at: &Installation, rng: &mut Rng, number: usize) -> (Message, String) {
    let (asked, _) = request(at, JobKind::CustomJob, NAP, number).unwrap();
    let good = signed(at.signer(), asked.clone());
    let good_token = good["id_token"].as_str().unwrap().to_owned();
    let with = |token: &str| {
        let mut body = asked.clone();
        body["id_token"] = json!(token);
        (body.to_string().into_bytes(), token.to_owned())
    };
    let mut attributes = BTreeMap::new();
    let (data, token) = match rng.u32(..9) {
        0 | 1 => (good.to_string().into_bytes(), good_token),
        2 => {
            let mut claims = claims(&asked, &random(), Timestamp::now());
            let (name, value) = [
                ("aud", json!("//iam.googleapis.com/projects/1")),
                ("exp", json!(1_700_000_000)),
                ("job_id", json!("4711")),
                ("iss", json!("https://gitlab.example.org")),
                ("nbf", json!("tomorrow")),
            ][rng.usize(..5)]
            .clone();
            claims[name] = value;
            with(&at.signer().sign(&claims).unwrap())
        }
        3 => with(&good_token[..good_token.len() - rng.usize(1..40)]),
        4 => with(&format!("{good_token}{}", "A".repeat(rng.usize(1..20_000)))),
        5 => {
            let text = good.to_string();
            (text.as_bytes()[..rng.usize(text.len() / 2..text.len())].to_vec(), good_token)
        }
        6 => {
            let key = ["run", "vertex", "gitlab", "artifacts", "attempts_max"][rng.usize(..5)];
            let mut body = good;
            body[key] = json!(good_token);
            (body.to_string().into_bytes(), good_token)
        }
        7 => {
            attributes
                .insert("authorization".to_owned(), format!("Bearer {}", &good_token[..1_000]));
            (good.to_string().into_bytes(), good_token)
        }
        _ => {
            // Its job has asked for something else before.
            let mut body = good;
            body["training"]["custom_job"]["displayName"] = json!("another");
            (body.to_string().into_bytes(), good_token)
        }
    };
    (Message { data: data.into(), attributes, ordering_key: None }, token)
}

/// Requests of operators with their tokens, where these belong and where they do not.
fn requests(at: &Installation, secrets: &mut Secrets) -> Vec<(String, String)> {
    let request = |id: &str, token: &str| {
        json!({
            "id": id, "kind": "cancel", "run": "iris-0123456789abcdef0123", "actor": "anna",
            "reason": "a test", "id_token": token,
        })
    };
    let fields = ["", "id_token", "kind", "run", "actor", "reason", "attempt", "id"];
    let bodies = fields.into_iter().enumerate().map(|(number, field)| {
        let id = format!("canary-{number}");
        let claims = json!({
            "iss": "https://accounts.google.com", "sub": id, "email": "a@b.c", "jti": random(),
        });
        let token = at.signer().sign(&claims).unwrap();
        secrets.add_token(&format!("the token of request {number}"), &token);
        let mut body = request(&id, &token);
        if !field.is_empty() {
            body[field] = json!(token);
        }
        let text = body.to_string();
        // One of them was cut off on its way.
        let cut = if number == 1 { text.len() - 9 } else { text.len() };
        (format!("20261124T00000000000{number}-{id}"), text[..cut].to_owned())
    });
    bodies.collect()
}

/// Asks them, and waits until they are answered.
async fn ask(at: &Installation, stack: &Stack, secrets: &mut Secrets) {
    for (name, body) in requests(at, secrets) {
        let object = format!("requests/{name}");
        stack.storage.put(installation::REQUESTS, &object, body).unwrap();
    }
    eventually("every request is answered", async || {
        stack.storage.list(installation::REQUESTS, "").is_empty().then_some(())
    })
    .await;
    let answers = stack.storage.list(installation::LEDGER, "answers/");
    assert_eq!(answers.len(), 8, "{answers:?}");
}

/// Every object that is kept, by its name, and the bodies of the dead letters beside them.
fn objects(at: &Installation) -> BTreeMap<String, Vec<u8>> {
    let mut objects = BTreeMap::new();
    for bucket in [
        installation::LEDGER,
        installation::QUEUE,
        installation::REQUESTS,
        installation::OUTPUT,
        installation::DEAD_LETTERS,
    ] {
        for (name, mut content) in at.objects(bucket).unwrap() {
            if let Ok(mut letter) = serde_json::from_slice::<Letter>(&content) {
                // In base64 a commit's hash looks as it does in a token, so a body is searched as it is.
                let body = std::mem::take(&mut letter.data.0).to_vec();
                objects.insert(format!("the body in {name}"), body);
                content = serde_json::to_vec(&letter).unwrap();
            }
            objects.insert(format!("{bucket}/{name}"), content);
        }
    }
    assert!(objects.keys().any(|it| it.starts_with("the body in letters/")));
    objects
}

fn found_nowhere(secrets: &Secrets, searched: &BTreeMap<String, Vec<u8>>) {
    let (texts, parts) = (secrets.texts.len(), secrets.parts.len());
    println!("{texts} secrets and forms of them, {parts} parts, {} places", searched.len());
    let mut found = BTreeSet::new();
    for (place, text) in searched {
        let text = String::from_utf8_lossy(text);
        found.extend(secrets.found_in(&text).map(|secret| format!("{place}: {secret}")));
    }
    let found: Vec<_> = found.into_iter().collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_is_in_anything_that_is_kept_or_shown() {
    let mut at = Installation::new(GRACE).unwrap();
    at.log = "trace";
    let stack = at.embedded(Faults::default()).await.unwrap();
    let gitlab_token = stack.gitlab.token();
    let _roles = [at.worker().await.unwrap(), at.notifier(gitlab_token.clone()).await.unwrap()];
    at.keep_events().await.unwrap();

    let mut secrets = Secrets::default();
    secrets.add("the notifier's token", &gitlab_token);
    secrets.add_token("the token of publish", &at.job().variables["BRANCHLINE_ID_TOKEN"]);
    let said = at.publish_output().await.unwrap();
    assert!(said.status.success());
    let publisher = Publisher::connect(&at.google()).await.unwrap();
    let mut rng = Rng::with_seed(1);
    for number in 0..MESSAGES {
        let (message, token) = message(&at, &mut rng, number);
        secrets.add_token(&format!("token {number}"), &token);
        publisher.publish(&topic(PROJECT, "artifact-ready"), message).await.unwrap();
    }
    ask(&at, &stack, &mut secrets).await;
    eventually("every message is settled and every run is over", async || {
        let idle = stack.storage.list(installation::QUEUE, "queue/").is_empty();
        let settled = ["artifact-ready-worker", "run-events-notifier"]
            .iter()
            .all(|it| stack.pubsub.unacknowledged(&subscription(PROJECT, it)).unwrap() == 0);
        (idle && settled).then_some(())
    })
    .await;

    let mut searched = objects(&at);
    let messages = at.pull(KEPT).await.unwrap();
    assert!(!messages.is_empty());
    for (number, it) in messages.into_iter().enumerate() {
        let data = it["message"]["data"].as_str().unwrap_or_default();
        let data = base64::prelude::BASE64_STANDARD.decode(data).unwrap();
        searched.insert(format!("event {number}"), data);
        let attributes = it["message"]["attributes"].to_string().into_bytes();
        searched.insert(format!("attributes of event {number}"), attributes);
    }
    let notes = format!("merge_requests/{}/notes", at.merge_request());
    let statuses = format!("repository/commits/{}/statuses", at.job().sha);
    for path in [notes, statuses] {
        let url =
            format!("{}/api/v4/projects/{}/{path}?per_page=100", at.gitlab(), at.project_id());
        let told = reqwest::Client::new().get(url).bearer_auth(&gitlab_token).send().await.unwrap();
        let told = told.text().await.unwrap();
        assert!(told.contains("branchline"), "{path}: {told}");
        searched.insert(path, told.into_bytes());
    }
    searched.insert("what publish said".to_owned(), [said.stdout, said.stderr].concat());
    for role in ["worker", "notifier"] {
        let log = at.logs_of(role);
        assert!(log.matches("DEBUG").count() > 1_000, "{role} logs in detail");
        searched.insert(format!("the log of the {role}"), log.into_bytes());
    }
    stack.shutdown().await;
    found_nowhere(&secrets, &searched);
}
