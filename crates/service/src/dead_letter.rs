//! Gives a message that cannot be handled to people: as it came, without its ID token, and with
//! the reason.

use std::collections::BTreeMap;
use std::sync::Arc;

use branchline_gcp::pubsub::{Message as Outgoing, Publish};

use crate::consume::Message;
use crate::redact::{redact, redact_text};
use crate::settlement::Class;

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

    /// The subscription whose messages they were.
    pub(crate) fn subscription(&self) -> &str {
        &self.subscription
    }

    /// Publishes the message with its reason, and returns when it is safe to
    /// ack it. It may be published twice when the answer is lost.
    pub async fn publish(
        &self,
        message: &Message,
        class: Class,
        reason: &str,
    ) -> Result<(), branchline_gcp::Error> {
        let letter = Outgoing {
            data: redact(&message.data).into(),
            attributes: attributes(message, class, reason, &self.subscription),
            ordering_key: None,
        };
        self.publisher.publish(&self.topic, letter).await.map(drop)
    }
}

/// The message's own attributes and ours. Where there is no room for all, the
/// foreign ones that are not the event's context go first.
fn attributes(
    message: &Message,
    class: Class,
    reason: &str,
    subscription: &str,
) -> BTreeMap<String, String> {
    let mut ours = BTreeMap::from([
        ("branchline-reason", reason.to_owned()),
        ("branchline-class", class.as_str().to_owned()),
        ("branchline-subscription", subscription.to_owned()),
        ("branchline-first-published", message.publish_time.to_string()),
    ]);
    if let Some(attempt) = message.delivery_attempt {
        ours.insert("branchline-attempts", attempt.to_string());
    }
    let mut theirs = message.attributes.clone();
    theirs.retain(|name, _| !ours.contains_key(name.as_str()));
    let excess = (theirs.len() + ours.len()).saturating_sub(ATTRIBUTES_MAX);
    let (context, others): (Vec<_>, Vec<_>) =
        theirs.into_iter().partition(|(name, _)| name.starts_with("ce-"));
    let kept = context.len() + others.len() - excess;
    let ours = ours.into_iter().map(|(name, value)| (name.to_owned(), cut(value)));
    let theirs = context.into_iter().chain(others).take(kept);
    let theirs = theirs.map(|(name, value)| (name, redact_text(&value)));
    theirs.chain(ours).collect()
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(VALUE_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn message(attributes: BTreeMap<String, String>) -> Message {
        Message {
            id: "7".to_owned(),
            data: r#"{"id_token": "eyJh.eyJc.s"}"#.into(),
            attributes,
            publish_time: "2026-11-23T04:00:00Z".parse().unwrap(),
            delivery_attempt: Some(100),
        }
    }

    #[test]
    fn a_dead_letter_keeps_its_attributes_and_says_why_it_is_one() {
        let theirs = [("ce-id", "r/1"), ("token", "eyJh.eyJc.s")];
        let message = message(theirs.map(|(name, it)| (name.to_owned(), it.to_owned())).into());
        let actual =
            attributes(&message, Class::Transient, "no answer", "projects/p/subscriptions/s");
        expect![[r#"
            {
                "branchline-attempts": "100",
                "branchline-class": "transient",
                "branchline-first-published": "2026-11-23T04:00:00Z",
                "branchline-reason": "no answer",
                "branchline-subscription": "projects/p/subscriptions/s",
                "ce-id": "r/1",
                "token": "REDACTED",
            }
        "#]]
        .assert_debug_eq(&actual);
    }

    #[test]
    fn a_dead_letter_stays_within_the_limits_of_pub_sub() {
        let mut theirs: BTreeMap<_, _> =
            (0..100).map(|it| (format!("a{it:03}"), "x".to_owned())).collect();
        theirs.insert("ce-id".to_owned(), "r/1".to_owned());
        theirs.insert("branchline-reason".to_owned(), "forged".to_owned());
        let reason = "ü".repeat(1000);
        let actual = attributes(&message(theirs), Class::Undecodable, &reason, "s");
        assert_eq!(actual.len(), ATTRIBUTES_MAX);
        assert_eq!(actual["ce-id"], "r/1");
        assert_eq!(actual["branchline-reason"], "ü".repeat(512));
        assert!(actual.contains_key("a093") && !actual.contains_key("a094"));
    }
}
