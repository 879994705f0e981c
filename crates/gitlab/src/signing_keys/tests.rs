//! The door, against an issuer on loopback. Time is moved, never waited for.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time;

use super::{DISCOVERY, Issuer, Misconfigured, SigningKeys, Unproven};
use crate::id_token::tests::world::{AT, ISSUER, Offer, STS, Signer};
use crate::id_token::{Forgery, agree};

/// An issuer that publishes what it is told to.
#[derive(Clone)]
struct World {
    address: String,
    published: Arc<Mutex<Published>>,
}

struct Published {
    status: StatusCode,
    document: Value,
    keys: Vec<Signer>,
    asked: Vec<String>,
}

impl World {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let document = json!({"issuer": address, "jwks_uri": format!("{address}/keys")});
        let published = Published {
            status: StatusCode::OK,
            document,
            keys: vec![Signer::First],
            asked: Vec::new(),
        };
        let world = Self { address, published: Arc::new(Mutex::new(published)) };
        let router = Router::new().fallback(answer).with_state(world.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        world
    }

    fn publish(&self, change: impl FnOnce(&mut Published)) {
        change(&mut self.published.lock().unwrap());
    }

    fn keys(&self) -> SigningKeys {
        let issuer =
            Issuer { issuer: self.address.clone(), jwks_file: None, jwks_uri: None, host: None };
        SigningKeys::new(&[issuer], &["branchline".to_owned()]).unwrap()
    }

    /// What a token that is signed like that proves, in a word or two.
    async fn prove(&self, keys: &SigningKeys, signer: Signer) -> &'static str {
        prove(keys, &self.address, signer).await
    }

    /// How often each document was asked for.
    fn asked(&self) -> [usize; 2] {
        let published = self.published.lock().unwrap();
        [DISCOVERY, "/keys"].map(|path| published.asked.iter().filter(|it| *it == path).count())
    }
}

async fn answer(State(world): State<World>, request: Request) -> Response {
    let mut published = world.published.lock().unwrap();
    let path = request.uri().path().to_owned();
    let body = match path.as_str() {
        DISCOVERY => published.document.clone(),
        _ => json!({"keys": published.keys.iter().map(|it| it.public()).collect::<Vec<_>>()}),
    };
    published.asked.push(path);
    (published.status, [("location", ISSUER)], Json(body)).into_response()
}

fn issuer(name: &str) -> Issuer {
    Issuer { issuer: name.to_owned(), jwks_file: None, jwks_uri: None, host: None }
}

async fn prove(keys: &SigningKeys, issuer: &str, signer: Signer) -> &'static str {
    prove_late(keys, issuer, signer, 0).await
}

/// The same of a message that was published so many seconds ago.
async fn prove_late(keys: &SigningKeys, issuer: &str, signer: Signer, age: i64) -> &'static str {
    let published = Timestamp::now() - jiff::SignedDuration::from_secs(age);
    let mut offer = Offer::changed(|_| ());
    offer.sign_by(signer);
    offer.claims["iss"] = json!(issuer);
    for (name, from_then) in [("iat", 0), ("nbf", -5), ("exp", 3_600)] {
        offer.claims[name] = json!(published.as_second() + from_then);
    }
    match keys.prove(&offer.token(), published).await {
        Ok(_) => "proven",
        Err(Unproven::Forgery(Forgery::Key { .. })) => "unknown key",
        Err(Unproven::Forgery(_)) => "forged",
        Err(Unproven::Transient { .. }) => "transient",
    }
}

/// Moves the clock, and lets it run again: sockets need a real one.
async fn pass(secs: u64) {
    time::pause();
    time::advance(Duration::from_secs(secs)).await;
    time::resume();
}

#[tokio::test]
async fn keys_are_asked_for_once_and_remembered() {
    let world = World::start().await;
    let keys = world.keys();
    for _ in 0..3 {
        assert_eq!(world.prove(&keys, Signer::First).await, "proven");
    }
    assert_eq!(world.asked(), [1, 1]);
}

#[tokio::test]
async fn tokens_that_come_together_share_one_answer() {
    let world = World::start().await;
    let keys = world.keys();
    let tokens = (0..20).map(|_| world.prove(&keys, Signer::First));
    assert_eq!(futures::future::join_all(tokens).await, ["proven"; 20]);
    let forged = (0..20).map(|_| world.prove(&keys, Signer::Stranger));
    pass(30).await;
    assert!(futures::future::join_all(forged).await.contains(&"unknown key"));
    assert_eq!(world.asked(), [2, 2]);
}

#[tokio::test]
async fn a_rotation_is_noticed_by_the_first_token_of_the_new_key() {
    let world = World::start().await;
    let keys = world.keys();
    assert_eq!(world.prove(&keys, Signer::First).await, "proven");
    world.publish(|it| it.keys.push(Signer::Rotated));
    // It may be good: nobody has looked since it came.
    assert_eq!(world.prove(&keys, Signer::Rotated).await, "transient");
    assert_eq!(world.asked(), [1, 1]);
    pass(30).await;
    assert_eq!(world.prove(&keys, Signer::Rotated).await, "proven");
    assert_eq!(world.prove(&keys, Signer::First).await, "proven");
    assert_eq!(world.asked(), [2, 2]);
}

#[tokio::test]
async fn an_unknown_key_is_a_forgery_only_where_its_issuer_was_asked_since() {
    let world = World::start().await;
    let keys = world.keys();
    assert_eq!(world.prove(&keys, Signer::Stranger).await, "unknown key");
    for _ in 0..5 {
        assert_eq!(world.prove(&keys, Signer::Stranger).await, "transient");
    }
    assert_eq!(world.asked(), [1, 1]);
    pass(30).await;
    assert_eq!(world.prove(&keys, Signer::Stranger).await, "unknown key");
}

#[tokio::test]
async fn an_unknown_key_is_a_forgery_at_once_where_its_issuer_was_asked_since_it_was_sent() {
    let world = World::start().await;
    let keys = world.keys();
    assert_eq!(world.prove(&keys, Signer::First).await, "proven");
    let cases = [(0, "transient"), (50, "transient"), (70, "unknown key"), (9_999, "unknown key")];
    for (age, expected) in cases {
        let told = prove_late(&keys, &world.address, Signer::Stranger, age).await;
        assert_eq!(told, expected, "{age} s");
    }
    assert_eq!(world.asked(), [1, 1]);
}

#[tokio::test]
async fn an_issuer_of_another_name_signs_for_the_host_that_is_configured() {
    let world = World::start().await;
    let mut offer = Offer::changed(|_| ());
    offer.claims["iss"] = json!(world.address);
    let published = Timestamp::from_second(AT).unwrap();
    let named =
        Issuer { host: Some("gitlab.example.com".parse().unwrap()), ..issuer(&world.address) };
    for (issuer, expected) in [(issuer(&world.address), false), (named, true)] {
        let keys = SigningKeys::new(&[issuer], &["branchline".to_owned()]).unwrap();
        let claims = keys.prove(&offer.token(), published).await.unwrap();
        assert_eq!(agree(&claims, &offer.message).is_ok(), expected, "{}", claims.host);
    }
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_makes_no_forgeries_and_is_not_pressed() {
    let world = World::start().await;
    let keys = world.keys();
    world.publish(|it| it.status = StatusCode::BAD_GATEWAY);
    for _ in 0..5 {
        assert_eq!(world.prove(&keys, Signer::Stranger).await, "transient");
    }
    assert_eq!(world.asked(), [1, 0]);
    world.publish(|it| it.status = StatusCode::OK);
    pass(30).await;
    assert_eq!(world.prove(&keys, Signer::First).await, "proven");
}

#[tokio::test]
async fn a_key_that_was_withdrawn_is_believed_for_an_hour() {
    let world = World::start().await;
    let keys = world.keys();
    assert_eq!(world.prove(&keys, Signer::First).await, "proven");
    world.publish(|it| it.keys = vec![Signer::Rotated]);
    pass(3_599).await;
    assert_eq!(world.prove(&keys, Signer::First).await, "proven");
    pass(1).await;
    assert_eq!(world.prove(&keys, Signer::First).await, "unknown key");
}

#[tokio::test]
async fn a_token_of_nobody_we_trust_asks_nobody() {
    let world = World::start().await;
    let keys = world.keys();
    assert_eq!(prove(&keys, ISSUER, Signer::First).await, "forged");
    assert_eq!(world.asked(), [0, 0]);
}

#[tokio::test]
async fn a_discovery_document_that_leads_elsewhere_is_not_followed() {
    let elsewhere = World::start().await;
    let cases: [fn(&World, &mut Published, &str); 7] = [
        |_, it, other| it.document["issuer"] = json!(other),
        |own, it, _| it.document["issuer"] = json!(format!("{}/", own.address)),
        |_, it, other| it.document["jwks_uri"] = json!(format!("{other}/keys")),
        |_, it, _| it.document["jwks_uri"] = json!("file:///etc/passwd"),
        |_, it, _| it.document["jwks_uri"] = json!("/keys"),
        |_, it, _| it.document["padding"] = json!(" ".repeat(64 << 10)),
        |_, it, _| it.status = StatusCode::FOUND,
    ];
    for (case, change) in cases.into_iter().enumerate() {
        let world = World::start().await;
        world.publish(|it| change(&world, it, &elsewhere.address));
        assert_eq!(world.prove(&world.keys(), Signer::First).await, "transient", "case {case}");
        assert_eq!((world.asked(), elsewhere.asked()), ([1, 0], [0, 0]), "case {case}");
    }
}

#[tokio::test]
async fn keys_in_a_file_are_read_again_after_a_rotation() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    let issuer = Issuer { jwks_file: Some(path.clone()), ..issuer(ISSUER) };
    let keys = SigningKeys::new(&[issuer], &["branchline".to_owned()]).unwrap();
    let write = |key: Signer| std::fs::write(&path, json!({"keys": [key.public()]}).to_string());
    assert_eq!(prove(&keys, ISSUER, Signer::First).await, "transient");
    write(Signer::First).unwrap();
    pass(30).await;
    assert_eq!(prove(&keys, ISSUER, Signer::First).await, "proven");
    write(Signer::Rotated).unwrap();
    pass(30).await;
    assert_eq!(prove(&keys, ISSUER, Signer::Rotated).await, "proven");
    std::fs::write(&path, " ".repeat(1 << 20)).unwrap();
    pass(30).await;
    assert_eq!(prove(&keys, ISSUER, Signer::First).await, "transient");
}

#[test]
fn only_an_issuer_that_nobody_else_can_answer_for_is_trusted() {
    let good = ["https://gitlab.com", "https://git.example.com:8443/gitlab", "http://127.0.0.1:80"];
    for text in good.into_iter().chain(["http://localhost:8929", "http://[::1]:8929"]) {
        assert!(SigningKeys::new(&[issuer(text)], &["branchline".to_owned()]).is_ok(), "{text}");
    }
    let bad = ["", "gitlab.com", "http://gitlab.com", "http://127.0.0.1.example.com"];
    let odd = ["https://gitlab.com/", "https://u:p@gitlab.com", "https://gitlab.com?a", "ftp://a"];
    for text in bad.into_iter().chain(odd) {
        let refused = SigningKeys::new(&[issuer(text)], &["branchline".to_owned()]).unwrap_err();
        assert!(refused.to_string().contains("is not an https URL"), "{refused}");
    }
    let twice = [issuer("https://gitlab.com"), issuer("https://gitlab.com")];
    assert!(SigningKeys::new(&twice, &["branchline".to_owned()]).is_err());
    // One project of the two would be another's.
    let host = Some("gitlab.com".parse().unwrap());
    let of_one_host = [
        [issuer("https://gitlab.com/a"), issuer("https://gitlab.com/b")],
        [issuer("https://gitlab.com"), Issuer { host, ..issuer("https://tokens.example.com") }],
    ];
    for issuers in of_one_host {
        let refused = SigningKeys::new(&issuers, &["branchline".to_owned()]).unwrap_err();
        assert_eq!(refused.to_string(), "two issuers are of the GitLab at \"gitlab.com\"");
    }
}

#[test]
fn an_audience_that_opens_the_cloud_is_not_ours() {
    for audience in ["", STS, "//iam.googleapis.com/projects/1"] {
        let refused = SigningKeys::new(&[], &[audience.to_owned()]).unwrap_err();
        assert!(matches!(refused, Misconfigured::Audience(_)), "{refused}");
    }
}
