//! What Pub/Sub decides, without sockets, files or a clock: time is an argument.
//!
//! Requests and answers are Google's own message types. Every lasting change is
//! a [`Record`]; applying the records of a journal in order gives the state
//! back, except for leases, which end with the process: what was leased is
//! delivered again.

mod admin;
mod delivery;
mod error;
mod filter;
mod forwarding;
mod message;
mod name;
mod policy;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{PubsubMessage, Subscription, Topic};
use jiff::Timestamp;

pub use self::error::Error;
use self::error::Result;
pub(super) use self::forwarding::Forwarding;
use self::name::Name;
use self::policy::Policy;
pub(super) use self::policy::ack_deadline;
pub use self::queue::Delivered;
use self::queue::Queue;

/// What a subscription names as its topic once that topic is deleted.
const DELETED_TOPIC: &str = "_deleted-topic_";

/// Messages in one record of a snapshot: a few thousand large ones would not fit a record's length.
const SNAPSHOT_CHUNK: usize = 100;

/// All topics, subscriptions and undelivered messages.
#[derive(Debug)]
pub(super) struct Core {
    topics: BTreeMap<Name, Topic>,
    subscriptions: BTreeMap<Name, Subscribed>,
    /// Tells this process's ack ids from those of an earlier one.
    epoch: i64,
    next_message: u64,
    leases: u64,
    streams: u64,
    records: Vec<Record>,
    forwarding: Forwarding,
}

#[derive(Debug)]
struct Subscribed {
    resource: Subscription,
    queue: Queue,
}

/// One lasting change.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Record {
    /// A topic was created or updated.
    Topic(Box<Topic>),
    TopicDeleted(String),
    /// A subscription was created or updated.
    Subscription(Box<Subscription>),
    SubscriptionDeleted(String),
    /// Messages were taken in and go to every subscription of the topic.
    Published {
        topic: String,
        messages: Vec<Arc<PubsubMessage>>,
    },
    /// Messages that one subscription still has to deliver; written by snapshots only.
    Pending {
        subscription: String,
        messages: Vec<Arc<PubsubMessage>>,
    },
    /// One subscription is done with these messages.
    Settled {
        subscription: String,
        messages: Vec<u64>,
    },
}

impl Core {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            topics: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            epoch: now.as_millisecond(),
            // Above every id that an earlier process gave away, even to messages that are gone.
            next_message: now.as_microsecond().unsigned_abs(),
            leases: 0,
            streams: 0,
            records: Vec::new(),
            forwarding: Forwarding::default(),
        }
    }

    /// Has somebody asked before a message moves to a dead-letter topic.
    pub(super) fn set_forwarding(&mut self, forwarding: Forwarding) {
        self.forwarding = forwarding;
    }

    /// Applies a change that was decided earlier, by this process or one before.
    pub(super) fn apply(&mut self, record: &Record) -> Result<()> {
        match record {
            Record::Topic(topic) => {
                self.topics.insert(Name::topic(&topic.name)?, Topic::clone(topic));
            }
            Record::TopicDeleted(topic) => {
                self.topics.remove(&Name::topic(topic)?);
                for orphan in self.subscriptions_of(topic) {
                    DELETED_TOPIC.clone_into(&mut orphan.resource.topic);
                }
            }
            Record::Subscription(subscription) => self.put_subscription(subscription)?,
            Record::SubscriptionDeleted(subscription) => {
                self.subscriptions.remove(&Name::subscription(subscription)?);
            }
            Record::Published { topic, messages } => {
                self.skip_ids(messages);
                for subscribed in self.subscriptions_of(topic) {
                    enqueue(&mut subscribed.queue, messages);
                }
            }
            Record::Pending { subscription, messages } => {
                self.skip_ids(messages);
                enqueue(self.queue(subscription)?, messages);
            }
            Record::Settled { subscription, messages } => {
                self.queue(subscription)?.remove(messages.iter().copied());
            }
        }
        Ok(())
    }

    /// No id is given twice, even if the clock was set back between two processes.
    fn skip_ids(&mut self, messages: &[Arc<PubsubMessage>]) {
        let last = messages.iter().filter_map(|it| message::number(&it.message_id)).max();
        self.next_message = last.map_or(self.next_message, |it| self.next_message.max(it + 1));
    }

    fn put_subscription(&mut self, subscription: &Subscription) -> Result<()> {
        let mut resource = subscription.clone();
        let policy = Policy::adopt(&mut resource)?;
        let name = Name::subscription(&resource.name)?;
        if let Some(existing) = self.subscriptions.get_mut(&name) {
            existing.resource = resource;
            existing.queue.set_policy(policy);
        } else {
            self.subscriptions.insert(name, Subscribed { resource, queue: Queue::new(policy) });
        }
        Ok(())
    }

    fn subscriptions_of(&mut self, topic: &str) -> impl Iterator<Item = &mut Subscribed> {
        self.subscriptions.values_mut().filter(move |it| it.resource.topic == topic)
    }

    /// Applies a change that was decided just now, and keeps it for the journal.
    fn record(&mut self, record: Record) {
        self.apply(&record).expect("a decided change has been checked");
        self.records.push(record);
    }

    /// The changes since the last call, to be made durable before anything is answered.
    pub(super) fn take_records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    /// The shortest list of changes that leads to this state.
    pub(super) fn snapshot(&self) -> Vec<Record> {
        let topics = self.topics.values().map(|it| Record::Topic(Box::new(it.clone())));
        let subscriptions = self.subscriptions.values().flat_map(|it| {
            let messages: Vec<_> = it.queue.messages().collect();
            let pending = messages.chunks(SNAPSHOT_CHUNK).map(|messages| Record::Pending {
                subscription: it.resource.name.clone(),
                messages: messages.to_vec(),
            });
            std::iter::once(Record::Subscription(Box::new(it.resource.clone())))
                .chain(pending)
                .collect::<Vec<_>>()
        });
        topics.chain(subscriptions).collect()
    }

    /// Lets time pass: leases and pauses end, old messages go, dead letters are forwarded.
    pub(super) fn tick(&mut self, now: Timestamp) {
        let names: Vec<Name> = self.subscriptions.keys().cloned().collect();
        for name in names {
            let queue = &mut self.subscriptions.get_mut(&name).expect("listed above").queue;
            let outdated = queue.outdated(now);
            let expired = queue.tick(now);
            if !outdated.is_empty() {
                self.settle(&name, outdated);
            }
            for id in expired {
                self.fail(now, &name, id);
            }
        }
    }

    /// When [`Core::tick`] has something to do next.
    pub(super) fn next_timer(&self) -> Option<Timestamp> {
        self.subscriptions.values().filter_map(|it| it.queue.next_timer()).min()
    }

    fn topic(&self, name: &str) -> Result<&Topic> {
        let name = Name::topic(name)?;
        self.topics.get(&name).ok_or_else(|| Error::NotFound(name.id().to_owned()))
    }

    fn subscription(&self, name: &str) -> Result<&Subscribed> {
        let name = Name::subscription(name)?;
        self.subscriptions.get(&name).ok_or_else(|| Error::NotFound(name.id().to_owned()))
    }

    fn queue(&mut self, name: &str) -> Result<&mut Queue> {
        let name = Name::subscription(name)?;
        match self.subscriptions.get_mut(&name) {
            Some(it) => Ok(&mut it.queue),
            None => Err(Error::NotFound(name.id().to_owned())),
        }
    }
}

fn enqueue(queue: &mut Queue, messages: &[Arc<PubsubMessage>]) {
    for message in messages {
        let number =
            message::number(&message.message_id).expect("ids are numbers given by publish");
        queue.insert(number, message.clone());
    }
}
