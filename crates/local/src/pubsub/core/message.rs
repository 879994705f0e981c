//! What may be published, and what a forwarded dead letter looks like.

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::PubsubMessage;
use jiff::Timestamp;
use prost::Message as _;

use super::error::{Result, invalid};
use super::name::Name;

const MESSAGES_MAX: usize = 1_000;
const REQUEST_BYTES_MAX: usize = 10_000_000;
const ATTRIBUTES_MAX: usize = 100;
const ATTRIBUTE_KEY_BYTES_MAX: usize = 256;
const ATTRIBUTE_VALUE_BYTES_MAX: usize = 1_024;
const ORDERING_KEY_BYTES_MAX: usize = 1_024;

/// Checks one publish request against the service's limits.
pub(super) fn check(messages: &[PubsubMessage]) -> Result<()> {
    let Some(first) = messages.first() else {
        return invalid(
            "The value for message_count is too small. You passed 0 in the request, but the minimum value is 1.",
        );
    };
    if messages.len() > MESSAGES_MAX {
        return invalid(format!(
            "The value for message_count is too large. You passed {} in the request, but the maximum value is {MESSAGES_MAX}.",
            messages.len()
        ));
    }
    let bytes: usize = messages.iter().map(PubsubMessage::encoded_len).sum();
    if bytes > REQUEST_BYTES_MAX {
        return invalid(format!(
            "Request payload size exceeds the limit: {REQUEST_BYTES_MAX} bytes."
        ));
    }
    if messages.iter().any(|it| it.ordering_key != first.ordering_key) {
        return invalid(
            "In a single publish request, all messages must have no ordering key or they must all have the same ordering key.",
        );
    }
    messages.iter().try_for_each(check_one)
}

fn check_one(message: &PubsubMessage) -> Result<()> {
    if message.data.is_empty() && message.attributes.is_empty() {
        return invalid(
            "One or more messages in the publish request is empty. Each message must contain either non-empty data, or at least one attribute.",
        );
    }
    if message.ordering_key.len() > ORDERING_KEY_BYTES_MAX {
        return invalid(format!("The ordering key is longer than {ORDERING_KEY_BYTES_MAX} bytes."));
    }
    if message.attributes.len() > ATTRIBUTES_MAX {
        return invalid(format!("A message has more than {ATTRIBUTES_MAX} attributes."));
    }
    for (key, value) in &message.attributes {
        if key.is_empty() || key.len() > ATTRIBUTE_KEY_BYTES_MAX {
            return invalid(format!(
                "An attribute key must have 1 to {ATTRIBUTE_KEY_BYTES_MAX} bytes."
            ));
        }
        if value.len() > ATTRIBUTE_VALUE_BYTES_MAX {
            return invalid(format!(
                "The value of attribute {key} is longer than {ATTRIBUTE_VALUE_BYTES_MAX} bytes."
            ));
        }
    }
    Ok(())
}

/// The message that the dead-letter topic gets: the original with its history as attributes.
pub(super) fn dead_letter(source: &Name, message: &PubsubMessage, attempts: u32) -> PubsubMessage {
    let published = published(message).strftime("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string();
    let history = [
        ("DeliveryCount", attempts.to_string()),
        ("Subscription", source.id().to_owned()),
        ("SubscriptionProject", source.project().to_owned()),
        ("TopicPublishTime", published),
    ];
    let mut letter = message.clone();
    letter
        .attributes
        .extend(history.map(|(what, value)| (format!("CloudPubSubDeadLetterSource{what}"), value)));
    letter
}

/// The ids are decimal numbers that only grow: a message's place in every queue.
pub(super) fn number(id: &str) -> Option<u64> {
    id.parse().ok()
}

/// When the service took the message in.
pub(super) fn published(message: &PubsubMessage) -> Timestamp {
    message.publish_time.as_ref().map_or(Timestamp::UNIX_EPOCH, from_wire)
}

pub(super) fn to_wire(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

pub(super) fn from_wire(time: &prost_types::Timestamp) -> Timestamp {
    Timestamp::new(time.seconds, time.nanos).unwrap_or(Timestamp::UNIX_EPOCH)
}
