//! Requests: cancel, pause, resume.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use branchline_contract::{Outcome, Request};
use branchline_ledger::{Answer, Body, RequestName, Requests, State, Verdict};
use branchline_local::installation::{LEDGER, PROJECT, QUEUE, REQUESTS};
use branchline_tests::eventually::eventually;
use branchline_tests::world::{World, run_id};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{Training, count, reaches};

pub(crate) fn door(world: &World) -> Requests {
    Requests::new(Arc::new(world.storage.clone()), REQUESTS.to_owned(), LEDGER.to_owned())
}

/// Asks as an operator does.
pub(crate) async fn ask(world: &World, request: &Value) -> RequestName {
    let request: Request = serde_json::from_value(request.clone()).unwrap();
    let name = RequestName::new(Timestamp::now(), &request.id);
    door(world).ask(&name, &request).await.unwrap();
    name
}

pub(crate) async fn answered(world: &World, name: &RequestName) -> Answer {
    let door = door(world);
    eventually("the request is answered", async || door.answered(name).await.unwrap()).await
}

fn cancel(id: &str, request: &Value) -> Value {
    json!({"id": id, "kind": "cancel", "run": run_id(request), "actor": "anna", "reason": "wrong data"})
}

fn domain(kind: &str, id: &str) -> Value {
    json!({
        "id": id, "kind": kind, "actor": "anna", "reason": "maintenance",
        "project": PROJECT, "region": "europe-west4",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_stops_its_job_and_says_who_asked() {
    let (world, training) = (World::start().await, Training::new());
    let request = world.request("iris", &json!([]), &training.script());
    world.publish(request.to_string()).await;
    reaches(&world, &request, "it trains", |it| *it == State::Running).await;
    let name = ask(&world, &cancel("c1", &request)).await;
    let answer = answered(&world, &name).await;
    assert_eq!(answer.verdict, Verdict::Done, "{answer:?}");

    let history = world.ended(&request, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Cancelled);
    let asked = history.entries.iter().find(|it| it.fact.body.kind() == "cancel-requested");
    let fact = &asked.unwrap().fact;
    assert_eq!((fact.actor.as_str(), fact.cause.as_str()), ("anna", "c1"));
    assert_eq!(
        fact.body,
        Body::CancelRequested {
            reason: "wrong data (asked for by anna)".to_owned(),
            request: Some("c1".to_owned()),
        }
    );
    eventually("the commit shows it", async || {
        (world.commit_status("iris").await? == "canceled").then_some(())
    })
    .await;

    // The request comes once more, as from a client that repeats itself, and there is another attempt.
    let mut again = request.clone();
    again["gitlab"]["job_id"] = json!(world.job.id + 1);
    world.publish(again.to_string()).await;
    eventually("it trains again", async || {
        let run = world.history(&request).await?.run;
        (run.attempt == 2 && run.state == State::Running).then_some(())
    })
    .await;
    let repeated: Request = serde_json::from_value(cancel("c1", &request)).unwrap();
    door(&world).ask(&name, &repeated).await.unwrap();
    let first = json!({"attempt": 1});
    let mut stale = cancel("c2", &request);
    stale.as_object_mut().unwrap().extend(first.as_object().unwrap().clone());
    let stale = answered(&world, &ask(&world, &stale).await).await;
    assert_eq!(stale.verdict, Verdict::Refused, "{stale:?}");
    eventually("nothing is left to answer", async || {
        world.stack.storage.list(REQUESTS, "").is_empty().then_some(())
    })
    .await;
    training.let_go();
    let history = world.ended(&request, 2).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    assert_eq!(count(&history, "cancel-requested"), 1);

    let late = answered(&world, &ask(&world, &cancel("c3", &request)).await).await;
    assert_eq!(late.verdict, Verdict::Refused, "{late:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_races_with_success_ends_as_vertex_says() {
    let won =
        json!({"rules": [{"service": "vertex", "fault": {"end_as": {"state": "succeeded"}}}]});
    let world = World::start_faulty(serde_json::from_value(won).unwrap(), None, json!({})).await;
    let training = Training::new();
    let request = world.request("iris", &json!([]), &training.script());
    world.publish(request.to_string()).await;
    reaches(&world, &request, "it trains", |it| *it == State::Running).await;
    let answer = answered(&world, &ask(&world, &cancel("c1", &request)).await).await;
    assert_eq!(answer.verdict, Verdict::Done, "{answer:?}");
    let history = world.ended(&request, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    assert_eq!(count(&history, "cancel-requested"), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_domain_dispatches_nothing_and_what_runs_goes_on() {
    let (world, training) = (World::start().await, Training::new());
    let running = world.request("running", &json!([]), &training.script());
    world.publish(running.to_string()).await;
    reaches(&world, &running, "it trains", |it| *it == State::Running).await;

    let mut misspelt = domain("pause", "p0");
    misspelt["region"] = json!("europe-wst4");
    let refused = answered(&world, &ask(&world, &misspelt).await).await;
    assert_eq!(
        refused.message,
        format!("no run is in {PROJECT}/europe-wst4, and runs are let in for europe-west4")
    );
    let answer = answered(&world, &ask(&world, &domain("pause", "p1")).await).await;
    assert_eq!(answer.verdict, Verdict::Done, "{answer:?}");
    let again = answered(&world, &ask(&world, &domain("pause", "p2")).await).await;
    assert_eq!(again.message, format!("{PROJECT}/europe-west4 is paused by anna: maintenance"));

    let (waits, unwanted) =
        (world.request("waits", &json!([]), "true"), world.request("unwanted", &json!([]), "true"));
    for request in [&waits, &unwanted] {
        world.publish(request.to_string()).await;
        eventually("it says why it waits", async || {
            let run = world.history(request).await?.run;
            (run.blocked.as_deref() == Some("paused by anna: maintenance")).then_some(())
        })
        .await;
    }
    answered(&world, &ask(&world, &cancel("c1", &unwanted)).await).await;
    let history = world.ended(&unwanted, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Cancelled);
    training.let_go();
    let history = world.ended(&running, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    assert_eq!((world.jobs(&waits).await, world.jobs(&unwanted).await), (0, 0));

    let answer = answered(&world, &ask(&world, &domain("resume", "r1")).await).await;
    assert_eq!(
        answer.message,
        format!("{PROJECT}/europe-west4 goes on; it was paused by anna: maintenance")
    );
    let history = world.ended(&waits, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    assert_eq!((count(&history, "blocked"), count(&history, "unblocked")), (1, 1));
    // Who asked, for what, and what became of it stays where nobody may delete.
    let answers = world.stack.storage.list(LEDGER, "answers/");
    let asked: Vec<_> = answers.iter().map(|it| it.name.rsplit('-').next().unwrap()).collect();
    assert_eq!(asked, ["p0", "p1", "p2", "c1", "r1"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_late_starts_no_attempt_of_a_run_that_was_cancelled_meanwhile() {
    let late = json!({
        "service": "pubsub", "path": "artifact-ready-worker", "fault": {"reorder_ms": 4000},
        "skip": 1, "times": 1,
    });
    let faults = serde_json::from_value(json!({"rules": [late]})).unwrap();
    let (world, training) = (World::start_faulty(faults, None, json!({})).await, Training::new());
    let request = world.request("iris", &json!([]), &training.script());
    world.publish(request.to_string()).await;
    reaches(&world, &request, "it trains", |it| *it == State::Running).await;
    let mut again = request.clone();
    again["gitlab"]["job_id"] = json!(world.job.id + 1);
    world.publish(again.to_string()).await;
    answered(&world, &ask(&world, &cancel("c1", &request)).await).await;
    let history = world.ended(&request, 1).await;
    assert_eq!(count(&history, "duplicate"), 0, "it ended before the second message came");
    let history = eventually("the second message is handled", async || {
        let history = world.history(&request).await?;
        (history.run.ci_jobs.len() == 2).then_some(history)
    })
    .await;
    assert_eq!((history.run.attempt, count(&history, "duplicate")), (1, 1));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_removed_is_in_nobodys_way() {
    let kept = json!({"answer": {"status": 403, "message": "storage.objects.delete was refused"}});
    let rule = json!({"service": "storage", "path": "DeleteObject", "fault": kept});
    let faults = serde_json::from_value(json!({"rules": [rule]})).unwrap();
    let world = World::start_faulty(faults, None, json!({})).await;
    for (id, kind) in [("p1", "pause"), ("r1", "resume"), ("p2", "pause")] {
        let answer = answered(&world, &ask(&world, &domain(kind, id)).await).await;
        assert_eq!(answer.verdict, Verdict::Done, "{answer:?}");
    }
    assert_eq!(world.stack.storage.list(REQUESTS, "").len(), 3);
    assert!(world.stack.dice.hits()[0] > 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_lost_before_a_create_is_told_and_waited_for() {
    let code = Arc::new(AtomicU16::new(0));
    let world = World::start_refusing(code.clone(), json!({})).await;
    let data = world.artifact("data.csv", "1,2");
    let request = world.request("iris", &json!([data]), "true");
    answered(&world, &ask(&world, &domain("pause", "p1")).await).await;
    world.publish(request.to_string()).await;
    let says = async |what: &str| {
        eventually(what, async || {
            world.history(&request).await?.run.blocked?.contains(what).then_some(())
        })
        .await;
    };
    says("paused by anna").await;
    // PERMISSION_DENIED on the bucket of artifacts.
    code.store(7, Ordering::SeqCst);
    answered(&world, &ask(&world, &domain("resume", "r1")).await).await;
    says("storage.objects.get was refused").await;
    code.store(0, Ordering::SeqCst);
    let history = world.ended(&request, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_removed_and_is_in_nobodys_way() {
    let (world, training) = (World::start().await, Training::new());
    let time = "20261123T000000000000";
    let put = |name: &str, content: Vec<u8>| {
        world.stack.storage.put(REQUESTS, &format!("requests/{name}"), content).unwrap();
    };
    let refused = [
        ("a-garbage", b"\x00\xff{".to_vec()),
        ("b-empty", Vec::new()),
        ("c-large", vec![b' '; 9 << 10]),
        ("d-deep", "[".repeat(8_000).into_bytes()),
        ("e-newer", br#"{"id":"e-newer","kind":"explode","actor":"a","reason":"b"}"#.to_vec()),
        ("f-other", domain("pause", "g").to_string().into_bytes()),
        ("g-lines", domain("pause", "g-lines").to_string().replace("maint", "a\\nb").into_bytes()),
    ];
    for (name, content) in &refused {
        put(&format!("{time}-{name}"), content.clone());
    }
    for name in ["", "x", "20261123T000000000000-../../lease", "20261123T000000000000-É"] {
        put(name, b"{}".to_vec());
    }
    let request = world.request("iris", &json!([]), &training.script());
    world.publish(request.to_string()).await;
    reaches(&world, &request, "it trains", |it| *it == State::Running).await;
    let last = answered(&world, &ask(&world, &cancel("z", &request)).await).await;
    assert_eq!(last.verdict, Verdict::Done, "{last:?}");
    for (name, _) in refused {
        let (_, answer) =
            world.stack.storage.get(LEDGER, &format!("answers/{time}-{name}")).unwrap();
        let answer: Answer = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer.verdict, Verdict::Refused, "{name}: {answer:?}");
    }
    eventually("nothing is left", async || {
        world.stack.storage.list(REQUESTS, "").is_empty().then_some(())
    })
    .await;
    assert!(world.stack.storage.list(QUEUE, "pauses/").is_empty());
    world.stop().await;
}
