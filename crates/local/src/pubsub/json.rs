//! Google's resources in their JSON form, as the REST door speaks it.
//!
//! A field that this stack does not know is refused with its name.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as wire;
use jiff::Timestamp;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How a client wants enums: by name, or by number with `$alt=json;enum-encoding=int`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Enums {
    Names,
    Numbers,
}

/// The one enum that is answered; what a client sends is output only and ignored.
#[derive(Debug, Default)]
struct State(Option<Enums>);

impl State {
    fn is_unset(&self) -> bool {
        self.0.is_none()
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            None => serializer.serialize_none(),
            Some(Enums::Names) => serializer.serialize_str("ACTIVE"),
            Some(Enums::Numbers) => serializer.serialize_i32(wire::topic::State::Active.into()),
        }
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self::default())
    }
}

/// A duration in JSON: seconds with up to nine decimals and an `s`.
#[derive(Clone, Copy, Debug)]
struct Seconds(prost_types::Duration);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let seconds = text.strip_suffix('s').and_then(|it| it.parse().ok());
        let duration = seconds.and_then(|it| Duration::try_from_secs_f64(it).ok());
        let duration = duration.and_then(|it| prost_types::Duration::try_from(it).ok());
        duration
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("{text} is not a duration like 3.5s")))
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Topic {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    labels: HashMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    kms_key_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_storage_policy: Option<MessageStoragePolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_retention_duration: Option<Seconds>,
    #[serde(skip_serializing_if = "State::is_unset")]
    state: State,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct MessageStoragePolicy {
    allowed_persistence_regions: Vec<String>,
    enforce_in_transit: bool,
}

impl From<Topic> for wire::Topic {
    fn from(it: Topic) -> Self {
        Self {
            name: it.name,
            labels: it.labels,
            kms_key_name: it.kms_key_name,
            message_storage_policy: it.message_storage_policy.map(|it| {
                wire::MessageStoragePolicy {
                    allowed_persistence_regions: it.allowed_persistence_regions,
                    enforce_in_transit: it.enforce_in_transit,
                }
            }),
            message_retention_duration: it.message_retention_duration.map(|it| it.0),
            ..Self::default()
        }
    }
}

impl Topic {
    pub(super) fn answer(it: wire::Topic, enums: Enums) -> Self {
        Self {
            name: it.name,
            labels: it.labels,
            kms_key_name: it.kms_key_name,
            message_storage_policy: it.message_storage_policy.map(|it| MessageStoragePolicy {
                allowed_persistence_regions: it.allowed_persistence_regions,
                enforce_in_transit: it.enforce_in_transit,
            }),
            message_retention_duration: it.message_retention_duration.map(Seconds),
            state: State(Some(enums)),
        }
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Subscription {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    topic: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    push_config: Option<PushConfig>,
    ack_deadline_seconds: i32,
    #[serde(skip_serializing_if = "is_false")]
    retain_acked_messages: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_retention_duration: Option<Seconds>,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    labels: HashMap<String, String>,
    #[serde(skip_serializing_if = "is_false")]
    enable_message_ordering: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_policy: Option<ExpirationPolicy>,
    #[serde(skip_serializing_if = "String::is_empty")]
    filter: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter_policy: Option<DeadLetterPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_policy: Option<RetryPolicy>,
    #[serde(skip_serializing_if = "is_false")]
    enable_exactly_once_delivery: bool,
    #[serde(skip_serializing_if = "State::is_unset")]
    state: State,
}

/// Empty means pull; an endpoint is refused by the core.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct PushConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    push_endpoint: String,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct ExpirationPolicy {
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<Seconds>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct DeadLetterPolicy {
    dead_letter_topic: String,
    max_delivery_attempts: i32,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct RetryPolicy {
    minimum_backoff: Option<Seconds>,
    maximum_backoff: Option<Seconds>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_false(it: &bool) -> bool {
    !it
}

impl From<Subscription> for wire::Subscription {
    fn from(it: Subscription) -> Self {
        Self {
            name: it.name,
            topic: it.topic,
            push_config: it.push_config.map(|it| wire::PushConfig {
                push_endpoint: it.push_endpoint,
                ..wire::PushConfig::default()
            }),
            ack_deadline_seconds: it.ack_deadline_seconds,
            retain_acked_messages: it.retain_acked_messages,
            message_retention_duration: it.message_retention_duration.map(|it| it.0),
            labels: it.labels,
            enable_message_ordering: it.enable_message_ordering,
            expiration_policy: it
                .expiration_policy
                .map(|it| wire::ExpirationPolicy { ttl: it.ttl.map(|it| it.0) }),
            filter: it.filter,
            dead_letter_policy: it.dead_letter_policy.map(|it| wire::DeadLetterPolicy {
                dead_letter_topic: it.dead_letter_topic,
                max_delivery_attempts: it.max_delivery_attempts,
            }),
            retry_policy: it.retry_policy.map(|it| wire::RetryPolicy {
                minimum_backoff: it.minimum_backoff.map(|it| it.0),
                maximum_backoff: it.maximum_backoff.map(|it| it.0),
            }),
            enable_exactly_once_delivery: it.enable_exactly_once_delivery,
            ..Self::default()
        }
    }
}

impl Subscription {
    pub(super) fn answer(it: wire::Subscription, enums: Enums) -> Self {
        Self {
            name: it.name,
            topic: it.topic,
            push_config: Some(PushConfig::default()),
            ack_deadline_seconds: it.ack_deadline_seconds,
            retain_acked_messages: it.retain_acked_messages,
            message_retention_duration: it.message_retention_duration.map(Seconds),
            labels: it.labels,
            enable_message_ordering: it.enable_message_ordering,
            expiration_policy: it
                .expiration_policy
                .map(|it| ExpirationPolicy { ttl: it.ttl.map(Seconds) }),
            filter: it.filter,
            dead_letter_policy: it.dead_letter_policy.map(|it| DeadLetterPolicy {
                dead_letter_topic: it.dead_letter_topic,
                max_delivery_attempts: it.max_delivery_attempts,
            }),
            retry_policy: it.retry_policy.map(|it| RetryPolicy {
                minimum_backoff: it.minimum_backoff.map(Seconds),
                maximum_backoff: it.maximum_backoff.map(Seconds),
            }),
            enable_exactly_once_delivery: it.enable_exactly_once_delivery,
            state: State(Some(enums)),
        }
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Message {
    #[serde(with = "base64_bytes", skip_serializing_if = "Bytes::is_empty")]
    data: Bytes,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    attributes: HashMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[serde(rename = "messageId")]
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    publish_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "String::is_empty")]
    ordering_key: String,
}

impl From<Message> for wire::PubsubMessage {
    fn from(it: Message) -> Self {
        Self {
            data: it.data,
            attributes: it.attributes,
            ordering_key: it.ordering_key,
            ..Self::default()
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Received {
    ack_id: String,
    message: Message,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_attempt: Option<i32>,
}

impl From<wire::ReceivedMessage> for Received {
    fn from(it: wire::ReceivedMessage) -> Self {
        let message = it.message.unwrap_or_default();
        let time = message.publish_time.and_then(|it| Timestamp::new(it.seconds, it.nanos).ok());
        Self {
            ack_id: it.ack_id,
            message: Message {
                data: message.data,
                attributes: message.attributes,
                id: message.message_id,
                publish_time: time,
                ordering_key: message.ordering_key,
            },
            delivery_attempt: Some(it.delivery_attempt).filter(|it| *it > 0),
        }
    }
}

mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    use bytes::Bytes;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        bytes: &Bytes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    /// Accepts both alphabets, padded or not, as Google's JSON parsers do.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?.replace('-', "+").replace('_', "/");
        let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('='));
        bytes.map(Bytes::from).map_err(D::Error::custom)
    }
}
