//! Who is believed, and what is let in: over sockets, from the token of a CI job to the ledger.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use branchline_contract::Outcome;
use branchline_ledger::{Body, Decided};
use branchline_local::faults::Faults;
use branchline_local::installation::QUEUE;
use branchline_tests::eventually::eventually;
use branchline_tests::identity::claims;
use branchline_tests::world::{World, run_id};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Signs what a request says of its CI job, with changes.
fn token(world: &World, request: &Value, changes: &Value) -> String {
    static TOKENS: AtomicU64 = AtomicU64::new(0);
    let token_id = format!("t{}", TOKENS.fetch_add(1, Ordering::Relaxed));
    let mut claims = claims(request, &token_id, Timestamp::now());
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    world.stack.gitlab.signer().unwrap().sign(&claims).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_proves_becomes_a_dead_letter_and_leaves_nothing_in_the_ledger() {
    let world = World::start().await;
    let request = world.request("iris", &json!([]), "true");
    let (sha, audience) = ("f".repeat(40), "//iam.googleapis.com/projects/1/locations/global");
    let cases = [
        (json!({"job_id": "4711"}), "the token is for the job \"4711\""),
        (json!({"sha": sha}), "the token is for the commit"),
        (json!({"iss": "https://gitlab.example.org"}), "is not one of the configured ones"),
        (json!({"aud": audience}), "audience"),
        (
            json!({"exp": 1_700_000_000, "iat": 1_699_999_000, "nbf": 1_699_999_000}),
            "the token expired at",
        ),
    ];
    let cases = cases.map(|(changes, reason)| (token(&world, &request, &changes), reason));
    let forged = token(&world, &request, &json!({}));
    let forged = (format!("{}x", &forged[..forged.len() - 1]), "signature");
    let redacted = ("REDACTED".to_owned(), "the token does not have three segments");
    let nothing = (String::new(), "it carries no ID token");
    for (token, reason) in cases.into_iter().chain([forged, redacted, nothing]) {
        let mut body = request.clone();
        // An empty one stands for none.
        body["id_token"] = if token.is_empty() { Value::Null } else { json!(token) };
        world.publish_as_it_is(body.to_string()).await;
        let letter = world.dead_letter().await;
        assert_eq!(letter.class, "refused", "{reason}");
        assert!(letter.detail.contains(reason), "{reason}: {}", letter.detail);
        let kept = String::from_utf8(letter.data).unwrap();
        assert!(token.len() < 9 || !kept.contains(&token), "{reason}: {kept}");
    }
    assert!(world.history(&request).await.is_none());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_announces_one_request_of_a_name_however_often() {
    let world = World::start().await;
    let mut request = world.request("iris", &json!([]), "true");
    let token = token(&world, &request, &json!({}));
    request["id_token"] = json!(token);
    world.publish(request.to_string()).await;
    world.publish(request.to_string()).await;
    // Another run of the same job has a name of its own.
    let mut beside = world.request("beside", &json!([]), "true");
    beside["id_token"] = json!(token);
    world.publish(beside.to_string()).await;
    for request in [&request, &beside] {
        let history = world.ended(request, 1).await;
        assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    }
    let mut other = world.request("iris", &json!([]), "false");
    other["id_token"] = json!(token);
    world.publish(other.to_string()).await;
    let letter = world.dead_letter().await;
    assert_eq!(letter.class, "refused");
    assert!(letter.detail.contains("has announced another request for iris"), "{}", letter.detail);
    assert!(world.history(&other).await.is_none());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_own_message_is_refused_for_good_is_stalled_and_expires() {
    let code = Arc::new(AtomicU16::new(7));
    let more = json!({"consume": {"attempts_max": 100}, "wait_max": "14s"});
    let world = World::start_refusing(code.clone(), more).await;
    let request = world.request("iris", &json!([world.artifact("a.csv", "1")]), "true");
    world.publish(request.to_string()).await;
    eventually("it is requested", async || world.history(&request).await).await;
    // Until it comes again, its token has announced something else.
    for object in world.stack.storage.list(QUEUE, "by-token/") {
        world.stack.storage.put(QUEUE, &object.name, "0".repeat(64)).unwrap();
    }
    code.store(0, Ordering::SeqCst);
    assert_eq!(world.dead_letter().await.class, "refused");
    let history = world.history(&request).await.unwrap();
    assert_eq!(history.entries[1].fact.body.kind(), "stalled");
    let ending = world.ended(&request, 1).await.run.ending().unwrap().clone();
    assert_eq!(ending.outcome, Outcome::Expired);
    let reason = ending.reason.unwrap();
    assert!(reason.starts_with("not checked in the time allowed: its ID token has"), "{reason}");
    world.stop().await;
}

const POLICY: &str = r#"
rules:
- name: small
  match: origin.namespace == "team"
  validations:
  - expression: job.replicas == 1
    message: one machine only
  - expression: claims.user_login == "anna"
    message: anna only
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_decides_on_what_is_proven_and_the_ledger_says_on_what_grounds() {
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    let world = World::start_faulty(Faults::default(), None, json!({"policy": policy})).await;
    let digest = branchline_contract::Sha256::of(POLICY.as_bytes()).to_string();

    let allowed = world.request("allowed", &json!([]), "true");
    world.publish(allowed.to_string()).await;
    let history = world.ended(&allowed, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    let Body::Verified { grounds: Some(grounds), .. } = &history.entries[1].fact.body else {
        panic!("{:?}", history.entries[1].fact.body);
    };
    assert_eq!((grounds.decided, &grounds.policy), (Decided::Allowed, &digest));
    assert_eq!(grounds.rules, ["small"]);
    assert_eq!(grounds.claims["user_login"], "anna");
    assert_eq!(grounds.claims["sha"], world.job.sha);

    // All that is wrong is told at once, before anything is read: its artifact is not there.
    let mut denied = world.request("denied", &json!([]), "true");
    denied["artifacts"] = json!([{
        "name": "data", "uri": "gs://nowhere/a", "generation": 1, "size": 1, "crc32c": "AAAAAA==",
    }]);
    denied["training"]["custom_job"]["jobSpec"]["workerPoolSpecs"][0]["replicaCount"] = json!(2);
    let mut body = denied.clone();
    body["id_token"] = json!(token(&world, &denied, &json!({"user_login": "bert"})));
    world.publish(body.to_string()).await;
    let history = world.ended(&denied, 1).await;
    let Body::Rejected { reasons, grounds: Some(grounds) } = &history.entries[1].fact.body else {
        panic!("{:?}", history.entries[1].fact.body);
    };
    assert_eq!(reasons, &["one machine only (policy rule small)", "anna only (policy rule small)"]);
    assert_eq!(
        (grounds.policy.as_str(), grounds.claims["user_login"].as_str()),
        (digest.as_str(), "bert")
    );

    // The code of a fork is let in by name only.
    let fork = world.request("fork", &json!([]), "true");
    let mut body = fork.clone();
    let project = |id: &Value| json!(id.to_string());
    let changes = json!({
        "project_id": "99", "project_path": "bert/iris",
        "job_project_id": project(&fork["gitlab"]["project_id"]), "job_project_path": "team/iris",
    });
    body["id_token"] = json!(token(&world, &fork, &changes));
    world.publish(body.to_string()).await;
    let history = world.ended(&fork, 1).await;
    let ending = history.run.ending().unwrap();
    assert_eq!(ending.outcome, Outcome::Rejected);
    assert_eq!(ending.reason.as_deref(), Some("no rule that matches lets the code of a fork in"));
    would_have_been_decided(&world, &policy, &denied).await;
    world.stop().await;
}

/// Another policy is tried on what is on record by now.
async fn would_have_been_decided(world: &World, policy: &Path, denied: &Value) {
    let path = policy.to_str().unwrap();
    let told = world.branchline(&["policy", "replay", "--policy", path]).await;
    let same = "3 decisions on record, 0 would be another\n";
    assert_eq!((told.code, told.stdout.as_str(), told.stderr.as_str()), (0, same, ""));

    let other = POLICY.replace("== \"anna\"", "== \"bert\"").replace("job.replicas == 1", "true");
    std::fs::write(policy, other.replace("anna only", "bert only")).unwrap();
    let told = world.branchline(&["policy", "replay", "--policy", path, "--json"]).await;
    assert_eq!(told.code, 65, "{told:?}");
    let changes = told.stdout.lines().map(|it| serde_json::from_str(it).unwrap());
    let mut changes: Vec<Value> = changes.collect();
    changes.sort_by_key(|it| it["was"].to_string());
    assert_eq!(changes.len(), 2, "{changes:?}");
    let [allowed, refused] = [&changes[0], &changes[1]];
    assert_eq!((&allowed["now"], &allowed["user_login"]), (&json!("denied"), &json!("anna")));
    assert_eq!(allowed["violations"], json!(["small: bert only"]));
    assert_eq!((&refused["was"], &refused["now"]), (&json!("denied"), &json!("allowed")));
    assert_eq!(refused["run"], run_id(denied).to_string());
    let since = ["policy", "replay", "--policy", path, "--since", "2100-01-01"];
    let told = world.branchline(&since).await;
    assert_eq!(told.stdout, "0 decisions on record, 0 would be another\n");
}
