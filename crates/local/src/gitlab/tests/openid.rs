//! ID tokens: who signs them, and what they say.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use axum::body::Body;
use axum::http::{Request, header};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Fixture, Reply, send};
use crate::gitlab::{GitLab, Trigger};

/// Without a token: these pages are for everybody.
async fn page(gitlab: &GitLab, path: &str) -> Reply {
    send(gitlab, Request::get(path).body(Body::empty()).unwrap()).await
}

async fn keys(gitlab: &GitLab) -> Vec<Value> {
    let reply = page(gitlab, "/oauth/discovery/keys").await;
    let policy = "max-age=86400, public, must-revalidate, no-transform";
    assert_eq!(reply.headers[header::CACHE_CONTROL], policy);
    reply.body["keys"].as_array().unwrap().clone()
}

fn decode(text: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// Header and claims of a token that one of the keys has signed.
fn open(token: &str, keys: &[Value]) -> (Value, Value) {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let read = |it| serde_json::from_slice::<Value>(&decode(it)).unwrap();
    let (header, claims) = (read(header), read(claims));
    let key = keys.iter().find(|it| it["kid"] == header["kid"]).unwrap();
    let [n, e] = ["n", "e"].map(|it| decode(key[it].as_str().unwrap()));
    let key = RsaPublicKeyComponents { n, e };
    key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &decode(signature)).unwrap();
    (header, claims)
}

#[tokio::test]
async fn the_issuer_says_where_its_keys_are() {
    let Fixture { gitlab, .. } = &Fixture::new();
    let configuration = page(gitlab, "/.well-known/openid-configuration").await.body;
    assert_eq!(configuration["issuer"], "http://127.0.0.1:8929");
    assert_eq!(configuration["jwks_uri"], "http://127.0.0.1:8929/oauth/discovery/keys");
    let key = &keys(gitlab).await[0];
    assert_eq!([&key["kty"], &key["use"], &key["alg"]], ["RSA", "sig", "RS256"]);
    assert_eq!((decode(key["n"].as_str().unwrap()).len(), &key["e"]), (256, &json!("AQAB")));
}

#[tokio::test]
async fn a_token_has_the_claims_that_gitlab_writes_in_the_types_that_gitlab_writes() {
    let Fixture { gitlab, project, feature, .. } = &Fixture::new();
    let job = gitlab.start_pipeline(*project, Trigger::Push("feature"), "train").unwrap();
    let token = gitlab.id_token(job.id, "branchline").unwrap();
    let (header, mut claims) = open(&token, &keys(gitlab).await);
    assert_eq!((&header["alg"], &header["typ"]), (&json!("RS256"), &json!("JWT")));
    let mut take = |name: &str| claims.as_object_mut().unwrap().remove(name).unwrap();
    let [iat, nbf, exp] = ["iat", "nbf", "exp"].map(|it| take(it).as_i64().unwrap());
    assert_eq!((iat - nbf, exp - iat), (5, 3_600));
    let jti = take("jti").as_str().unwrap().to_owned();
    assert_eq!((jti.len(), &jti[14..15], jti.matches('-').count()), (36, "4", 4));
    let expected = json!({
        "iss": "http://127.0.0.1:8929",
        "sub": "project_path:team/iris:ref_type:branch:ref:feature",
        "aud": "branchline",
        "namespace_id": "1", "namespace_path": "team",
        "project_id": "1", "project_path": "team/iris",
        "user_id": "1", "user_login": "root", "user_email": "root@noreply.localhost",
        "user_access_level": "maintainer",
        "pipeline_id": "1", "pipeline_source": "push", "job_id": "1", "job_source": "push",
        "ref": "feature", "ref_type": "branch", "ref_path": "refs/heads/feature",
        "ref_protected": "false", "runner_id": 1, "runner_environment": "self-hosted",
        "sha": feature, "project_visibility": "private", "ci_config_sha": feature,
        "ci_config_ref_uri": "127.0.0.1:8929/team/iris//.gitlab-ci.yml@refs/heads/feature",
        "job_project_id": "1", "job_project_path": "team/iris",
        "job_namespace_id": "1", "job_namespace_path": "team",
    });
    assert_eq!(claims, expected);
    assert!(gitlab.id_token(99, "branchline").is_err());
}

#[tokio::test]
async fn a_merge_request_pipeline_is_about_the_source_branch() {
    let Fixture { gitlab, project, feature, .. } = &Fixture::new();
    gitlab.open_merge_request(*project, "feature", "main", "Feature").unwrap();
    gitlab.tag(*project, "v1", feature).unwrap();
    let names = ["pipeline_source", "ref", "ref_type", "ref_path", "ref_protected"];
    let cases = [
        (Trigger::MergeRequest(1), ["merge_request_event", "feature", "branch", "heads", "false"]),
        (Trigger::Push("main"), ["push", "main", "branch", "heads", "true"]),
        (Trigger::Tag("v1"), ["push", "v1", "tag", "tags", "false"]),
    ];
    for (trigger, mut expected) in cases {
        let job = gitlab.start_pipeline(*project, trigger, "train").unwrap();
        let token = gitlab.id_token(job.id, "branchline").unwrap();
        let (_, claims) = open(&token, &keys(gitlab).await);
        let path = format!("refs/{}/{}", expected[3], expected[1]);
        expected[3] = &path;
        assert_eq!(names.map(|it| claims[it].as_str().unwrap()), expected, "{trigger:?}");
    }
}

#[tokio::test]
async fn after_a_rotation_the_new_key_signs_and_both_are_published() {
    let Fixture { gitlab, project, .. } = &Fixture::new();
    let job = gitlab.start_pipeline(*project, Trigger::Push("main"), "train").unwrap();
    let before = gitlab.id_token(job.id, "a").unwrap();
    gitlab.rotate_key().unwrap();
    let after = gitlab.id_token(job.id, "a").unwrap();
    let keys = keys(gitlab).await;
    let ids = [before, after].map(|it| open(&it, &keys).0["kid"].clone());
    assert_eq!(ids, [keys[0]["kid"].clone(), keys[1]["kid"].clone()]);
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn the_keys_outlive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let before = keys(&GitLab::open(Some(directory.path())).unwrap()).await;
    assert_eq!(keys(&GitLab::open(Some(directory.path())).unwrap()).await, before);
}

#[tokio::test]
async fn a_job_finds_the_tokens_that_its_configuration_asks_for() {
    let Fixture { gitlab, project, .. } = &Fixture::new();
    let config = "\
default: {id_tokens: {DEFAULT_TOKEN: {aud: default}}}
train:
  id_tokens:
    BRANCHLINE_ID_TOKEN: {aud: branchline}
    CLOUD_TOKEN: {aud: [https://a.example, https://b.example]}
  script: [!reference [.setup, script], train]
";
    let start = |config: &str, job| {
        let files: [(&str, &[u8]); 1] = [(".gitlab-ci.yml", config.as_bytes())];
        gitlab.commit(*project, "feature", "CI", &files).unwrap();
        gitlab.start_pipeline(*project, Trigger::Push("feature"), job)
    };
    let keys = keys(gitlab).await;
    let cases = [
        ("train", "BRANCHLINE_ID_TOKEN", json!("branchline")),
        ("train", "CLOUD_TOKEN", json!(["https://a.example", "https://b.example"])),
        ("test", "DEFAULT_TOKEN", json!("default")),
    ];
    for (name, variable, audience) in cases {
        let job = start(config, name).unwrap();
        let (_, claims) = open(&job.variables[variable], &keys);
        assert_eq!((&claims["aud"], &claims["job_id"]), (&audience, &json!(job.id.to_string())));
        assert_eq!(job.variables.contains_key("DEFAULT_TOKEN"), name == "test");
        let again = gitlab.retry_job(job.id).unwrap();
        assert_ne!(again.variables[variable], job.variables[variable]);
    }
    assert!(start("train: {id_tokens: {TOKEN: {}}}", "train").is_err());
    assert!(start("a: b: c", "train").is_err());
}
