//! What Pub/Sub's methods need, as its page on access control lists them.

use axum::http::Method;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as wire;
use serde_json::Value;

use super::{Asked, Demand, one};
use crate::iam::resource::Resource;

pub(super) fn demand(asked: &Asked<'_>) -> Option<Demand> {
    match asked.route {
        "/v1/{*path}" => rest(asked),
        "/google.iam.v1.IAMPolicy/{method}" => Some(Demand::Inside),
        route => {
            let publisher = route.strip_prefix("/google.pubsub.v1.Publisher/");
            let subscriber = route.strip_prefix("/google.pubsub.v1.Subscriber/");
            match (publisher, subscriber) {
                (Some(method), _) => topics(asked, method),
                (None, Some(method)) => subscriptions(asked, method),
                (None, None) => None,
            }
        }
    }
}

/// Over gRPC: `Publisher`.
fn topics(asked: &Asked<'_>, method: &str) -> Option<Demand> {
    let topic = |name| Some(Resource::Topic(name));
    match method {
        "Publish" => {
            one("pubsub.topics.publish", topic(asked.message::<wire::PublishRequest>()?.topic))
        }
        "CreateTopic" => {
            one("pubsub.topics.create", project(&asked.message::<wire::Topic>()?.name))
        }
        "GetTopic" => {
            one("pubsub.topics.get", topic(asked.message::<wire::GetTopicRequest>()?.topic))
        }
        "UpdateTopic" => {
            let name = asked.message::<wire::UpdateTopicRequest>()?.topic?.name;
            one("pubsub.topics.update", topic(name))
        }
        "DeleteTopic" => {
            one("pubsub.topics.delete", topic(asked.message::<wire::DeleteTopicRequest>()?.topic))
        }
        "ListTopics" => {
            let project = asked.message::<wire::ListTopicsRequest>()?.project;
            one("pubsub.topics.list", Some(Resource::Project(project)))
        }
        "ListTopicSubscriptions" => {
            let name = asked.message::<wire::ListTopicSubscriptionsRequest>()?.topic;
            one("pubsub.topics.get", topic(name))
        }
        _ => None,
    }
}

/// Over gRPC: `Subscriber`.
fn subscriptions(asked: &Asked<'_>, method: &str) -> Option<Demand> {
    const CONSUME: &str = "pubsub.subscriptions.consume";
    let subscription = |name| Some(Resource::Subscription(name));
    let (permission, name) = match method {
        "CreateSubscription" => {
            let it = asked.message::<wire::Subscription>()?;
            return create(&it.name, it.topic);
        }
        "ListSubscriptions" => {
            let project = asked.message::<wire::ListSubscriptionsRequest>()?.project;
            return one("pubsub.subscriptions.list", Some(Resource::Project(project)));
        }
        "GetSubscription" => (
            "pubsub.subscriptions.get",
            asked.message::<wire::GetSubscriptionRequest>()?.subscription,
        ),
        "UpdateSubscription" => (
            "pubsub.subscriptions.update",
            asked.message::<wire::UpdateSubscriptionRequest>()?.subscription?.name,
        ),
        "DeleteSubscription" => (
            "pubsub.subscriptions.delete",
            asked.message::<wire::DeleteSubscriptionRequest>()?.subscription,
        ),
        "Pull" => (CONSUME, asked.message::<wire::PullRequest>()?.subscription),
        "StreamingPull" => (CONSUME, asked.message::<wire::StreamingPullRequest>()?.subscription),
        "Acknowledge" => (CONSUME, asked.message::<wire::AcknowledgeRequest>()?.subscription),
        "ModifyAckDeadline" => {
            (CONSUME, asked.message::<wire::ModifyAckDeadlineRequest>()?.subscription)
        }
        "Seek" => (CONSUME, asked.message::<wire::SeekRequest>()?.subscription),
        _ => return None,
    };
    one(permission, subscription(name))
}

/// Over REST, `/v1/…`.
fn rest(asked: &Asked<'_>) -> Option<Demand> {
    let path = asked.path("path")?;
    let (name, verb) = path.rsplit_once(':').unwrap_or((path, ""));
    let parts: Vec<&str> = name.split('/').collect();
    if matches!(verb, "getIamPolicy" | "setIamPolicy" | "testIamPermissions") {
        return Some(Demand::Inside);
    }
    match (asked.method, &parts[..], verb) {
        (&Method::GET, ["projects", _, "topics"], "") => one("pubsub.topics.list", project(name)),
        (&Method::GET, ["projects", _, "subscriptions"], "") => {
            one("pubsub.subscriptions.list", project(name))
        }
        (&Method::GET, ["projects", _, "topics", _, "subscriptions"], "") => {
            let topic = name.strip_suffix("/subscriptions")?;
            one("pubsub.topics.get", Some(Resource::Topic(topic.to_owned())))
        }
        (method, ["projects", _, "topics", _], verb) => {
            let permission = match (method, verb) {
                (&Method::PUT, "") => return one("pubsub.topics.create", project(name)),
                (&Method::GET, "") => "pubsub.topics.get",
                (&Method::PATCH, "") => "pubsub.topics.update",
                (&Method::DELETE, "") => "pubsub.topics.delete",
                (&Method::POST, "publish") => "pubsub.topics.publish",
                _ => return None,
            };
            one(permission, Some(Resource::Topic(name.to_owned())))
        }
        (method, ["projects", _, "subscriptions", _], verb) => {
            let permission = match (method, verb) {
                (&Method::PUT, "") => {
                    let body: Value = serde_json::from_slice(asked.body).ok()?;
                    return create(name, body["topic"].as_str()?.to_owned());
                }
                (&Method::GET, "") => "pubsub.subscriptions.get",
                (&Method::PATCH, "") => "pubsub.subscriptions.update",
                (&Method::DELETE, "") => "pubsub.subscriptions.delete",
                (&Method::POST, "pull" | "acknowledge" | "modifyAckDeadline" | "seek") => {
                    "pubsub.subscriptions.consume"
                }
                _ => return None,
            };
            one(permission, Some(Resource::Subscription(name.to_owned())))
        }
        _ => None,
    }
}

/// A subscription is made in a project and attached to a topic, and both are asked.
fn create(subscription: &str, topic: String) -> Option<Demand> {
    Some(Demand::All(vec![
        ("pubsub.subscriptions.create", project(subscription)?),
        ("pubsub.topics.attachSubscription", Resource::Topic(topic)),
    ]))
}

/// The project in a resource's name.
fn project(name: &str) -> Option<Resource> {
    let mut parts = name.split('/');
    match (parts.next(), parts.next()) {
        (Some("projects"), Some(id)) if !id.is_empty() => Some(Resource::project(id)),
        _ => None,
    }
}
