//! What comes over the dead-letter topic: moved there by Pub/Sub, or given up by the notifier.

use std::collections::BTreeMap;

use branchline_contract::Outcome;
use branchline_gcp::pubsub::{Message, Publish as _, Publisher};
use branchline_local::installation::{PROJECT, topic};
use branchline_tests::eventually::eventually;
use branchline_tests::identity::claims;
use branchline_tests::world::World;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::operator::Operator;

async fn publish(world: &World, to: &str, data: Vec<u8>, attributes: &[(&str, &str)]) {
    let pairs = attributes.iter().map(|(name, it)| ((*name).to_owned(), (*it).to_owned()));
    let message = Message {
        data: data.into(),
        attributes: pairs.collect::<BTreeMap<_, _>>(),
        ordering_key: None,
    };
    let publisher = Publisher::connect(world.google()).await.unwrap();
    publisher.publish(&topic(PROJECT, to), message).await.unwrap();
}

async fn only(ada: &Operator, args: &[&str]) -> Value {
    eventually("one letter is in the archive", async || {
        let mut listed = ada.lists(args).await;
        (listed.len() == 1).then(|| listed.remove(0))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pub_sub_moved_is_believed_for_what_its_token_proved_when_it_was_published() {
    let (world, ada) = Operator::start().await;
    let mut request = world.request("late", &json!([]), "true");
    let then = Timestamp::now() - SignedDuration::from_hours(30);
    let signer = world.stack.gitlab.signer().unwrap();
    let token = signer.sign(&claims(&request, "of-yesterday", then)).unwrap();
    request["id_token"] = json!(token);
    let published = (then + SignedDuration::from_mins(1)).to_string();
    let source = "CloudPubSubDeadLetterSource";
    let attributes = [
        ("mine", "kept"),
        // What a sender says of all this counts nothing beside Pub/Sub's word.
        ("branchline-first-published", "2020-01-01T00:00:00Z"),
        ("branchline-subscription", "projects/demo-project/subscriptions/run-events-notifier"),
        ("branchline-reason", "panic"),
        ("branchline-attempts", "1"),
        (&format!("{source}DeliveryCount"), "100"),
        (&format!("{source}Subscription"), "artifact-ready-worker"),
        (&format!("{source}SubscriptionProject"), PROJECT),
        (&format!("{source}TopicPublishTime"), &published),
    ];
    publish(&world, "dead-letters", request.to_string().into_bytes(), &attributes).await;

    let listed = only(&ada, &["--reason", "deliveries-exhausted"]).await;
    assert_eq!((&listed["role"], &listed["attempts"]), (&json!("worker"), &json!(100)));
    assert_eq!(listed["proven"], true, "{listed}");
    let id = listed["id"].as_str().unwrap();
    let shown = ada.says(&["dlq", "show", id, "--json"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["letter"]["attributes"], json!({"mine": "kept"}));
    let kept = ada.says(&["dlq", "export"]).await;
    assert!(!token.split('.').any(|it| kept.contains(it)), "the token is nowhere");

    ada.says(&["dlq", "replay", id, "-m", "late is fine", "--yes"]).await;
    request.as_object_mut().unwrap().remove("id_token");
    let history = world.ended(&request, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    let asked_at = history.run.asked_at.to_string();
    assert_eq!(asked_at, published, "it is as old as it is");

    // Another body is not believed in its name, and neither is a replay that there never was.
    let mut other = request.clone();
    other["run"] = json!("other");
    for replay in [format!("{id}/1"), format!("{id}/7"), "x".to_owned()] {
        let named = [("branchline-replay", replay.as_str())];
        publish(&world, "artifact-ready", other.to_string().into_bytes(), &named).await;
    }
    eventually("none of them is believed", async || {
        (ada.lists(&["--reason", "unproven-replay"]).await.len() == 3).then_some(())
    })
    .await;
    assert!(world.history(&other).await.is_none());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_again_and_again_takes_force() {
    let (world, ada) = Operator::start().await;
    let order = [("ce-type", "branchline.run.completed.v1"), ("ce-id", "1")];
    publish(&world, "run-events", b"no event".to_vec(), &order).await;
    for replays in 0..3 {
        let listed = only(&ada, &["--role", "notifier"]).await;
        assert_eq!(
            (&listed["replays"], &listed["reason"]),
            (&json!(replays), &json!("does-not-decode"))
        );
        let id = listed["id"].as_str().unwrap();
        let said = ada.says(&["dlq", "replay", id, "-m", "why not", "--yes"]).await;
        assert_eq!(said, "1 replayed\n");
        eventually("it is back", async || {
            let listed = ada.lists(&["--role", "notifier"]).await;
            (listed.len() == 1 && listed[0]["id"] != id).then_some(())
        })
        .await;
    }
    let back = only(&ada, &[]).await;
    let id = back["id"].as_str().unwrap();
    let again = ["dlq", "replay", id, "-m", "once more", "--yes"];
    let refused = ada.run(&again, b"").await;
    assert_eq!(refused.status.code(), Some(69));
    let said = String::from_utf8_lossy(&refused.stdout);
    assert!(said.contains("1 replayed three times and back"), "{said}");
    assert_eq!(ada.says(&[&again[..], &["--force"]].concat()).await, "1 replayed\n");

    // What is discarded is dealt with, and who did it and why is on record.
    let back = only(&ada, &[]).await;
    let id = back["id"].as_str().unwrap();
    let unasked = ada.run(&["dlq", "discard", id, "-m", "noise"], b"").await;
    assert_eq!(unasked.status.code(), Some(64), "nobody can be asked");
    assert_eq!(ada.says(&["dlq", "discard", id, "-m", "noise", "--yes"]).await, "1 discarded\n");
    assert!(ada.lists(&[]).await.is_empty());
    let all = ada.lists(&["--all"]).await;
    assert_eq!(all.len(), 5);
    let act = &all[0]["acts"][0];
    assert_eq!(
        (&act["kind"], &act["actor"], &act["reason"]),
        (&json!("discarded"), &json!("ada@example.com"), &json!("noise"))
    );
    world.stop().await;
}
