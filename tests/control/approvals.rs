//! Runs that are held until somebody else lets them go on.

use std::time::{Duration, Instant};

use branchline_contract::Outcome;
use branchline_ledger::{Approval, Body, State, Verdict};
use branchline_local::faults::Faults;
use branchline_local::gitlab::{AccessLevel, Trigger};
use branchline_local::installation::LEDGER;
use branchline_tests::eventually::eventually;
use branchline_tests::world::{World, run_id};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::reaches;
use crate::requests::{answered, ask};

const GOOGLE: &str = "https://accounts.google.com";
const AUDIENCE: &str = "operators.example";
const ANNA: &str = "anna@acme.iam.gserviceaccount.com";

/// A world whose policy holds every run until that is approved.
pub(crate) async fn start(approval: &str) -> (World, tempfile::TempDir) {
    let rules = format!("rules: [{{name: held, approval: {approval}}}]");
    start_faulty(&rules, Faults::default()).await
}

async fn start_faulty(rules: &str, faults: Faults) -> (World, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.yaml");
    std::fs::write(&policy, rules).unwrap();
    let keys = directory.path().join("keys.json");
    let more = json!({
        "policy": policy,
        "operators": {
            "members": {
                // The first user whom a test makes.
                "ada@example.com": {"{GITLAB}": 3},
                // Anna, who asks for runs as user 7, by her own address and by an account of hers.
                "Anna@example.com": {"{GITLAB}": 8, "gitlab.example.com": 7},
                ANNA: {"{GITLAB}": 7},
                "notifier@example.com": {},
            },
            "audiences": [AUDIENCE],
            "issuer": {"issuer": GOOGLE, "jwks_file": keys},
        },
    });
    let world = World::start_faulty(faults, None, more).await;
    let signer = world.stack.gitlab.signer().unwrap();
    std::fs::write(&keys, json!({"keys": [signer.public()]}).to_string()).unwrap();
    (world, directory)
}

/// What Google would sign for an account.
pub(crate) fn token(world: &World, email: &str) -> String {
    let now = Timestamp::now().as_second();
    let claims = json!({
        "iss": GOOGLE, "aud": AUDIENCE, "sub": "1021", "email": email, "email_verified": true,
        "iat": now, "exp": now + 3_600,
    });
    world.stack.gitlab.signer().unwrap().sign(&claims).unwrap()
}

fn approve(id: &str, request: &Value, token: Option<&str>) -> Value {
    json!({
        "id": id, "kind": "approve", "run": run_id(request), "actor": "whoever",
        "reason": "the data is fine", "id_token": token,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_for_approvals_of_its_merge_request_by_others_and_of_its_commit() {
    let (world, _policy) = start("{merge_request: 1}").await;
    let gitlab = &world.stack.gitlab;
    for user in ["ada", "ben"] {
        gitlab.create_user(user, AccessLevel::Developer).unwrap();
    }
    // Approved, and then there is a push.
    gitlab.approve(world.project_id, world.iid, "ben").unwrap();
    let sha = gitlab.commit(world.project_id, "try", "More", &[("b", b"b")]).unwrap();
    let trigger = Trigger::MergeRequest(world.iid);
    let job = gitlab.start_pipeline(world.project_id, trigger, "train").unwrap();
    let mut request = world.request("iris", &json!([]), "true");
    request["gitlab"]["sha"] = json!(sha);
    request["gitlab"]["pipeline_id"] = json!(job.pipeline_id);
    request["gitlab"]["job_id"] = json!(job.id);
    world.publish(request.to_string()).await;
    let history = reaches(&world, &request, "it is held", |it| matches!(it, State::Held(_))).await;
    assert_eq!(history.run.reason(), Some("it wants an approval of its merge request"));
    eventually("the commit says so", async || {
        let commit = format!("projects/{}/repository/commits/{sha}", world.project_id);
        let statuses = world.gitlab(&format!("{commit}/statuses?name=branchline/iris")).await;
        let status = &statuses[0];
        let text = "held: it wants an approval of its merge request";
        (status["status"] == "pending" && status["description"] == text).then_some(())
    })
    .await;

    // Its author, and another.
    gitlab.approve(world.project_id, world.iid, "root").unwrap();
    gitlab.approve(world.project_id, world.iid, "ada").unwrap();
    let history = world.ended(&request, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    let approved = history.entries.iter().find(|it| it.fact.body.kind() == "approved").unwrap();
    assert_eq!(
        approved.fact.body,
        Body::Approved {
            given: Approval::MergeRequest,
            by: vec!["ada".to_owned()],
            reason: format!("approvals of merge request !{}", world.iid),
        }
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_asks_gitlab_who_merged_and_who_approved() {
    let reviewed = "merge_requests.exists(it, it.state == 'merged' && 'ada' in it.approved_by \
                    && it.merged_by == it.author)";
    let rules = json!({"rules": [{"name": "reviewed", "match": reviewed}]}).to_string();
    let (world, _policy) = start_faulty(&rules, Faults::default()).await;
    let gitlab = &world.stack.gitlab;
    gitlab.create_user("ada", AccessLevel::Developer).unwrap();
    let request = world.request("before", &json!([]), "true");
    world.publish(request.to_string()).await;
    let history = world.ended(&request, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Rejected);

    gitlab.approve(world.project_id, world.iid, "ada").unwrap();
    let sha = gitlab.merge(world.project_id, world.iid).unwrap();
    let job = gitlab.start_pipeline(world.project_id, Trigger::Push("main"), "train").unwrap();
    gitlab.commit(world.project_id, "other", "Other", &[("c", b"c")]).unwrap();
    let other = gitlab.open_merge_request(world.project_id, "other", "main", "Other").unwrap();
    // Whichever the message names.
    let named = [None, Some(world.iid), Some(other), Some(999)].into_iter().enumerate();
    for (number, named) in named {
        let mut request = world.request(&format!("after-{number}"), &json!([]), "true");
        request["gitlab"]["sha"] = json!(sha);
        request["gitlab"]["ref"] = json!("main");
        request["gitlab"]["pipeline_id"] = json!(job.pipeline_id);
        request["gitlab"]["job_id"] = json!(job.id);
        request["gitlab"]["merge_request"] =
            json!(named.map(|iid| json!({"iid": iid, "target_branch": "main"})));
        world.publish(request.to_string()).await;
        let history = world.ended(&request, 1).await;
        assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded, "{named:?}");
        let known = history.run.grounds.unwrap().merge_requests.unwrap();
        assert_eq!(
            (known.len(), known[0].iid, &known[0].approved_by[..]),
            (1, world.iid, &["ada".to_owned()][..])
        );
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_proves_it_lets_another_s_run_go_on() {
    let (world, _policy) = start("{operators: true}").await;
    let request = world.request("iris", &json!([]), "true");
    world.publish(request.to_string()).await;
    reaches(&world, &request, "it is held", |it| matches!(it, State::Held(_))).await;

    let genuine = token(&world, "ada@example.com");
    let forged = format!("{}AAAA", &genuine[..genuine.len() - 4]);
    let of_stranger = token(&world, "eve@example.com");
    let of_requester = token(&world, ANNA);
    let by_address = token(&world, "anna@example.com");
    let of_nobody = token(&world, "notifier@example.com");
    let refused = [
        ("r1", None, "no ID token"),
        ("r2", Some(forged.as_str()), "signature"),
        ("r3", Some(of_stranger.as_str()), "eve@example.com is not among the operators"),
        ("r4", Some(of_requester.as_str()), "another has to approve it"),
        ("r5", Some(by_address.as_str()), "another has to approve it"),
        ("r6", Some(of_nobody.as_str()), "does not say which user of"),
    ];
    for (id, token, reason) in refused {
        let name = ask(&world, &approve(id, &request, token)).await;
        let answer = answered(&world, &name).await;
        assert_eq!(answer.verdict, Verdict::Refused, "{id}: {answer:?}");
        assert!(answer.message.contains(reason), "{id}: {answer:?}");
    }
    let state = world.history(&request).await.unwrap().run.state;
    assert!(matches!(state, State::Held(_)), "{state:?}");

    let name = ask(&world, &approve("a1", &request, Some(&genuine))).await;
    let answer = answered(&world, &name).await;
    assert_eq!(answer.verdict, Verdict::Done, "{answer:?}");
    let asked = answer.request.unwrap();
    assert_eq!((asked.actor.as_str(), asked.id_token), ("ada@example.com", None));
    let history = world.ended(&request, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    let approved =
        &history.entries.iter().find(|it| it.fact.body.kind() == "approved").unwrap().fact;
    assert_eq!((approved.actor.as_str(), approved.cause.as_str()), ("ada@example.com", "a1"));

    // Nothing that lasts has any part of a token.
    for object in world.stack.storage.list(LEDGER, "") {
        let object = object.name;
        let (_, content) = world.stack.storage.get(LEDGER, &object).unwrap();
        let text = String::from_utf8_lossy(&content);
        for token in [&genuine, &of_requester] {
            let found = token.split('.').skip(1).any(|it| text.contains(&it[..40]));
            assert!(!found, "{object}: {text}");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_no_operator_cancels_nothing_where_operators_are_named() {
    let (world, _policy) = start("{operators: true}").await;
    let request = world.request("iris", &json!([]), "true");
    world.publish(request.to_string()).await;
    reaches(&world, &request, "it is held", |it| matches!(it, State::Held(_))).await;
    let mut cancel = approve("c1", &request, None);
    cancel["kind"] = json!("cancel");
    let name = ask(&world, &cancel).await;
    assert_eq!(answered(&world, &name).await.verdict, Verdict::Refused);

    cancel["id"] = json!("c2");
    // It takes no user of GitLab.
    cancel["id_token"] = json!(token(&world, "notifier@example.com"));
    let name = ask(&world, &cancel).await;
    assert_eq!(answered(&world, &name).await.verdict, Verdict::Done);
    let history = world.ended(&request, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Cancelled);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gitlab_that_does_not_answer_holds_up_nobody_else() {
    let rules = "rules: [{name: anybody}, {name: two, match: job.replicas == 2, approval: {merge_request: 1}}]";
    let hangs = json!({"rules": [
        {"service": "gitlab", "path": "/approvals", "fault": {"delay_ms": 60_000}},
    ]});
    let (world, _policy) = start_faulty(rules, serde_json::from_value(hangs).unwrap()).await;
    let mut held = world.request("held", &json!([]), "true");
    held["training"]["custom_job"]["jobSpec"]["workerPoolSpecs"][0]["replicaCount"] = json!(2);
    world.publish(held.to_string()).await;
    reaches(&world, &held, "it is held", |it| matches!(it, State::Held(_))).await;
    eventually("GitLab is asked", async || (world.stack.dice.hits() != [0]).then_some(())).await;

    let began = Instant::now();
    for name in ["one", "another"] {
        let request = world.request(name, &json!([]), "true");
        world.publish(request.to_string()).await;
        let history = world.ended(&request, 1).await;
        assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    world.stop().await;
}
