//! The gRPC door: Publisher and Subscriber, routed by method path.

use std::future::ready;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as wire;
use tonic::Status;
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::core::Error;
use super::{BODY_BYTES_MAX, PubSub, stream};

pub(super) fn router(pubsub: &PubSub) -> Router {
    publisher(pubsub).merge(subscriber(pubsub))
}

fn publisher(pubsub: &PubSub) -> Router {
    let method = |name: &str| format!("/google.pubsub.v1.Publisher/{name}");
    Router::new()
        .route(
            &method("Publish"),
            unary(pubsub, |pubsub, it: wire::PublishRequest| {
                ready(pubsub.call(|core, now| core.publish(now, it)))
            }),
        )
        .route(
            &method("CreateTopic"),
            unary(pubsub, |pubsub, it: wire::Topic| {
                ready(pubsub.call(|core, _| core.create_topic(it)))
            }),
        )
        .route(
            &method("GetTopic"),
            unary(pubsub, |pubsub, it: wire::GetTopicRequest| {
                ready(pubsub.call(|core, _| core.get_topic(&it.topic)))
            }),
        )
        .route(
            &method("UpdateTopic"),
            unary(pubsub, |pubsub, it: wire::UpdateTopicRequest| {
                ready(pubsub.call(|core, _| core.update_topic(it)))
            }),
        )
        .route(
            &method("DeleteTopic"),
            unary(pubsub, |pubsub, it: wire::DeleteTopicRequest| {
                ready(pubsub.call(|core, _| core.delete_topic(&it.topic)))
            }),
        )
        .route(
            &method("ListTopics"),
            unary(pubsub, |pubsub, it: wire::ListTopicsRequest| {
                ready(pubsub.call(|core, _| core.list_topics(&it)))
            }),
        )
        .route(
            &method("ListTopicSubscriptions"),
            unary(pubsub, |pubsub, it: wire::ListTopicSubscriptionsRequest| {
                ready(pubsub.call(|core, _| core.list_topic_subscriptions(&it)))
            }),
        )
}

fn subscriber(pubsub: &PubSub) -> Router {
    let method = |name: &str| format!("/google.pubsub.v1.Subscriber/{name}");
    Router::new()
        .route(
            &method("CreateSubscription"),
            unary(pubsub, |pubsub, it: wire::Subscription| {
                ready(pubsub.call(|core, _| core.create_subscription(it)))
            }),
        )
        .route(
            &method("GetSubscription"),
            unary(pubsub, |pubsub, it: wire::GetSubscriptionRequest| {
                ready(pubsub.call(|core, _| core.get_subscription(&it.subscription)))
            }),
        )
        .route(
            &method("UpdateSubscription"),
            unary(pubsub, |pubsub, it: wire::UpdateSubscriptionRequest| {
                ready(pubsub.call(|core, _| core.update_subscription(it)))
            }),
        )
        .route(
            &method("DeleteSubscription"),
            unary(pubsub, |pubsub, it: wire::DeleteSubscriptionRequest| {
                ready(pubsub.call(|core, _| core.delete_subscription(&it.subscription)))
            }),
        )
        .route(
            &method("ListSubscriptions"),
            unary(pubsub, |pubsub, it: wire::ListSubscriptionsRequest| {
                ready(pubsub.call(|core, _| core.list_subscriptions(&it)))
            }),
        )
        .route(
            &method("Pull"),
            unary(pubsub, |pubsub, it: wire::PullRequest| async move { pubsub.pull(it).await }),
        )
        .route(
            &method("Acknowledge"),
            unary(pubsub, |pubsub, it: wire::AcknowledgeRequest| {
                ready(pubsub.acknowledge(&it.subscription, &it.ack_ids))
            }),
        )
        .route(
            &method("ModifyAckDeadline"),
            unary(pubsub, |pubsub, it: wire::ModifyAckDeadlineRequest| {
                ready(pubsub.call(|core, now| {
                    core.modify_ack_deadline(
                        now,
                        &it.subscription,
                        &it.ack_ids,
                        it.ack_deadline_seconds,
                    )
                }))
            }),
        )
        .route(
            &method("Seek"),
            unary(pubsub, |pubsub, it: wire::SeekRequest| {
                ready(pubsub.call(|core, _| core.seek(&it)).map(|()| wire::SeekResponse {}))
            }),
        )
        .route(&method("StreamingPull"), streaming_pull(pubsub))
}

/// A method with one request and one answer.
fn unary<Q, A, F, R>(pubsub: &PubSub, method: F) -> MethodRouter
where
    Q: prost::Message + Default + 'static,
    A: prost::Message + Default + 'static,
    F: Fn(PubSub, Q) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<A, Error>> + Send + 'static,
{
    let pubsub = pubsub.clone();
    post(move |request: Request| async move {
        let service = service_fn(move |request: tonic::Request<Q>| {
            let answer = method(pubsub.clone(), request.into_inner());
            async move { answer.await.map(tonic::Response::new).map_err(|error| status(&error)) }
        });
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<A, Q>::default())
            .max_decoding_message_size(BODY_BYTES_MAX)
            .max_encoding_message_size(usize::MAX);
        grpc.unary(service, request).await.map(Body::new)
    })
}

fn streaming_pull(pubsub: &PubSub) -> MethodRouter {
    let pubsub = pubsub.clone();
    post(move |request: Request| async move {
        let service = service_fn(move |request| stream::open(pubsub.clone(), request));
        let codec =
            ProstCodec::<wire::StreamingPullResponse, wire::StreamingPullRequest>::default();
        let response: Response<tonic::body::Body> = tonic::server::Grpc::new(codec)
            .max_decoding_message_size(BODY_BYTES_MAX)
            .max_encoding_message_size(usize::MAX)
            .streaming(service, request)
            .await;
        response.map(Body::new)
    })
}

pub(super) fn status(error: &Error) -> Status {
    let message = error.to_string();
    match error {
        Error::InvalidArgument(_) => Status::invalid_argument(message),
        Error::OutOfRange(_) => Status::out_of_range(message),
        Error::NotFound(_) => Status::not_found(message),
        Error::AlreadyExists(_) => Status::already_exists(message),
        Error::Unimplemented(_) => Status::unimplemented(message),
        Error::Unavailable(_) => Status::unavailable(message),
    }
}
