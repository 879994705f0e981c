//! Pub/Sub: what each method needs, over gRPC and over REST.

use std::collections::HashMap;

use futures::stream;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as wire;

use super::*;
use crate::pubsub::DeadLetterPolicy;

const CONSUME: &[&str] = &["pubsub.subscriptions.consume"];
const ATTACH: &[&str] = &["pubsub.subscriptions.create", "pubsub.topics.attachSubscription"];

fn new_topic() -> wire::Topic {
    wire::Topic { name: "projects/demo-project/topics/new".to_owned(), ..wire::Topic::default() }
}

fn publisher(method: &str, message: &impl prost::Message, needs: &'static [&'static str]) -> Op {
    grpc(Service::Pubsub, &format!("/google.pubsub.v1.Publisher/{method}"), message, needs)
}

fn subscriber(method: &str, message: &impl prost::Message, needs: &'static [&'static str]) -> Op {
    grpc(Service::Pubsub, &format!("/google.pubsub.v1.Subscriber/{method}"), message, needs)
}

fn message() -> wire::PubsubMessage {
    wire::PubsubMessage { data: "data".into(), ..wire::PubsubMessage::default() }
}

#[tokio::test]
async fn methods_of_topics_need_what_is_documented() {
    Yard::check(|| {
        let (topic, project) = (TOPIC.to_owned(), "projects/demo-project".to_owned());
        let update_mask = Some(prost_types::FieldMask { paths: vec!["labels".to_owned()] });
        let changed = Some(wire::Topic { name: topic.clone(), ..wire::Topic::default() });
        vec![
            publisher(
                "Publish",
                &wire::PublishRequest { topic: topic.clone(), messages: vec![message()] },
                &["pubsub.topics.publish"],
            ),
            publisher("CreateTopic", &new_topic(), &["pubsub.topics.create"]),
            publisher(
                "GetTopic",
                &wire::GetTopicRequest { topic: topic.clone() },
                &["pubsub.topics.get"],
            ),
            publisher(
                "UpdateTopic",
                &wire::UpdateTopicRequest { topic: changed, update_mask },
                &["pubsub.topics.update"],
            ),
            publisher(
                "ListTopics",
                &wire::ListTopicsRequest { project, ..wire::ListTopicsRequest::default() },
                &["pubsub.topics.list"],
            ),
            publisher(
                "ListTopicSubscriptions",
                &wire::ListTopicSubscriptionsRequest {
                    topic: topic.clone(),
                    ..wire::ListTopicSubscriptionsRequest::default()
                },
                &["pubsub.topics.get"],
            ),
            publisher(
                "DeleteTopic",
                &wire::DeleteTopicRequest { topic },
                &["pubsub.topics.delete"],
            ),
        ]
    })
    .await;
}

#[tokio::test]
async fn methods_of_subscriptions_need_what_is_documented() {
    Yard::check(|| {
        let (subscription, project) = (SUB.to_owned(), "projects/demo-project".to_owned());
        let like = |name: &str| Subscription {
            name: name.to_owned(),
            topic: TOPIC.to_owned(),
            ack_deadline_seconds: 20,
            ..Subscription::default()
        };
        let update_mask =
            Some(prost_types::FieldMask { paths: vec!["ack_deadline_seconds".to_owned()] });
        let update = wire::UpdateSubscriptionRequest { subscription: Some(like(SUB)), update_mask };
        let list =
            wire::ListSubscriptionsRequest { project, ..wire::ListSubscriptionsRequest::default() };
        let get = wire::GetSubscriptionRequest { subscription: subscription.clone() };
        let delete = wire::DeleteSubscriptionRequest { subscription };
        let new = like("projects/demo-project/subscriptions/new");
        vec![
            subscriber("CreateSubscription", &new, ATTACH),
            subscriber("GetSubscription", &get, &["pubsub.subscriptions.get"]),
            subscriber("UpdateSubscription", &update, &["pubsub.subscriptions.update"]),
            subscriber("ListSubscriptions", &list, &["pubsub.subscriptions.list"]),
            subscriber("DeleteSubscription", &delete, &["pubsub.subscriptions.delete"]),
        ]
    })
    .await;
}

#[tokio::test]
async fn whatever_is_done_to_messages_consumes_them() {
    Yard::check(|| {
        let subscription = || SUB.to_owned();
        #[expect(deprecated, reason = "the only way to ask without waiting")]
        let pull = wire::PullRequest {
            subscription: subscription(),
            return_immediately: true,
            max_messages: 1,
        };
        let stream = wire::StreamingPullRequest {
            subscription: subscription(),
            stream_ack_deadline_seconds: 10,
            ..wire::StreamingPullRequest::default()
        };
        let ack_ids = vec!["1-1-1".to_owned()];
        let ack =
            wire::AcknowledgeRequest { subscription: subscription(), ack_ids: ack_ids.clone() };
        let modify = wire::ModifyAckDeadlineRequest {
            subscription: subscription(),
            ack_ids,
            ack_deadline_seconds: 10,
        };
        let target = Some(wire::seek_request::Target::Time(prost_types::Timestamp::default()));
        let seek = wire::SeekRequest { subscription: subscription(), target };
        vec![
            subscriber("Pull", &pull, CONSUME),
            subscriber("StreamingPull", &stream, CONSUME),
            subscriber("Acknowledge", &ack, CONSUME),
            subscriber("ModifyAckDeadline", &modify, CONSUME),
            subscriber("Seek", &seek, CONSUME),
        ]
    })
    .await;
}

/// Over REST, below the project.
fn at(method: &'static str, path: &str, body: Value, needs: &'static [&'static str]) -> Op {
    rest(Service::Pubsub, method, &format!("/v1/projects/demo-project/{path}"), body, needs)
}

#[tokio::test]
async fn over_rest_topics_need_the_same() {
    Yard::check(|| {
        let change = json!({"topic": {"labels": {"a": "b"}}, "updateMask": "labels"});
        let publish = json!({"messages": [{"data": "YQ=="}]});
        let (policy, none) = (json!({"policy": {}}), || Value::Null);
        vec![
            at("GET", "topics", none(), &["pubsub.topics.list"]),
            at("PUT", "topics/new", json!({}), &["pubsub.topics.create"]),
            at("GET", "topics/orders", none(), &["pubsub.topics.get"]),
            at("GET", "topics/orders/subscriptions", none(), &["pubsub.topics.get"]),
            at("PATCH", "topics/orders", change, &["pubsub.topics.update"]),
            at("POST", "topics/orders:publish", publish, &["pubsub.topics.publish"]),
            at("DELETE", "topics/orders", none(), &["pubsub.topics.delete"]),
            at("GET", "topics/orders:getIamPolicy", none(), &["pubsub.topics.getIamPolicy"]),
            at("POST", "topics/orders:setIamPolicy", policy, &["pubsub.topics.setIamPolicy"]),
        ]
    })
    .await;
}

#[tokio::test]
async fn over_rest_subscriptions_need_the_same() {
    Yard::check(|| {
        let one = |method, verb: &str, body, needs| {
            at(method, &format!("subscriptions/worker{verb}"), body, needs)
        };
        let none = || Value::Null;
        let change = json!({"ackDeadlineSeconds": 20});
        let change = json!({"subscription": change, "updateMask": "ackDeadlineSeconds"});
        let ids = json!({"ackIds": ["1-1-1"], "ackDeadlineSeconds": 10});
        let ack = json!({"ackIds": ["1-1-1"]});
        let pull = json!({"returnImmediately": true, "maxMessages": 1});
        let seek = json!({"time": "2020-01-01T00:00:00Z"});
        let policy = json!({"policy": {}});
        vec![
            at("GET", "subscriptions", none(), &["pubsub.subscriptions.list"]),
            at("PUT", "subscriptions/new", json!({"topic": TOPIC}), ATTACH),
            one("GET", "", none(), &["pubsub.subscriptions.get"]),
            one("PATCH", "", change, &["pubsub.subscriptions.update"]),
            one("POST", ":pull", pull, CONSUME),
            one("POST", ":acknowledge", ack, CONSUME),
            one("POST", ":modifyAckDeadline", ids, CONSUME),
            one("POST", ":seek", seek, CONSUME),
            one("DELETE", "", none(), &["pubsub.subscriptions.delete"]),
            one("GET", ":getIamPolicy", none(), &["pubsub.subscriptions.getIamPolicy"]),
            one("POST", ":setIamPolicy", policy, &["pubsub.subscriptions.setIamPolicy"]),
        ]
    })
    .await;
}

#[tokio::test]
async fn over_rest_a_refusal_names_the_permission_and_the_resource() {
    let yard = Yard::new();
    for (path, permission, resource) in [
        ("topics/orders", "pubsub.topics.get", TOPIC),
        ("topics", "pubsub.topics.list", "projects/demo-project"),
    ] {
        let outcome = yard.send(&at("GET", path, Value::Null, &[]), &yard.token).await;
        let expected = json!({"error": {
            "code": 403,
            "message": "User not authorized to perform this action.",
            "status": "PERMISSION_DENIED",
            "details": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "IAM_PERMISSION_DENIED",
                "domain": "pubsub.googleapis.com",
                "metadata": {"permission": permission, "resource": resource},
            }],
        }});
        assert_eq!((outcome.status, outcome.json()), (403, expected));
    }
}

#[tokio::test]
async fn what_is_made_anew_has_no_policy() {
    let yard = Yard::new();
    let on = Resource::topic(PROJECT, "orders");
    let publish = json!({"messages": [{"data": "YQ=="}]});
    let publish = at("POST", "topics/orders:publish", publish, &[]);
    let delete = wire::DeleteTopicRequest { topic: TOPIC.to_owned() };
    yard.hold(&["pubsub.topics.create", "pubsub.topics.delete"]);
    for delete in
        [publisher("DeleteTopic", &delete, &[]), at("DELETE", "topics/orders", Value::Null, &[])]
    {
        yard.iam.bind(&on, "roles/pubsub.publisher", &format!("serviceAccount:{ME}")).unwrap();
        assert_eq!(yard.send(&publish, &yard.token).await.status, 200);
        assert_eq!(yard.send(&delete, &yard.token).await.status, 200);
        yard.pubsub.create_topic(TOPIC).unwrap();
        assert_eq!(yard.send(&publish, &yard.token).await.status, 403);
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_permission() {
    let yard = Yard::new();
    let member = format!("serviceAccount:{ME}");
    let (on, role) = (Resource::subscription(PROJECT, "worker"), "roles/pubsub.subscriber");
    yard.iam.bind(&on, role, &member).unwrap();
    let first = wire::StreamingPullRequest {
        subscription: SUB.to_owned(),
        stream_ack_deadline_seconds: 10,
        ..wire::StreamingPullRequest::default()
    };
    let op = subscriber("StreamingPull", &first, &[]);
    let request = Request::post(&op.path)
        .header(CONTENT_TYPE, "application/grpc")
        .header(AUTHORIZATION, format!("Bearer {}", yard.token));
    // The client goes on listening.
    let first = stream::iter([Ok::<_, std::io::Error>(op.body)]).chain(stream::pending());
    let request = request.body(Body::from_stream(first)).unwrap();
    let response = yard.router(Service::Pubsub).oneshot(request).await.unwrap();
    let mut messages = response.into_body().into_data_stream();
    assert!(messages.next().await.is_some(), "it greets");
    yard.iam.unbind(&on, role, &member);
    yard.pubsub.publish(TOPIC, "data".into(), HashMap::new()).unwrap();
    assert!(messages.next().await.is_none(), "it delivers nothing");
}

#[tokio::test]
async fn over_grpc_a_refusal_names_the_permission() {
    let yard = Yard::new();
    let request = wire::PublishRequest { topic: TOPIC.to_owned(), messages: vec![message()] };
    let outcome = yard.send(&publisher("Publish", &request, &[]), &yard.token).await;
    assert_eq!(outcome.grpc, Some(7));
    let details = outcome.headers["grpc-status-details-bin"].to_str().unwrap();
    let details = base64::Engine::decode(
        &base64::prelude::BASE64_STANDARD_NO_PAD,
        details.trim_end_matches('='),
    );
    let details = String::from_utf8_lossy(&details.unwrap()).into_owned();
    for part in [
        "google.rpc.ErrorInfo",
        "IAM_PERMISSION_DENIED",
        "pubsub.googleapis.com",
        "pubsub.topics.publish",
        TOPIC,
    ] {
        assert!(details.contains(part), "{part}: {details}");
    }
}

#[tokio::test]
async fn a_binding_on_a_topic_is_for_that_topic() {
    let yard = Yard::new();
    yard.pubsub.create_topic("projects/demo-project/topics/other").unwrap();
    let member = format!("serviceAccount:{ME}");
    yard.iam.bind(&Resource::topic(PROJECT, "orders"), "roles/pubsub.publisher", &member).unwrap();
    let body = json!({"messages": [{"data": "YQ=="}]});
    for (topic, expected) in [("orders", 200), ("other", 403), ("missing", 403)] {
        let path = format!("/v1/projects/demo-project/topics/{topic}:publish");
        let op = rest(Service::Pubsub, "POST", &path, body.clone(), &[]);
        assert_eq!(yard.send(&op, &yard.token).await.status, expected, "{topic}");
    }
    // Nobody holds anything on what is not there, and that is no error.
    for (topic, expected) in
        [("orders", json!({"permissions": ["pubsub.topics.publish"]})), ("missing", json!({}))]
    {
        let path = format!("/v1/projects/demo-project/topics/{topic}:testIamPermissions");
        let ask = json!({"permissions": ["pubsub.topics.publish", "pubsub.topics.get"]});
        let outcome = yard.send(&rest(Service::Pubsub, "POST", &path, ask, &[]), &yard.token).await;
        assert_eq!((outcome.status, outcome.json()), (200, expected), "{topic}");
    }
}

#[tokio::test]
async fn dead_letters_move_only_when_pubsubs_own_agent_may_move_them() {
    let yard = Yard::new();
    let (letters, source) =
        ("projects/demo-project/topics/letters", "projects/demo-project/subscriptions/source");
    let archive = "projects/demo-project/subscriptions/archive";
    yard.pubsub.create_topic(letters).unwrap();
    for (name, topic, dead_letter_policy) in [
        (
            source,
            TOPIC,
            Some(DeadLetterPolicy {
                dead_letter_topic: letters.to_owned(),
                max_delivery_attempts: 5,
            }),
        ),
        (archive, letters, None),
    ] {
        let (name, topic) = (name.to_owned(), topic.to_owned());
        let it = Subscription { name, topic, dead_letter_policy, ..Subscription::default() };
        yard.pubsub.create_subscription(it).unwrap();
    }
    yard.hold(&["pubsub.subscriptions.consume"]);
    yard.pubsub.publish(TOPIC, "bad".into(), HashMap::new()).unwrap();
    let fail = async || {
        let path = format!("/v1/{source}:pull");
        let body = json!({"returnImmediately": true, "maxMessages": 1});
        let pulled = yard.send(&rest(Service::Pubsub, "POST", &path, body, &[]), &yard.token).await;
        let Some(id) = pulled.json()["receivedMessages"][0]["ackId"].as_str().map(str::to_owned)
        else {
            return;
        };
        let path = format!("/v1/{source}:modifyAckDeadline");
        let body = json!({"ackIds": [id], "ackDeadlineSeconds": 0});
        let nacked = yard.send(&rest(Service::Pubsub, "POST", &path, body, &[]), &yard.token).await;
        assert_eq!(nacked.status, 200);
    };
    let fail_often = async || {
        for _ in 0..6 {
            fail().await;
        }
    };
    let moved = || {
        (yard.pubsub.unacknowledged(source).unwrap(), yard.pubsub.unacknowledged(archive).unwrap())
    };
    let agent = format!("serviceAccount:service-{NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com");
    fail_often().await;
    assert_eq!(moved(), (1, 0), "it has no rights");
    yard.iam.bind(&Resource::topic(PROJECT, "letters"), "roles/pubsub.publisher", &agent).unwrap();
    fail_often().await;
    assert_eq!(moved(), (1, 0), "it may publish, but not take away");
    yard.iam
        .bind(&Resource::subscription(PROJECT, "source"), "roles/pubsub.subscriber", &agent)
        .unwrap();
    fail_often().await;
    assert_eq!(moved(), (0, 1));
}
