//! Stories over the core: each step is a line, each pull says what must come.

mod delivery;
mod lifetime;
mod limits;

use std::collections::HashMap;
use std::time::Duration;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    DeadLetterPolicy, PublishRequest, PubsubMessage, ReceivedMessage, RetryPolicy, SeekRequest,
    StreamingPullRequest, Subscription, Topic, UpdateSubscriptionRequest, seek_request,
};
use jiff::Timestamp;

use super::{Core, Error, Record};

const TOPIC: &str = "projects/p/topics/orders";
const GRAVEYARD: &str = "projects/p/topics/graveyard";
const SUB: &str = "projects/p/subscriptions/worker";
const MOURNER: &str = "projects/p/subscriptions/mourner";

/// A core, a clock that only the story moves, and the ack id of each message's last delivery.
struct World {
    core: Core,
    now: Timestamp,
    ack_ids: HashMap<String, String>,
}

fn subscription() -> Subscription {
    Subscription { name: SUB.to_owned(), topic: TOPIC.to_owned(), ..Subscription::default() }
}

fn ordered() -> Subscription {
    Subscription { enable_message_ordering: true, ..subscription() }
}

fn retrying(min: i64, max: i64) -> Subscription {
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let retry_policy =
        Some(RetryPolicy { minimum_backoff: seconds(min), maximum_backoff: seconds(max) });
    Subscription { retry_policy, ..subscription() }
}

fn dead_lettering() -> Subscription {
    let policy =
        DeadLetterPolicy { dead_letter_topic: GRAVEYARD.to_owned(), max_delivery_attempts: 5 };
    Subscription { dead_letter_policy: Some(policy), ..subscription() }
}

impl World {
    fn new(subscription: Subscription) -> Self {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let mut core = Core::new(now);
        core.create_topic(Topic { name: TOPIC.to_owned(), ..Topic::default() }).unwrap();
        core.create_subscription(subscription).unwrap();
        Self { core, now, ack_ids: HashMap::new() }
    }

    fn with_graveyard() -> Self {
        let mut world = Self::new(dead_lettering());
        world.core.create_topic(Topic { name: GRAVEYARD.to_owned(), ..Topic::default() }).unwrap();
        let mourner = Subscription {
            name: MOURNER.to_owned(),
            topic: GRAVEYARD.to_owned(),
            ..Subscription::default()
        };
        world.core.create_subscription(mourner).unwrap();
        world
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.core.tick(self.now);
    }

    fn publish(&mut self, key: &str, texts: &[&str]) {
        let message = |text: &&str| PubsubMessage {
            data: text.to_string().into(),
            ordering_key: key.to_owned(),
            ..PubsubMessage::default()
        };
        let messages = texts.iter().map(message).collect();
        self.core.publish(self.now, PublishRequest { topic: TOPIC.to_owned(), messages }).unwrap();
    }

    fn pull(&mut self, max: i32) -> Vec<ReceivedMessage> {
        let received = self.core.pull(self.now, SUB, max).unwrap();
        self.ack_ids.extend(received.iter().map(|it| (text(it), it.ack_id.clone())));
        received
    }

    fn modify(&mut self, text: &str, seconds: i32) {
        let ack_id = self.ack_ids[text].clone();
        self.core.modify_ack_deadline(self.now, SUB, &[ack_id], seconds).unwrap();
    }

    fn step(&mut self, step: &str) -> String {
        let words: Vec<&str> = step.split(' ').collect();
        match words[..] {
            ["publish", ref texts @ ..] => self.publish("", texts),
            ["keyed", key, ref texts @ ..] => self.publish(key, texts),
            ["pull"] => return texts(&self.pull(100)),
            ["pull", max] => return texts(&self.pull(max.parse().unwrap())),
            ["ack", text] => self.core.acknowledge(SUB, &[self.ack_ids[text].clone()]).unwrap(),
            ["nack", text] => self.modify(text, 0),
            ["extend", text, seconds] => self.modify(text, seconds.parse().unwrap()),
            ["wait", seconds] => self.wait(seconds.parse().unwrap()),
            ref unknown => panic!("no such step: {unknown:?}"),
        }
        String::new()
    }
}

fn text(message: &ReceivedMessage) -> String {
    String::from_utf8(message.message.as_ref().unwrap().data.to_vec()).unwrap()
}

fn texts(messages: &[ReceivedMessage]) -> String {
    messages.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// Plays a story of `step` and `step -> what it answers`, one per line.
fn check(subscription: Subscription, story: &str) {
    let mut world = World::new(subscription);
    for line in story.lines().map(str::trim).filter(|it| !it.is_empty()) {
        let (step, expected) = line.split_once(" ->").unwrap_or((line, ""));
        assert_eq!(world.step(step), expected.trim(), "{line}");
    }
}
