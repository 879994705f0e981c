//! Runs that have ended, tried once more by an operator.

use branchline_contract::{Outcome, Request, RunId};
use branchline_gcp::storage::Objects as _;
use branchline_ledger::{Body, RequestName, State, Verdict};
use branchline_local::gitlab::AccessLevel;
use branchline_local::installation::{LEDGER, QUEUE};
use branchline_tests::eventually::eventually;
use branchline_tests::world::{World, run_id};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::approvals::{start, token};
use crate::requests::{answered, ask, door};
use crate::{Training, count, reaches};

/// Training that fails until something is put right.
struct Broken(TempDir);

impl Broken {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn script(&self) -> String {
        format!("test -e {}", self.0.path().join("right").display())
    }

    fn put_right(&self) {
        std::fs::write(self.0.path().join("right"), "").unwrap();
    }
}

fn retry(world: &World, id: &str, request: &Value) -> Value {
    json!({
        "id": id, "kind": "retry", "run": run_id(request), "project_id": world.project_id,
        "actor": "anna", "reason": "the zone is back",
    })
}

async fn queue_is_empty(world: &World) {
    eventually("the queue is empty", async || {
        world.stack.storage.list(QUEUE, "queue/").is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_failed_is_tried_once_more_and_succeeds() {
    let (world, broken) = (World::start().await, Broken::new());
    let data = world.artifact("data.csv", "1,2");
    let request = world.request("iris", &json!([data]), &broken.script());
    world.publish(request.to_string()).await;
    let history = world.ended(&request, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Failed);
    // The leader has forgotten it.
    queue_is_empty(&world).await;

    broken.put_right();
    let run: RunId = run_id(&request);
    let told =
        world.branchline(&["runs", "retry", run.as_str(), "--reason", "the zone is back"]).await;
    assert_eq!((told.code, told.stderr.as_str()), (0, ""));
    assert!(told.stdout.contains("attempt 2"), "{}", told.stdout);
    let history = world.ended(&request, 2).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    assert_eq!((world.jobs(&request).await, count(&history, "verified")), (2, 1));
    let retried = &history.entries.iter().find(|it| it.fact.body.kind() == "retried").unwrap().fact;
    let Body::Retried { operator: Some(operator), request: None, .. } = &retried.body else {
        panic!("{retried:?}");
    };
    // Nobody proves to be an operator here: the actor is the one that was claimed.
    assert_eq!((retried.actor.as_str(), operator.by.as_str()), ("anna", "anna"));
    assert_eq!(operator.reason, "the zone is back");
    assert_eq!(operator.grounds.claims, history.run.grounds.as_ref().unwrap().claims);
    eventually("the commit shows it", async || {
        (world.commit_status("iris").await? == "success").then_some(())
    })
    .await;
    queue_is_empty(&world).await;
    let verified = world.branchline(&["audit", "verify", run.as_str()]).await;
    assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
    let shown = world.branchline(&["audit", "show", run.as_str()]).await.stdout;
    assert!(shown.contains("by anna: the zone is back"), "{shown}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_starts_one_attempt_however_often_it_comes() {
    let (world, broken) = (World::start().await, Broken::new());
    let request = world.request("iris", &json!([]), &broken.script());
    world.publish(request.to_string()).await;
    world.ended(&request, 1).await;
    let asked = retry(&world, "r1", &request);
    let name = ask(&world, &asked).await;
    assert_eq!(answered(&world, &name).await.verdict, Verdict::Done);
    world.ended(&request, 2).await;

    // As when the leader died behind the fact and before the answer.
    let answer = world.stack.storage.list(LEDGER, "answers/").remove(0);
    let generation = world.storage.stat(LEDGER, &answer.name, None).await.unwrap().generation;
    world.storage.delete(LEDGER, &answer.name, generation).await.unwrap();
    let again: Request = serde_json::from_value(asked.clone()).unwrap();
    door(&world).ask(&name, &again).await.unwrap();
    let told = answered(&world, &name).await;
    assert_eq!(told.verdict, Verdict::Done, "{told:?}");
    // As from a client that repeats itself later.
    let later = RequestName::new(Timestamp::now(), &again.id);
    door(&world).ask(&later, &again).await.unwrap();
    let told = answered(&world, &later).await;
    assert!(told.message.starts_with("attempt 2 of"), "{told:?}");
    queue_is_empty(&world).await;
    let history = world.history(&request).await.unwrap();
    assert_eq!((history.run.attempt, count(&history, "retried")), (2, 1));

    // Another request is another attempt.
    broken.put_right();
    ask(&world, &retry(&world, "r2", &request)).await;
    let history = world.ended(&request, 3).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_live_succeeded_or_unknown_is_not_tried_again() {
    let (world, training) = (World::start().await, Training::new());
    let request = world.request("iris", &json!([]), &training.script());
    let refused = async |id: &str, asked: &Value, part: &str| {
        let answer = answered(&world, &ask(&world, asked).await).await;
        assert_eq!(answer.verdict, Verdict::Refused, "{id}: {answer:?}");
        assert!(answer.message.contains(part), "{id}: {answer:?}");
    };
    refused("r0", &retry(&world, "r0", &request), "there is no run").await;
    world.publish(request.to_string()).await;
    reaches(&world, &request, "it trains", |it| *it == State::Running).await;
    refused("r1", &retry(&world, "r1", &request), "has not ended").await;
    training.let_go();
    world.ended(&request, 1).await;
    refused("r2", &retry(&world, "r2", &request), "has succeeded").await;
    let history = world.history(&request).await.unwrap();
    assert_eq!((history.run.attempt, world.jobs(&request).await), (1, 1));

    let mut forced = retry(&world, "r3", &request);
    forced["force"] = json!(true);
    assert_eq!(answered(&world, &ask(&world, &forced).await).await.verdict, Verdict::Done);
    let history = world.ended(&request, 2).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_run_tried_again_does_not_approve_it() {
    let (world, _policy) = start("{operators: true}").await;
    let broken = Broken::new();
    let request = world.request("iris", &json!([]), &broken.script());
    world.publish(request.to_string()).await;
    reaches(&world, &request, "it is held", |it| matches!(it, State::Held(_))).await;
    let ada = json!(token(&world, "ada@example.com"));
    let approve = |id: &str| {
        let mut approve = retry(&world, id, &request);
        (approve["kind"], approve["id_token"]) = (json!("approve"), ada.clone());
        approve
    };
    assert_eq!(answered(&world, &ask(&world, &approve("a1")).await).await.verdict, Verdict::Done);
    world.ended(&request, 1).await;

    let mut asked = retry(&world, "r1", &request);
    assert_eq!(answered(&world, &ask(&world, &asked).await).await.verdict, Verdict::Refused);
    (asked["id"], asked["id_token"]) = (json!("r2"), ada.clone());
    let told = answered(&world, &ask(&world, &asked).await).await;
    assert!(told.message.contains("is held: it wants an operator's approval"), "{told:?}");
    let history = world.history(&request).await.unwrap();
    assert_eq!(history.run.retried_by.as_deref(), Some("ada@example.com"));
    let told = answered(&world, &ask(&world, &approve("a2")).await).await;
    assert!(told.message.contains("another has to approve it"), "{told:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_an_operator_began_wants_approvals_of_its_merge_request_anew() {
    let (world, _policy) = start("{merge_request: 1}").await;
    let (gitlab, broken) = (&world.stack.gitlab, Broken::new());
    // Behind root and the notifier's bot: Ada is user 8, as the roster has it.
    for user in ["ben", "cleo", "dora", "emil", "finn", "ada"] {
        gitlab.create_user(user, AccessLevel::Developer).unwrap();
    }
    let request = world.request("iris", &json!([]), &broken.script());
    world.publish(request.to_string()).await;
    reaches(&world, &request, "it is held", |it| matches!(it, State::Held(_))).await;
    gitlab.approve(world.project_id, world.iid, "ben").unwrap();
    world.ended(&request, 1).await;

    // Nobody knows which user of GitLab that account is.
    let mut asked = retry(&world, "r1", &request);
    asked["id_token"] = json!(token(&world, "notifier@example.com"));
    let told = answered(&world, &ask(&world, &asked).await).await;
    assert!(told.message.contains("does not say which user of"), "{told:?}");

    (asked["id"], asked["id_token"]) = (json!("r2"), json!(token(&world, "ada@example.com")));
    let told = answered(&world, &ask(&world, &asked).await).await;
    assert!(told.message.contains("is held: it wants an approval"), "{told:?}");
    // Ben's is older, and Ada is the operator.
    broken.put_right();
    gitlab.approve(world.project_id, world.iid, "ada").unwrap();
    gitlab.approve(world.project_id, world.iid, "cleo").unwrap();
    let history = world.ended(&request, 2).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    let approved: Vec<_> = history
        .entries
        .iter()
        .filter_map(|it| match &it.fact.body {
            Body::Approved { by, .. } => Some((it.fact.attempt, by.join(" "))),
            _ => None,
        })
        .collect();
    assert_eq!(approved, [(1, "ben".to_owned()), (2, "cleo".to_owned())]);
    world.stop().await;
}
