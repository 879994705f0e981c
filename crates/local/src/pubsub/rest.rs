//! The REST door: JSON over HTTP/1, as the Rust client's administration and gcloud use it.

use std::collections::HashMap;

use axum::extract::{Path, Query};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::{Extension, Json, Router};
use bytes::Bytes;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as wire;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::core::Error;
use super::json::{Enums, Message, Received, Subscription, Topic};
use super::{PubSub, iam_policy};
use crate::iam::Caller;

pub(super) fn router(pubsub: &PubSub) -> Router {
    let pubsub = pubsub.clone();
    let answer = move |method: Method,
                       Path(path): Path<String>,
                       Query(query): Query<HashMap<String, String>>,
                       caller: Option<Extension<Caller>>,
                       body: Bytes| async move {
        if let Some((on, call)) = iam_policy::asked(&path, &body) {
            let answer = iam_policy::answer(&pubsub, caller.as_deref(), &on, call);
            return answer.map(Json).into_response();
        }
        let request = Request { pubsub, method, path, query, body };
        match request.answer().await {
            Ok(value) => Json(value).into_response(),
            Err(error) => refusal(&error),
        }
    };
    Router::new().route("/v1/{*path}", any(answer))
}

struct Request {
    pubsub: PubSub,
    method: Method,
    /// After `/v1/`: a resource or collection, and perhaps `:verb`.
    path: String,
    query: HashMap<String, String>,
    body: Bytes,
}

impl Request {
    async fn answer(&self) -> Result<Value, Error> {
        let (name, verb) = self.path.rsplit_once(':').unwrap_or((&self.path, ""));
        let parts: Vec<&str> = name.split('/').collect();
        match (&self.method, &parts[..], verb) {
            (&Method::GET, ["projects", project, "topics"], "") => self.list_topics(project),
            (&Method::GET, ["projects", project, "subscriptions"], "") => {
                self.list_subscriptions(project)
            }
            (&Method::GET, [.., "topics", _, "subscriptions"], "") => {
                self.list_topic_subscriptions(name)
            }
            (_, ["projects", _, "topics", _], _) => self.topic(name, verb),
            (_, ["projects", _, "subscriptions", _], _) => self.subscription(name, verb).await,
            _ => Err(self.unknown_method()),
        }
    }

    fn topic(&self, name: &str, verb: &str) -> Result<Value, Error> {
        let topic = match (&self.method, verb) {
            (&Method::PUT, "") => {
                let topic = wire::Topic { name: name.to_owned(), ..self.json::<Topic>()?.into() };
                self.pubsub.call(|core, _| core.create_topic(topic))?
            }
            (&Method::GET, "") => self.pubsub.call(|core, _| core.get_topic(name))?,
            (&Method::PATCH, "") => {
                let patch: TopicPatch = self.json()?;
                let topic = Some(wire::Topic { name: name.to_owned(), ..patch.topic.into() });
                let update =
                    wire::UpdateTopicRequest { topic, update_mask: Some(mask(&patch.update_mask)) };
                self.pubsub.call(|core, _| core.update_topic(update))?
            }
            (&Method::DELETE, "") => {
                self.pubsub.call(|core, _| core.delete_topic(name))?;
                return Ok(json!({}));
            }
            (&Method::POST, "publish") => {
                let body: Publish = self.json()?;
                let messages = body.messages.into_iter().map(Into::into).collect();
                let request = wire::PublishRequest { topic: name.to_owned(), messages };
                let response = self.pubsub.call(|core, now| core.publish(now, request))?;
                return Ok(json!({ "messageIds": response.message_ids }));
            }
            _ => return Err(self.unknown_method()),
        };
        Ok(json!(Topic::answer(topic, self.enums())))
    }

    async fn subscription(&self, name: &str, verb: &str) -> Result<Value, Error> {
        let subscription = match (&self.method, verb) {
            (&Method::PUT, "") => {
                let subscription = wire::Subscription {
                    name: name.to_owned(),
                    ..self.json::<Subscription>()?.into()
                };
                self.pubsub.call(|core, _| core.create_subscription(subscription))?
            }
            (&Method::GET, "") => self.pubsub.call(|core, _| core.get_subscription(name))?,
            (&Method::PATCH, "") => {
                let patch: SubscriptionPatch = self.json()?;
                let subscription =
                    Some(wire::Subscription { name: name.to_owned(), ..patch.subscription.into() });
                let update = wire::UpdateSubscriptionRequest {
                    subscription,
                    update_mask: Some(mask(&patch.update_mask)),
                };
                self.pubsub.call(|core, _| core.update_subscription(update))?
            }
            (&Method::DELETE, "") => {
                self.pubsub.call(|core, _| core.delete_subscription(name))?;
                return Ok(json!({}));
            }
            (&Method::POST, verb) => return self.settle(name, verb).await,
            _ => return Err(self.unknown_method()),
        };
        Ok(json!(Subscription::answer(subscription, self.enums())))
    }

    /// What is done to a subscription's messages.
    async fn settle(&self, subscription: &str, verb: &str) -> Result<Value, Error> {
        match verb {
            "pull" => {
                let body: Pull = self.json()?;
                #[expect(deprecated, reason = "gcloud still asks for it")]
                let request = wire::PullRequest {
                    subscription: subscription.to_owned(),
                    return_immediately: body.return_immediately,
                    max_messages: body.max_messages,
                };
                let received = self.pubsub.pull(request).await?.received_messages;
                let received: Vec<Received> = received.into_iter().map(Into::into).collect();
                return Ok(if received.is_empty() {
                    json!({})
                } else {
                    json!({ "receivedMessages": received })
                });
            }
            "acknowledge" => {
                let body: Acknowledge = self.json()?;
                self.pubsub.acknowledge(subscription, &body.ack_ids)?;
            }
            "modifyAckDeadline" => {
                let body: ModifyAckDeadline = self.json()?;
                self.pubsub.call(|core, now| {
                    core.modify_ack_deadline(
                        now,
                        subscription,
                        &body.ack_ids,
                        body.ack_deadline_seconds,
                    )
                })?;
            }
            "seek" => {
                let body: Seek = self.json()?;
                let to_wire = |it: Timestamp| prost_types::Timestamp {
                    seconds: it.as_second(),
                    nanos: it.subsec_nanosecond(),
                };
                let target = body.time.map(|it| wire::seek_request::Target::Time(to_wire(it)));
                let request = wire::SeekRequest { subscription: subscription.to_owned(), target };
                self.pubsub.call(|core, _| core.seek(&request))?;
            }
            _ => return Err(self.unknown_method()),
        }
        Ok(json!({}))
    }

    fn list_topics(&self, project: &str) -> Result<Value, Error> {
        let (page_size, page_token) = self.page()?;
        let request = wire::ListTopicsRequest {
            project: format!("projects/{project}"),
            page_size,
            page_token,
        };
        let page = self.pubsub.call(|core, _| core.list_topics(&request))?;
        let topics: Vec<Topic> =
            page.topics.into_iter().map(|it| Topic::answer(it, self.enums())).collect();
        Ok(list("topics", &json!(topics), page.next_page_token))
    }

    fn list_subscriptions(&self, project: &str) -> Result<Value, Error> {
        let (page_size, page_token) = self.page()?;
        let request = wire::ListSubscriptionsRequest {
            project: format!("projects/{project}"),
            page_size,
            page_token,
        };
        let page = self.pubsub.call(|core, _| core.list_subscriptions(&request))?;
        let subscriptions: Vec<Subscription> = page
            .subscriptions
            .into_iter()
            .map(|it| Subscription::answer(it, self.enums()))
            .collect();
        Ok(list("subscriptions", &json!(subscriptions), page.next_page_token))
    }

    fn list_topic_subscriptions(&self, name: &str) -> Result<Value, Error> {
        let (page_size, page_token) = self.page()?;
        let topic = name.strip_suffix("/subscriptions").unwrap_or(name).to_owned();
        let request = wire::ListTopicSubscriptionsRequest { topic, page_size, page_token };
        let page = self.pubsub.call(|core, _| core.list_topic_subscriptions(&request))?;
        Ok(list("subscriptions", &json!(page.subscriptions), page.next_page_token))
    }

    fn page(&self) -> Result<(i32, String), Error> {
        let size = self.query.get("pageSize").map_or(Ok(0), |it| it.parse());
        let size =
            size.map_err(|_| Error::InvalidArgument("Invalid value at 'page_size'.".to_owned()))?;
        Ok((size, self.query.get("pageToken").cloned().unwrap_or_default()))
    }

    fn enums(&self) -> Enums {
        let alt = self.query.get("$alt").or_else(|| self.query.get("alt"));
        match alt {
            Some(alt) if alt.contains("enum-encoding=int") => Enums::Numbers,
            Some(_) | None => Enums::Names,
        }
    }

    fn json<T: DeserializeOwned + Default>(&self) -> Result<T, Error> {
        if self.body.is_empty() {
            return Ok(T::default());
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            Error::InvalidArgument(format!("Invalid JSON payload received. {error}"))
        })
    }

    fn unknown_method(&self) -> Error {
        Error::NotFound(format!("{} /v1/{}", self.method, self.path))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct TopicPatch {
    topic: Topic,
    update_mask: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct SubscriptionPatch {
    subscription: Subscription,
    update_mask: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Publish {
    messages: Vec<Message>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Pull {
    return_immediately: bool,
    max_messages: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Acknowledge {
    ack_ids: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ModifyAckDeadline {
    ack_ids: Vec<String>,
    ack_deadline_seconds: i32,
}

/// A snapshot is named here only to be refused by the core.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Seek {
    time: Option<Timestamp>,
}

/// Field paths come in camelCase here and are `snake_case` everywhere else.
fn mask(paths: &str) -> prost_types::FieldMask {
    let snake = |path: &str| {
        path.chars().fold(String::new(), |mut snake, c| {
            if c.is_ascii_uppercase() {
                snake.push('_');
            }
            snake.push(c.to_ascii_lowercase());
            snake
        })
    };
    let paths = paths.split(',').filter(|it| !it.is_empty()).map(snake).collect();
    prost_types::FieldMask { paths }
}

fn list(field: &str, items: &Value, next_page_token: String) -> Value {
    let mut answer = json!({ field: items });
    if !next_page_token.is_empty() {
        answer["nextPageToken"] = Value::String(next_page_token);
    }
    answer
}

/// A refusal in the shape of google.rpc's JSON errors.
fn refusal(error: &Error) -> Response {
    let (code, status) = match error {
        Error::InvalidArgument(_) => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT"),
        Error::OutOfRange(_) => (StatusCode::BAD_REQUEST, "OUT_OF_RANGE"),
        Error::NotFound(_) => (StatusCode::NOT_FOUND, "NOT_FOUND"),
        Error::AlreadyExists(_) => (StatusCode::CONFLICT, "ALREADY_EXISTS"),
        Error::Unimplemented(_) => (StatusCode::NOT_IMPLEMENTED, "UNIMPLEMENTED"),
        Error::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
    };
    let body = json!({ "error": { "code": code.as_u16(), "message": error.to_string(), "status": status } });
    (code, Json(body)).into_response()
}
