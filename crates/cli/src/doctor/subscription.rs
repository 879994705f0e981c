//! How the subscription of a role is set.

use branchline_gcp::iam::{Caller, Iam, Refusal, Resource};
use serde_json::Value;

use super::cluster::{Role, unseen};
use super::finding::Finding;
use super::grants::On;

/// Below it a message comes again while it is being handled.
const ACK_SECS_MIN: u64 = 30;

/// How the subscription is set.
pub(super) async fn probe(iam: &Iam, caller: &Caller, role: &Role<'_>) -> Vec<Finding> {
    let name = role.subscription;
    match iam.subscription(caller, name).await {
        Ok(it) => settings(role, &it),
        // Found with its permissions.
        Err(Refusal::Said { status: 404, .. }) => Vec::new(),
        Err(error) => vec![unseen("subscription", &format!("how {name} is set"), &error)],
    }
}

/// Whether anybody keeps what goes to the dead-letter topic. Who may not look has been told already
/// that they see nothing here.
pub(super) async fn dead_letters(iam: &Iam, caller: &Caller, role: &Role<'_>) -> Option<Finding> {
    let topic = role.dead_letter_topic;
    (iam.subscribers(caller, topic).await == Ok(0)).then(|| {
        let name = match role.things.get(&On::DeadLetterSubscription).map(Vec::as_slice) {
            Some([Resource::Subscription(name)]) => name.clone(),
            _ => format!("{}-archive", topic.replace("/topics/", "/subscriptions/")),
        };
        Finding::wrong(
            "subscription",
            format!("{topic} has no subscription"),
            "Pub/Sub keeps nothing for nobody, so every dead letter is lost",
            format!(
                "gcloud pubsub subscriptions create {name} --topic={topic} \
                 --expiration-period=never --message-retention-duration=31d"
            ),
        )
    })
}

/// Pure: what is wrong with a subscription.
fn settings(role: &Role<'_>, it: &Value) -> Vec<Finding> {
    let name = role.subscription;
    let mut found = Vec::new();
    let mut wrong = |what: String, why: &str, change: String| {
        let fix = format!("gcloud pubsub subscriptions update {name} {change}");
        found.push(Finding::wrong("subscription", what, why, fix));
    };
    let (topic, attempts) = (role.dead_letter_topic, role.attempts_max);
    let dead_letters = format!("--dead-letter-topic={topic} --max-delivery-attempts={attempts}");
    let policy = &it["deadLetterPolicy"];
    if policy["deadLetterTopic"].as_str() != Some(topic) {
        let what = format!("{name} has no dead-letter policy for {topic}");
        let why = "a message that kills its worker comes back for ever";
        wrong(what, why, dead_letters.clone());
    } else if policy["maxDeliveryAttempts"].as_u64() != Some(attempts.into()) {
        let theirs = &policy["maxDeliveryAttempts"];
        let what =
            format!("{name} gives up after {theirs} deliveries, and the role after {attempts}");
        let why = "whoever is first drops the message without the other's reason";
        wrong(what, why, dead_letters.clone());
    }
    if it["retryPolicy"]["maximumBackoff"].is_null() {
        let what = format!("{name} has no retry policy");
        let why = "a message that fails comes back at once, and its attempts are gone in seconds";
        wrong(what, why, "--min-retry-delay=10s --max-retry-delay=600s".to_owned());
    }
    // None at all is Pub/Sub's default of 31 days; one without a ttl is never.
    if it["expirationPolicy"]["ttl"].is_string() {
        let what = format!(
            "{name} is deleted when nobody uses it for {}",
            text(&it["expirationPolicy"]["ttl"])
        );
        let why = "everything in it is lost then";
        wrong(what, why, "--expiration-period=never".to_owned());
    }
    if it["ackDeadlineSeconds"].as_u64().unwrap_or(10) < ACK_SECS_MIN {
        let what = format!("{name} has an ack deadline of {} s", it["ackDeadlineSeconds"]);
        let why = "a pause of a pod makes its messages come again";
        wrong(what, why, "--ack-deadline=60".to_owned());
    }
    if role.ordered && it["enableMessageOrdering"] != true {
        let what = format!("{name} does not keep the order of events");
        let why = "two notifiers could write two notes";
        let fix = format!(
            "# ordering is set when a subscription is made, so this makes another one; delete the old \
             one once it is empty\n\
             gcloud pubsub subscriptions create {name}-ordered --topic={} --enable-message-ordering \
             --ack-deadline=60 --expiration-period=never --min-retry-delay=10s \
             --max-retry-delay=600s {dead_letters}\n\
             # in notifier.yaml\n\
             subscription: {name}-ordered",
            text(&it["topic"]),
        );
        found.push(Finding::wrong("subscription", what, why, fix));
    }
    if it["topic"] == "_deleted-topic_" {
        let what = format!("the topic of {name} was deleted");
        let why = "a topic that is made anew under its name does not feed it";
        let fix =
            format!("# make topic and subscription as docs/by-hand.md says, and delete {name}");
        found.push(Finding::wrong("subscription", what, why, fix));
    }
    found
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::doctor::grants::Things;

    #[test]
    fn a_subscription_is_set_as_the_readme_says_or_told() {
        let good = json!({
            "topic": "projects/p/topics/t",
            "ackDeadlineSeconds": 60,
            "enableMessageOrdering": true,
            "expirationPolicy": {},
            "retryPolicy": {"minimumBackoff": "10s", "maximumBackoff": "600s"},
            "deadLetterPolicy": {"deadLetterTopic": "projects/p/topics/d", "maxDeliveryAttempts": 100},
        });
        let role = Role {
            grants: &[],
            subscription: "projects/p/subscriptions/s",
            dead_letter_topic: "projects/p/topics/d",
            attempts_max: 100,
            ordered: true,
            things: Things::new(),
            training_projects: &[],
            regions: &BTreeSet::new(),
        };
        assert_eq!(settings(&role, &good), []);
        let cases = [
            ("/deadLetterPolicy", json!(null), "--dead-letter-topic=projects/p/topics/d"),
            ("/deadLetterPolicy/maxDeliveryAttempts", json!(5), "--max-delivery-attempts=100"),
            ("/retryPolicy", json!(null), "--min-retry-delay=10s"),
            ("/expirationPolicy", json!({"ttl": "2678400s"}), "--expiration-period=never"),
            ("/ackDeadlineSeconds", json!(10), "--ack-deadline=60"),
            ("/enableMessageOrdering", json!(false), "--enable-message-ordering"),
            ("/topic", json!("_deleted-topic_"), "# make topic and subscription"),
        ];
        for (place, value, fix) in cases {
            let mut bad = good.clone();
            *bad.pointer_mut(place).unwrap() = value;
            let found = settings(&role, &bad);
            let [one] = &found[..] else { panic!("{place}: {found:?}") };
            let proposed = one.fix.as_ref().unwrap();
            assert!(proposed.contains(fix), "{place}: {one:?}");
            // What is deleted takes its messages and its bindings along.
            assert!(!proposed.contains("gcloud pubsub subscriptions delete"), "{place}: {one:?}");
        }
    }
}
