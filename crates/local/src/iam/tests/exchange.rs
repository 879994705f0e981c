//! STS: which foreign tokens are taken, and in which words the others are refused.

use axum::body::Body;
use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::signer::SigningKey;

/// What the tests change of a good token and a good provider.
type Claims<'a> = &'a mut Value;

fn now() -> i64 {
    Timestamp::now().as_second()
}

impl Fixture {
    /// A good token's claims.
    fn claims(&self) -> Value {
        let token = self.id_token();
        let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        serde_json::from_slice(&claims).unwrap()
    }

    /// Error and description of what was refused, or how long it was taken for.
    async fn verdict(&self, token: &str) -> (String, String) {
        let reply = self.exchange(token).await;
        let body = reply.json();
        if reply.status == 200 {
            return ("taken".to_owned(), body["expires_in"].to_string());
        }
        assert_eq!((reply.status, body.as_object().unwrap().len()), (400, 2), "{body}");
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        (text("error"), text("error_description"))
    }

    async fn changed(&self, change: impl FnOnce(Claims<'_>)) -> (String, String) {
        let mut claims = self.claims();
        change(&mut claims);
        self.verdict(&self.signer().sign(&claims).unwrap()).await
    }
}

#[tokio::test]
async fn a_job_of_gitlab_becomes_a_principal_of_the_pool() {
    let at = &Fixture::new().await;
    let reply = at.exchange(&at.id_token()).await;
    let body = reply.json();
    assert_eq!(reply.status, 200, "{body}");
    assert_eq!([&body["issued_token_type"], &body["token_type"]], [ACCESS_TOKEN, "Bearer"]);
    let expires_in = body["expires_in"].as_i64().unwrap();
    assert!((3_590..=3_600).contains(&expires_in), "{expires_in}");

    let token = body["access_token"].as_str().unwrap();
    let (project, ask) =
        (Resource::project(PROJECT), json!({"permissions": ["resourcemanager.projects.get"]}));
    let path = format!("/v1/projects/{PROJECT}:testIamPermissions");
    let holds = async || send(at.iam(), token, "POST", &path, &ask).await.json() == ask;
    assert!(!holds().await);
    for member in [
        format!("principal:{}/subject/gitlab-1", at.pool),
        format!("principalSet:{}/attribute.ref_path/refs/heads/main", at.pool),
        format!("principalSet:{}/*", at.pool),
    ] {
        at.iam().bind(&project, "roles/browser", &member).unwrap();
        assert!(holds().await, "{member}");
        at.iam().unbind(&project, "roles/browser", &member);
        assert!(!holds().await, "{member}");
    }
}

#[tokio::test]
async fn a_form_is_taken_as_well_as_json() {
    let at = &Fixture::new().await;
    let encode = |text: &str| text.replace('/', "%2F").replace(':', "%3A");
    let form = [
        ("grant_type", GRANT),
        ("requested_token_type", ACCESS_TOKEN),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"),
        ("audience", &at.audience),
        ("scope", "https://www.googleapis.com/auth/cloud-platform"),
        ("subject_token", &at.id_token()),
    ];
    for missing in form.map(|(name, _)| name).into_iter().chain([""]) {
        let body = form.iter().filter(|(name, _)| *name != missing);
        let body: Vec<_> = body.map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let request = Request::post("/v1/token")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(body.join("&")))
            .unwrap();
        let expected = if missing.is_empty() { 200 } else { 400 };
        assert_eq!(raw(at.iam(), request).await.status, expected, "without {missing}");
    }
}

#[tokio::test]
async fn claims_that_do_not_fit_are_refused_in_googles_words() {
    let at = &Fixture::new().await;
    let iat = now() - 1;
    let stale =
        |iat: i64| ("invalid_grant", format!("ID Token issued at {iat} is stale to sign-in."));
    let taken = |seconds: i64| ("taken", seconds.to_string());
    let set = |name: &'static str, value: Value| move |it: Claims<'_>| it[name] = value.clone();
    let times = |iat: i64, exp: i64| {
        move |it: Claims<'_>| {
            (it["iat"], it["nbf"], it["exp"]) = (json!(iat), json!(iat), json!(exp));
        }
    };
    let is = |(error, text): (&str, String)| (error.to_owned(), text);
    let issuer = "http://other.example";
    let wrong_issuer = format!(
        "The issuer in ID Token {issuer} does not match the expected one in config: {}",
        at.issuer()
    );
    let wrong_audience = "The audience in ID Token [other] does not match the expected audience.";
    assert_eq!(at.changed(set("iss", json!(issuer))).await, is(("invalid_grant", wrong_issuer)));
    let refused = is(("invalid_grant", wrong_audience.to_owned()));
    assert_eq!(at.changed(set("aud", json!("other"))).await, refused);
    let with_scheme = json!(["other", format!("https:{}", at.audience)]);
    assert_eq!(at.changed(set("aud", with_scheme)).await.0, "taken");

    let (verdict, seconds) = at.changed(times(iat, iat + 11)).await;
    assert!(verdict == "taken" && ["8", "9", "10"].contains(&&*seconds), "{seconds}");
    assert_eq!(at.changed(times(iat, iat + 100_000)).await, is(taken(3_600)));
    // Clocks differ by a minute at most.
    assert_eq!(at.changed(times(iat - 600, iat - 50)).await.0, "taken");
    assert_eq!(at.changed(times(iat - 600, iat - 70)).await, is(stale(iat - 600)));
    assert_eq!(at.changed(times(iat + 50, iat + 900)).await.0, "taken");
    assert_eq!(at.changed(times(iat + 70, iat + 900)).await, is(stale(iat + 70)));
    let day = 24 * 60 * 60;
    assert_eq!(at.changed(times(iat - day - 70, iat + 900)).await, is(stale(iat - day - 70)));
    let without_exp = at.changed(|it| drop(it.as_object_mut().unwrap().remove("exp"))).await;
    assert_eq!(without_exp.0, "invalid_grant");
    assert!(without_exp.1.ends_with("is stale to sign-in."), "{}", without_exp.1);

    let rejected = "The given credential is rejected by the attribute condition.".to_owned();
    let condition = at.changed(set("project_id", json!("3"))).await;
    assert_eq!(condition, is(("unauthorized_client", rejected)));
}

#[tokio::test]
async fn a_mapped_subject_has_at_most_127_bytes() {
    let at = &Fixture::new().await;
    let mapping = [("google.subject", "assertion.sub")];
    at.provide(Provider::new(&at.issuer(), &mapping));
    let sub = |bytes: usize| at.changed(move |it| it["sub"] = json!("ä".repeat(bytes / 2) + "x"));
    assert_eq!(sub(126).await.0, "taken");
    let text = "The size of mapped attribute exceeds the 127 bytes limit.".to_owned();
    assert_eq!(sub(128).await, ("invalid_grant".to_owned(), text));
    let unmapped = at.changed(|it| drop(it.as_object_mut().unwrap().remove("sub"))).await;
    assert_eq!(unmapped.0, "invalid_grant");
}

#[tokio::test]
async fn only_the_issuers_own_keys_sign() {
    let at = &Fixture::new().await;
    let claims = at.claims();
    let unreachable = (
        "invalid_grant".to_owned(),
        "Error connecting to the given credential's issuer.".to_owned(),
    );
    let unverified =
        ("invalid_grant".to_owned(), "Unable to verify the ID Token signature.".to_owned());
    let stranger = Signer::open(&SigningKey::generate().unwrap()).unwrap();
    assert_eq!(at.verdict(&stranger.sign(&claims).unwrap()).await, unreachable);

    let good = at.signer().sign(&claims).unwrap();
    let (signed, _) = good.rsplit_once('.').unwrap();
    let other = at.signer().sign(&json!({})).unwrap();
    let forged = format!("{signed}.{}", other.rsplit_once('.').unwrap().1);
    assert_eq!(at.verdict(&forged).await, unverified);
    let none = BASE64_URL_SAFE_NO_PAD
        .encode(json!({"alg": "none", "kid": at.signer().public()["kid"]}).to_string());
    let (_, rest) = signed.split_once('.').unwrap();
    assert_eq!(at.verdict(&format!("{none}.{rest}.")).await, unverified);
    assert_eq!(at.verdict("no.token").await.0, "invalid_grant");

    // An uploaded set is taken instead of what the issuer publishes.
    let jwks = Some(json!({"keys": [stranger.public()]}).to_string());
    at.provide(Provider { jwks, ..at.provider() });
    assert_eq!(at.verdict(&good).await, unreachable);
    assert_eq!(at.verdict(&stranger.sign(&claims).unwrap()).await.0, "taken");

    for issuer in ["http://127.0.0.1:1", "https://gitlab.example.com"] {
        at.provide(Provider::new(issuer, &[("google.subject", "assertion.sub")]));
        assert_eq!(at.changed(|it| it["iss"] = json!(issuer)).await, unreachable, "{issuer}");
    }
}

#[tokio::test]
async fn tokens_are_taken_across_a_rotation_of_keys() {
    let at = &Fixture::new().await;
    let before = at.id_token();
    at.gitlab().rotate_key().unwrap();
    let after = at.id_token();
    for token in [before, after] {
        assert_eq!(at.verdict(&token).await.0, "taken");
    }
}

#[tokio::test]
async fn the_target_is_a_provider_that_is_enabled() {
    let mut at = Fixture::new().await;
    let token = at.id_token();
    let missing = "The target service indicated by the \"audience\" parameters is invalid. This might \
        either be because the pool or provider is disabled or deleted or because it doesn't exist.";
    let missing = ("invalid_target".to_owned(), missing.to_owned());
    let malformed = "Invalid value for \"audience\". This value should be the full resource name of \
        the Identity Provider. See ";
    let good = at.audience.clone();
    for (audience, expected) in [
        (good.replace("//", "https://"), None),
        (good.replace("/providers/ci", ""), None),
        (good.replace("/global/", "/europe-west4/"), None),
        (good.replace("/providers/ci", "/providers/other"), Some(&missing)),
        (good.replace("/gitlab/", "/other/"), Some(&missing)),
        (good.replace(NUMBER, PROJECT), Some(&missing)),
        (good.replace(NUMBER, "1"), Some(&missing)),
    ] {
        at.audience = audience;
        let verdict = at.verdict(&token).await;
        if let Some(expected) = expected {
            assert_eq!(verdict, *expected, "{}", at.audience);
        } else {
            assert_eq!(verdict.0, "invalid_request", "{}", at.audience);
            assert!(verdict.1.starts_with(malformed), "{}", verdict.1);
        }
    }
    at.audience = good;

    let access = at.token().await;
    at.provide(Provider { disabled: true, ..at.provider() });
    assert_eq!(at.verdict(&token).await, missing);
    let path = format!("/v1/projects/{PROJECT}");
    let works = async || {
        at.iam().enforce(true);
        let status = send(at.iam(), &access, "GET", &path, &Value::Null).await.status;
        at.iam().enforce(false);
        status != 401
    };
    assert!(works().await, "a disabled provider leaves tokens as they are");
    at.provide(at.provider());
    assert_eq!(at.verdict(&token).await.0, "taken");
    let pool = format!("/v1/{}", at.pool.trim_start_matches("//iam.googleapis.com/"));
    let disable = |on: bool| json!({"disabled": on});
    let masked = format!("{pool}?updateMask=disabled");
    assert_eq!(send(at.iam(), "", "PATCH", &masked, &disable(true)).await.status, 200);
    assert_eq!(at.verdict(&token).await, missing);
    assert!(!works().await, "a disabled pool takes its tokens along");
    send(at.iam(), "", "PATCH", &masked, &disable(false)).await;
    assert!(works().await);
}

#[tokio::test]
async fn audiences_of_ones_own_replace_the_providers_name() {
    let at = &Fixture::new().await;
    let audiences = vec!["branchline".to_owned()];
    at.provide(Provider { audiences, ..at.provider() });
    assert_eq!(at.changed(|it| it["aud"] = json!("branchline")).await.0, "taken");
    assert_eq!(at.verdict(&at.id_token()).await.0, "invalid_grant");
}

#[tokio::test]
async fn a_provider_is_read_and_changed_over_its_api() {
    let at = &Fixture::new().await;
    let path = format!("/v1/{}", at.audience.trim_start_matches("//iam.googleapis.com/"));
    let read = async |path: &str| send(at.iam(), "", "GET", path, &Value::Null).await.json();
    let before = read(&path).await;
    assert_eq!(before, read(&path.replace(NUMBER, PROJECT)).await);
    let expected = json!({
        "name": path.trim_start_matches("/v1/"),
        "state": "ACTIVE",
        "attributeMapping": {
            "attribute.ref_path": "assertion.ref_path",
            "attribute.ref_protected": "assertion.ref_protected",
            "google.subject": "'gitlab-' + assertion.project_id",
        },
        "oidc": {"issuerUri": at.issuer()},
        "attributeCondition": "assertion.project_id in ['1', '2']",
    });
    assert_eq!(before, expected);
    let changes = json!({"disabled": true, "attributeCondition": "assertion.ref_protected == 'true'",
        "oidc": {"allowedAudiences": ["branchline"]}});
    let masked = format!("{path}?updateMask=attributeCondition,oidc.allowedAudiences");
    let answer = send(at.iam(), "", "PATCH", &masked, &changes).await.json();
    assert_eq!((&answer["done"], &answer["response"]), (&json!(true), &read(&path).await));
    let verdict = at.changed(|it| {
        (it["aud"], it["ref_protected"]) = (json!("branchline"), json!("false"));
    });
    assert_eq!(verdict.await.0, "unauthorized_client");
    let wrong = json!({"attributeCondition": "assertion."});
    assert_eq!(send(at.iam(), "", "PATCH", &masked, &wrong).await.status, 400);
    let missing = path.replace("/ci", "/other");
    assert_eq!(send(at.iam(), "", "GET", &missing, &Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_provider_that_google_would_refuse_is_refused() {
    let iam = Iam::new();
    iam.create_pool(PROJECT, "gitlab");
    let good = Provider::new("http://127.0.0.1:1", &[("google.subject", "assertion.sub")]);
    let mapped = |name: &str, text: &str| {
        let mut it = good.clone();
        it.mapping.insert(name.to_owned(), text.to_owned());
        it
    };
    let cases = [
        ("good", good.clone(), true),
        ("an attribute", mapped("attribute.project_id", "assertion.project_id"), true),
        (
            "no subject",
            Provider::new("http://127.0.0.1:1", &[("attribute.a", "assertion.a")]),
            false,
        ),
        ("another name", mapped("google.other", "assertion.sub"), false),
        ("a name in capitals", mapped("attribute.Ref", "assertion.ref"), false),
        ("a long name", mapped(&format!("attribute.{}", "a".repeat(101)), "assertion.ref"), false),
        ("no expression", mapped("attribute.a", "assertion."), false),
        ("a long one", mapped("attribute.a", &format!("'{}'", "a".repeat(2_047))), false),
        ("no condition", Provider { condition: Some("a ==".to_owned()), ..good.clone() }, false),
        ("audiences", Provider { audiences: vec!["a".to_owned(); 11], ..good.clone() }, false),
    ];
    for (name, provider, expected) in cases {
        assert_eq!(iam.put_provider(PROJECT, "gitlab", "ci", provider).is_ok(), expected, "{name}");
    }
    assert!(iam.put_provider(PROJECT, "other", "ci", good).is_err());
}
