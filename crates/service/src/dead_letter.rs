//! Gives a message that cannot be handled to people: as it came, without its ID token, and with
//! the reason. The workers put dead letters away; see their archive.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use branchline_gcp::pubsub::{Message as Outgoing, Publish};

use crate::consume::Message;
use crate::redact::{redact, redact_text};
use crate::settlement::Failure;

/// Why, in a word.
pub const REASON: &str = "branchline-reason";
/// Why, in a sentence.
pub const DETAIL: &str = "branchline-detail";
/// The subscription that it came from, `projects/P/subscriptions/S`.
pub const SUBSCRIPTION: &str = "branchline-subscription";
/// When Pub/Sub took it in.
pub const FIRST_PUBLISHED: &str = "branchline-first-published";
/// How often it was delivered.
pub const ATTEMPTS: &str = "branchline-attempts";

/// Readiness condition of whoever puts dead letters away.
pub const CONDITION: &str = "dead-letters";
/// What was not put away has come again by then, to this process or another: Pub/Sub pauses for ten minutes at most.
pub const COMES_AGAIN_WITHIN: Duration = Duration::from_mins(15);

/// Pub/Sub's own limits.
const ATTRIBUTES_MAX: usize = 100;
const VALUE_MAX: usize = 1024;

/// The dead-letter topic of one subscription.
#[derive(Clone)]
pub struct DeadLetters {
    publisher: Arc<dyn Publish>,
    topic: String,
    subscription: String,
}

impl DeadLetters {
    /// Dead letters of `projects/P/subscriptions/S` go to `projects/P/topics/T`.
    pub fn new(publisher: Arc<dyn Publish>, topic: String, subscription: String) -> Self {
        Self { publisher, topic, subscription }
    }

    /// Publishes the message with its reason, and returns when it is safe to
    /// ack it. It may be published twice when the answer is lost.
    pub async fn publish(
        &self,
        message: &Message,
        failure: &Failure,
    ) -> Result<(), branchline_gcp::Error> {
        let key = Some(&message.ordering_key).filter(|it| !it.is_empty());
        let letter = Outgoing {
            data: redact(&message.data).into(),
            attributes: attributes(message, failure, &self.subscription),
            ordering_key: key.cloned(),
        };
        self.publisher.publish(&self.topic, letter).await.map(drop)
    }
}

/// The message's own attributes and, as far as there is room beside them, ours, in the order of
/// their use: what cannot be told is lost before what came is.
fn attributes(
    message: &Message,
    failure: &Failure,
    subscription: &str,
) -> BTreeMap<String, String> {
    let attempts = message.delivery_attempt.map(|it| (ATTEMPTS, it.to_string()));
    let ours = [
        (SUBSCRIPTION, subscription.to_owned()),
        (REASON, failure.reason.as_str().to_owned()),
        (FIRST_PUBLISHED, message.publish_time.to_string()),
        (DETAIL, failure.detail.clone()),
    ];
    let ours: Vec<_> = ours.into_iter().chain(attempts).collect();
    let theirs = message.attributes.iter();
    let theirs = theirs.filter(|(name, _)| !ours.iter().any(|it| it.0 == name.as_str()));
    let mut all: BTreeMap<_, _> =
        theirs.map(|(name, value)| (name.clone(), redact_text(value))).collect();
    let room = ATTRIBUTES_MAX.saturating_sub(all.len());
    let ours = ours.into_iter().take(room);
    all.extend(ours.map(|(name, value)| (name.to_owned(), cut(value))));
    all
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(VALUE_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settlement::Reason;
    use expect_test::expect;

    fn message(attributes: BTreeMap<String, String>) -> Message {
        Message {
            id: "7".to_owned(),
            data: r#"{"id_token": "eyJh.eyJc.s"}"#.into(),
            attributes,
            ordering_key: String::new(),
            publish_time: "2026-11-23T04:00:00Z".parse().unwrap(),
            delivery_attempt: Some(100),
        }
    }

    fn failure(detail: &str) -> Failure {
        Failure { reason: Reason::Unavailable, detail: detail.to_owned() }
    }

    #[test]
    fn a_dead_letter_keeps_its_attributes_and_says_why_it_is_one() {
        let theirs = [("ce-id", "r/1"), ("token", "eyJh.eyJc.s"), (REASON, "forged")];
        let message = message(theirs.map(|(name, it)| (name.to_owned(), it.to_owned())).into());
        let actual = attributes(&message, &failure("no answer"), "projects/p/subscriptions/s");
        expect![[r#"
            {
                "branchline-attempts": "100",
                "branchline-detail": "no answer",
                "branchline-first-published": "2026-11-23T04:00:00Z",
                "branchline-reason": "unavailable",
                "branchline-subscription": "projects/p/subscriptions/s",
                "ce-id": "r/1",
                "token": "REDACTED",
            }
        "#]]
        .assert_debug_eq(&actual);
    }

    #[test]
    fn a_dead_letter_loses_nothing_that_came_and_stays_within_the_limits_of_pub_sub() {
        let theirs = |count| (0..count).map(|it| (format!("a{it:03}"), "x".to_owned()));
        let detail = failure(&"ü".repeat(1000));
        let full = attributes(&message(theirs(100).collect()), &detail, "s");
        assert_eq!(full, theirs(100).collect());
        let nearly = attributes(&message(theirs(98).collect()), &detail, "s");
        assert_eq!((nearly.len(), nearly[REASON].as_str()), (100, "unavailable"));
        assert!(!nearly.contains_key(DETAIL) && nearly.contains_key("a097"));
        let some = attributes(&message(theirs(7).collect()), &detail, "s");
        assert_eq!(some[DETAIL], "ü".repeat(512));
    }
}
