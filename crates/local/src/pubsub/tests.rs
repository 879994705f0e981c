//! The service through its handle and its REST door. gRPC is the conformance suite's.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;

const TOPIC: &str = "projects/p/topics/orders";
const SUB: &str = "projects/p/subscriptions/worker";

fn subscription() -> Subscription {
    Subscription { name: SUB.to_owned(), topic: TOPIC.to_owned(), ..Subscription::default() }
}

async fn pull(pubsub: &PubSub) -> Vec<ReceivedMessage> {
    #[expect(deprecated, reason = "the only way to ask without waiting")]
    let request =
        PullRequest { subscription: SUB.to_owned(), max_messages: 10, return_immediately: true };
    pubsub.pull(request).await.unwrap().received_messages
}

fn texts(received: &[ReceivedMessage]) -> Vec<&[u8]> {
    received.iter().map(|it| &*it.message.as_ref().unwrap().data).collect()
}

#[tokio::test]
async fn what_was_answered_survives_and_what_was_leased_comes_again() {
    let directory = tempfile::tempdir().unwrap();
    let before = PubSub::open(Some(directory.path()), Dice::default()).unwrap();
    before.create_topic(TOPIC).unwrap();
    before.create_subscription(subscription()).unwrap();
    for text in ["acked", "leased", "waiting"] {
        before.publish(TOPIC, text.into(), HashMap::new()).unwrap();
    }
    let leased = pull(&before).await;
    before.call(|core, _| core.acknowledge(SUB, &[leased[0].ack_id.clone()])).unwrap();
    drop(before);

    for restart in 1..=2 {
        let after = PubSub::open(Some(directory.path()), Dice::default()).unwrap();
        assert_eq!(texts(&pull(&after).await), [&b"leased"[..], b"waiting"], "restart {restart}");
        assert_eq!(after.create_topic(TOPIC), Err(Error::AlreadyExists("orders".to_owned())));
    }
}

/// What a subscriber sees of the messages `a` and `b`, and when it pulls again after an ack of all it got.
async fn seen_under(fault: Value) -> [Vec<String>; 3] {
    let rule = json!({"service": "pubsub", "path": "worker", "fault": fault, "times": 1});
    let faults = serde_json::from_value(json!({"rules": [rule]})).unwrap();
    let pubsub = PubSub::open(None, Dice::new(faults)).unwrap();
    pubsub.create_topic(TOPIC).unwrap();
    pubsub.create_subscription(subscription()).unwrap();
    for text in ["a", "b"] {
        pubsub.publish(TOPIC, text.into(), HashMap::new()).unwrap();
    }
    let seen = |it: &[ReceivedMessage]| {
        texts(it).into_iter().map(|it| String::from_utf8_lossy(it).into_owned()).collect()
    };
    let first = pull(&pubsub).await;
    let ack = |it: &[ReceivedMessage]| {
        let ack_ids: Vec<_> = it.iter().map(|it| it.ack_id.clone()).collect();
        pubsub.acknowledge(SUB, &ack_ids).unwrap();
    };
    // Another subscriber asks before the first has acknowledged.
    let second = pull(&pubsub).await;
    ack(&first);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let third = pull(&pubsub).await;
    [seen(&first), seen(&second), seen(&third)]
}

#[tokio::test]
async fn deliveries_go_wrong_as_the_faults_say() {
    let cases = [
        (json!("duplicate"), [&["a", "b"][..], &["a"], &[]]),
        (json!("expire_lease"), [&["a", "b"], &["a"], &[]]),
        (json!({"reorder_ms": 500}), [&["b"], &[], &["a"]]),
        (json!({"redeliver_late_ms": 500}), [&["a", "b"], &[], &["a"]]),
    ];
    for (fault, expected) in cases {
        assert_eq!(seen_under(fault.clone()).await, expected.map(<[&str]>::to_vec), "{fault}");
    }
}

/// A service where one pull waits, as far as it gets without a message.
async fn with_a_waiting_pull() -> (PubSub, tokio::task::JoinHandle<Result<PullResponse, Error>>) {
    let pubsub = PubSub::open(None, Dice::default()).unwrap();
    pubsub.create_topic(TOPIC).unwrap();
    pubsub.create_subscription(subscription()).unwrap();
    let request =
        PullRequest { subscription: SUB.to_owned(), max_messages: 1, ..PullRequest::default() };
    let waiting = tokio::spawn({
        let pubsub = pubsub.clone();
        async move {
            tokio::time::timeout(PULL_WAIT_MAX / 2, pubsub.pull(request))
                .await
                .expect("it ends early")
        }
    });
    while pubsub.shared.changed.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    (pubsub, waiting)
}

#[tokio::test]
async fn a_waiting_pull_wakes_for_a_message() {
    let (pubsub, waiting) = with_a_waiting_pull().await;
    pubsub.publish(TOPIC, "a".into(), HashMap::new()).unwrap();
    assert_eq!(texts(&waiting.await.unwrap().unwrap().received_messages), [b"a"]);
}

#[tokio::test]
async fn a_waiting_pull_wakes_when_anothers_lease_ends_by_a_nack() {
    let (pubsub, waiting) = with_a_waiting_pull().await;
    let publish = |core: &mut Core, now| {
        let message = PubsubMessage { data: "a".into(), ..PubsubMessage::default() };
        core.publish(now, PublishRequest { topic: TOPIC.to_owned(), messages: vec![message] })?;
        core.pull(now, SUB, 1)
    };
    let leased = pubsub.call(publish).unwrap().remove(0);
    tokio::task::yield_now().await;
    pubsub.call(|core, now| core.modify_ack_deadline(now, SUB, &[leased.ack_id], 0)).unwrap();
    assert_eq!(texts(&waiting.await.unwrap().unwrap().received_messages), [b"a"]);
}

#[tokio::test]
async fn a_waiting_pull_ends_when_the_service_stops() {
    let (pubsub, waiting) = with_a_waiting_pull().await;
    pubsub.shutdown();
    assert_eq!(waiting.await.unwrap(), Ok(PullResponse::default()));
}

/// Plays REST calls, each a line `METHOD path {body} => status {answer}`; what
/// an answer has besides the fields that are named does not matter.
async fn check(story: &str) {
    let pubsub = PubSub::open(None, Dice::default()).unwrap();
    for line in story.lines().map(str::trim).filter(|it| !it.is_empty()) {
        let (call, expected) = line.split_once(" => ").expect("a call and its answer");
        let mut call = call.splitn(3, ' ');
        let (method, path) = (call.next().unwrap(), call.next().unwrap());
        let body = call.next().unwrap_or_default().to_owned();
        let request = Request::builder().method(method).uri(format!("/v1/projects/p{path}"));
        let response =
            pubsub.router().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), BODY_BYTES_MAX).await.unwrap();
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        let (code, wanted) = expected.split_once(' ').unwrap_or((expected, "{}"));
        let wanted: Value = serde_json::from_str(wanted).unwrap();
        assert_eq!(status.to_string(), code, "{line}\n{answer}");
        assert!(contains(&answer, &wanted), "{line}\n{answer}");
    }
}

fn contains(answer: &Value, wanted: &Value) -> bool {
    match (answer, wanted) {
        (Value::Object(answer), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| answer.get(key).is_some_and(|it| contains(it, wanted))),
        (Value::Array(answer), Value::Array(wanted)) => {
            answer.len() == wanted.len()
                && answer.iter().zip(wanted).all(|(answer, wanted)| contains(answer, wanted))
        }
        (answer, wanted) => answer == wanted,
    }
}

#[tokio::test]
async fn topics_and_subscriptions_are_administered_over_rest() {
    check(
        r#"
        PUT /topics/orders {"labels": {"team": "blue"}} => 200 {"name": "projects/p/topics/orders", "labels": {"team": "blue"}, "state": "ACTIVE"}
        GET /topics/orders?%24alt=json%3Benum-encoding%3Dint => 200 {"state": 1}
        PATCH /topics/orders {"topic": {"labels": {"team": "red"}, "state": 1}, "updateMask": "labels"} => 200 {"labels": {"team": "red"}}
        PUT /subscriptions/worker {"topic": "projects/p/topics/orders", "retryPolicy": {"minimumBackoff": "1.5s"}, "pushConfig": {}} => 200 {"ackDeadlineSeconds": 10, "retryPolicy": {"minimumBackoff": "1.500s", "maximumBackoff": "600s"}, "messageRetentionDuration": "604800s"}
        PATCH /subscriptions/worker {"subscription": {"ackDeadlineSeconds": 20}, "updateMask": "ackDeadlineSeconds"} => 200 {"ackDeadlineSeconds": 20, "topic": "projects/p/topics/orders"}
        GET /topics?pageSize=1 => 200 {"topics": [{"name": "projects/p/topics/orders"}]}
        GET /subscriptions => 200 {"subscriptions": [{"name": "projects/p/subscriptions/worker"}]}
        GET /topics/orders/subscriptions => 200 {"subscriptions": ["projects/p/subscriptions/worker"]}
        DELETE /topics/orders => 200
        GET /subscriptions/worker => 200 {"topic": "_deleted-topic_"}
        DELETE /subscriptions/worker => 200
        GET /subscriptions => 200 {"subscriptions": []}
        "#,
    )
    .await;
}

#[tokio::test]
async fn refusals_over_rest_have_googles_shape() {
    check(
        r#"
        GET /topics/orders => 404 {"error": {"code": 404, "message": "Resource not found (resource=orders).", "status": "NOT_FOUND"}}
        PUT /topics/orders => 200
        PUT /topics/orders {} => 409 {"error": {"code": 409, "status": "ALREADY_EXISTS"}}
        PUT /topics/x => 400 {"error": {"code": 400, "status": "INVALID_ARGUMENT"}}
        PUT /topics/other {"lables": {}} => 400 {"error": {"status": "INVALID_ARGUMENT"}}
        PUT /subscriptions/worker {"topic": "projects/p/topics/orders", "pushConfig": {"pushEndpoint": "https://h/"}} => 501 {"error": {"message": "The embedded Pub/Sub does not support push subscriptions.", "status": "UNIMPLEMENTED"}}
        PUT /subscriptions/worker {"topic": "projects/p/topics/orders", "ackDeadlineSeconds": "x"} => 400
        POST /topics/orders:frobnicate {} => 404
        POST /topics/orders => 404
        "#,
    )
    .await;
}

#[tokio::test]
async fn messages_go_in_and_out_over_rest() {
    check(
        r#"
        PUT /topics/orders => 200
        PUT /subscriptions/worker {"topic": "projects/p/topics/orders"} => 200
        POST /topics/orders:publish {"messages": [{"data": "aGk_", "attributes": {"k": "v"}, "orderingKey": "o"}]} => 200
        POST /subscriptions/worker:pull {"maxMessages": 1, "returnImmediately": true} => 200 {"receivedMessages": [{"message": {"data": "aGk/", "attributes": {"k": "v"}, "orderingKey": "o"}}]}
        POST /subscriptions/worker:pull {"maxMessages": 1, "returnImmediately": true} => 200 {}
        POST /subscriptions/worker:acknowledge {"ackIds": ["1-2-3"]} => 200
        POST /subscriptions/worker:modifyAckDeadline {"ackIds": ["1-2-3"], "ackDeadlineSeconds": 20} => 200
        POST /subscriptions/worker:seek {"time": "2026-01-01T00:00:00Z"} => 200
        POST /topics/orders:publish {"messages": [{"data": "!"}]} => 400
        "#,
    )
    .await;
}

#[test]
fn base64_of_the_wire_is_read_in_every_spelling() {
    for text in ["-_8=", "+/8=", "-_8", "+/8"] {
        let message: json::Message = serde_json::from_value(json!({ "data": text })).unwrap();
        let message = PubsubMessage::from(message);
        assert_eq!(&message.data[..], [0xfb, 0xff], "{text}");
    }
}
