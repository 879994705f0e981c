//! Pub/Sub: at least once, in any order, with leases that run out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use branchline_gcp::pubsub::{
    Deliveries, Delivery, Message, Publish, Receive, Settle, SubscribeOptions,
};
use branchline_gcp::{Call, Error};
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::world::{Door, State, wall_clock};

/// Every subscription, by name, and what it gets.
#[derive(Default)]
pub(crate) struct Topics {
    subscriptions: BTreeMap<String, Subscription>,
    /// Everything that was ever published to a topic, oldest first.
    pub(crate) published: BTreeMap<String, Vec<Message>>,
    ids: u64,
}

#[derive(Default)]
struct Subscription {
    topic: String,
    messages: BTreeMap<u64, Held>,
    news: Arc<Notify>,
}

/// A message that is not settled.
struct Held {
    message: Message,
    published: Timestamp,
    attempts: u32,
    /// When it may be delivered, again or at all.
    ready: Duration,
    /// Who has it: process, life and the attempt that is under way.
    lease: Option<(usize, u32, u32)>,
}

impl Topics {
    pub(crate) fn subscribe(&mut self, subscription: &str, topic: &str) {
        let it = Subscription { topic: topic.to_owned(), ..Subscription::default() };
        self.subscriptions.insert(subscription.to_owned(), it);
    }

    /// Whether a subscription has nothing left to deliver.
    pub(crate) fn is_empty(&self, subscription: &str) -> bool {
        self.subscriptions[subscription].messages.is_empty()
    }
}

impl State {
    /// Takes a message in for every subscription of the topic.
    pub(crate) fn publish(&mut self, topic: &str, message: &Message) -> String {
        self.topics.ids += 1;
        let (id, ready) = (self.topics.ids, self.now());
        self.topics.published.entry(topic.to_owned()).or_default().push(message.clone());
        for it in self.topics.subscriptions.values_mut().filter(|it| it.topic == topic) {
            let (message, published) = (message.clone(), wall_clock());
            it.messages.insert(id, Held { message, published, attempts: 0, ready, lease: None });
            it.news.notify_waiters();
        }
        id.to_string()
    }

    /// The next message for a life of a process, or when there may be one.
    fn take(&mut self, name: &str, (process, life): (usize, u32)) -> Result<Taken, Duration> {
        let now = self.now();
        let mut ready = BTreeSet::new();
        let mut next = now + Duration::from_mins(1);
        if !self.lives(process, life) {
            return Err(next);
        }
        for (id, held) in &self.topics.subscriptions[name].messages {
            if held.ready > now {
                next = next.min(held.ready);
            } else {
                ready.insert(*id);
            }
        }
        let Some(id) = ready.iter().nth(self.rng.usize(..ready.len().max(1))).copied() else {
            return Err(next);
        };
        // A lease is extended for as long as its holder lives, unless it gets lost.
        let lost = self.chance(20);
        let until = if lost { now + self.millis(0..30_000) } else { now + Duration::from_hours(1) };
        let held = self.topics.subscriptions.get_mut(name).and_then(|it| it.messages.get_mut(&id));
        let held = held.expect("it was found there");
        held.attempts += 1;
        held.ready = until;
        held.lease = Some((process, life, held.attempts));
        Ok(Taken {
            id,
            message: held.message.clone(),
            published: held.published,
            attempt: held.attempts,
        })
    }

    /// Ends the leases of a life that is over: nobody extends them any more.
    pub(crate) fn release(&mut self, process: usize, life: u32) {
        let now = self.now();
        let Self { topics, rng, .. } = self;
        for it in topics.subscriptions.values_mut() {
            for held in it.messages.values_mut() {
                if held.lease.is_some_and(|(p, l, _)| (p, l) == (process, life)) {
                    held.ready = held.ready.min(now + Duration::from_millis(rng.u64(0..60_000)));
                    held.lease = None;
                }
            }
            it.news.notify_waiters();
        }
    }

    fn ack(&mut self, name: &str, id: u64, lease: (usize, u32, u32)) {
        let Some(held) = self.topics.subscriptions[name].messages.get(&id) else { return };
        let data = held.message.data.clone();
        self.law.acknowledged(name, &data);
        let stale = self.topics.subscriptions[name].messages[&id].lease != Some(lease);
        // Acks are best effort, and those of a lost lease all the more.
        if self.chance(if stale { 2 } else { 20 }) {
            let now = self.now();
            let again = now + self.millis(0..60_000);
            let subscription = self.topics.subscriptions.get_mut(name).expect("it is there");
            subscription.messages.get_mut(&id).expect("it is there").ready = again;
            subscription.news.notify_waiters();
            self.note(format_args!("ack of {id} lost"));
            return;
        }
        let subscription = self.topics.subscriptions.get_mut(name).expect("it is there");
        subscription.messages.remove(&id);
        self.note(format_args!("ack of {id}"));
    }

    fn nack(&mut self, name: &str, id: u64, lease: (usize, u32, u32)) {
        let again = self.now() + self.millis(500..10_000);
        let subscription = self.topics.subscriptions.get_mut(name).expect("it is there");
        let Some(held) = subscription.messages.get_mut(&id) else { return };
        if held.lease == Some(lease) {
            (held.ready, held.lease) = (again, None);
            subscription.news.notify_waiters();
            self.note(format_args!("nack of {id}"));
        }
    }
}

struct Taken {
    id: u64,
    message: Message,
    published: Timestamp,
    attempt: u32,
}

impl Publish for Door {
    fn publish<'a>(&'a self, topic: &'a str, message: Message) -> Call<'a, String> {
        Box::pin(async move {
            let what = format!(
                "publish {topic} {} {}",
                message.attributes.get("ce-id").map_or("-", String::as_str),
                message.attributes.get("ce-type").map_or("-", String::as_str),
            );
            self.call(&what, |state| {
                state.law.published(topic, &message);
                Ok(state.publish(topic, &message))
            })
            .await
        })
    }
}

impl Receive for Door {
    fn subscribe(&self, subscription: &str, options: SubscribeOptions) -> Deliveries {
        let (sender, received) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let stream = Stream {
            door: self.clone(),
            subscription: subscription.to_owned(),
            outstanding_max: options.outstanding_max,
            outstanding: Arc::default(),
            sender,
            stopped,
        };
        Deliveries::new(received, stop, tokio::spawn(stream.run()))
    }
}

/// What Google's client does behind [`Deliveries`].
struct Stream {
    door: Door,
    subscription: String,
    outstanding_max: u32,
    /// One more holder for every delivery that is not settled.
    outstanding: Arc<Notify>,
    sender: mpsc::Sender<Result<Delivery, Error>>,
    stopped: watch::Receiver<bool>,
}

impl Stream {
    async fn run(mut self) {
        while !*self.stopped.borrow() && !self.sender.is_closed() {
            let full = Arc::strong_count(&self.outstanding) > self.outstanding_max as usize;
            let taken = if full { None } else { Some(self.take()) };
            match taken {
                Some(Ok(taken)) => {
                    let delivery = self.delivery(taken);
                    if self.sender.send(Ok(delivery)).await.is_err() {
                        break;
                    }
                }
                Some(Err(wake)) => self.wait(Some(wake)).await,
                None => self.wait(None).await,
            }
        }
        // What was handed out is settled before the end is told.
        while Arc::strong_count(&self.outstanding) > 1 {
            if !self.lives() {
                return;
            }
            self.outstanding.notified().await;
        }
    }

    fn lives(&self) -> bool {
        self.door.world.state().lives(self.door.process, self.door.life)
    }

    fn take(&self) -> Result<Taken, Instant> {
        let mut state = self.door.world.state();
        let begin = Instant::now() - state.now();
        state
            .take(&self.subscription, (self.door.process, self.door.life))
            .map_err(|wake| begin + wake)
    }

    /// Until something may have changed.
    async fn wait(&mut self, wake: Option<Instant>) {
        let news = self.door.world.state().topics.subscriptions[&self.subscription].news.clone();
        let wake = wake.unwrap_or_else(|| Instant::now() + Duration::from_mins(1));
        tokio::select! {
            biased;
            () = self.sender.closed() => {}
            _ = self.stopped.wait_for(|it| *it) => {}
            () = self.outstanding.notified() => {}
            () = news.notified() => {}
            () = sleep_until(wake) => {}
        }
    }

    fn delivery(&self, Taken { id, message, published, attempt }: Taken) -> Delivery {
        let Door { process, life, .. } = self.door;
        Delivery {
            id: id.to_string(),
            data: message.data,
            attributes: message.attributes,
            ordering_key: message.ordering_key.unwrap_or_default(),
            publish_time: published,
            delivery_attempt: Some(attempt),
            lease: Box::new(Lease {
                door: self.door.clone(),
                subscription: self.subscription.clone(),
                id,
                holder: (process, life, attempt),
                settled: false,
                outstanding: Some(self.outstanding.clone()),
            }),
        }
    }
}

/// One delivery under way; one that is dropped by a living process is nacked.
struct Lease {
    door: Door,
    subscription: String,
    id: u64,
    holder: (usize, u32, u32),
    settled: bool,
    outstanding: Option<Arc<Notify>>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({})", self.id)
    }
}

impl Settle for Lease {
    fn ack(mut self: Box<Self>) {
        self.settled = true;
        let mut state = self.door.world.state();
        if state.lives(self.door.process, self.door.life) {
            state.ack(&self.subscription, self.id, self.holder);
        }
    }

    fn nack(self: Box<Self>) {
        drop(self);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let outstanding = self.outstanding.take().expect("dropped once");
        let mut state = self.door.world.state();
        if !self.settled && state.lives(self.door.process, self.door.life) {
            state.nack(&self.subscription, self.id, self.holder);
        }
        drop(state);
        let news = Arc::clone(&outstanding);
        drop(outstanding);
        news.notify_one();
    }
}
