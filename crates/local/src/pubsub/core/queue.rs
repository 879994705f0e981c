//! One subscription's unacknowledged messages: who holds which, until when, and
//! what may be delivered next.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::PubsubMessage;
use jiff::Timestamp;
use prost::Message as _;

use super::message;
use super::policy::Policy;

/// A delivery's identity. One that is no longer the current delivery of its
/// message has expired, and what is said about it is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) message: u64,
    pub(super) number: u64,
}

/// What a subscriber asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    pub(super) deadline: Duration,
    pub(super) messages_max: usize,
    /// The stream whose flow control counts, unless it is a unary pull.
    pub(super) stream: Option<u64>,
}

/// A message handed out.
pub(super) struct Delivery {
    pub(super) lease: Lease,
    pub(super) message: Arc<PubsubMessage>,
    /// This delivery included.
    pub(super) attempt: u32,
}

/// What a subscription has handed out since it was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Deliveries of all its messages.
    pub deliveries: u64,
    /// Ordering keys, or nothing, of those that came again.
    pub again: BTreeSet<String>,
}

/// How much a stream may hold unanswered, and how much it does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) messages_max: u64,
    pub(super) bytes_max: u64,
    messages: u64,
    bytes: u64,
}

impl Flow {
    /// Limits as on the wire, where zero or less means none.
    pub(super) fn new(messages_max: i64, bytes_max: i64) -> Self {
        let limit = |it: i64| u64::try_from(it).ok().filter(|it| *it > 0).unwrap_or(u64::MAX);
        Self {
            messages_max: limit(messages_max),
            bytes_max: limit(bytes_max),
            messages: 0,
            bytes: 0,
        }
    }

    fn has_room(&self) -> bool {
        self.messages < self.messages_max && self.bytes < self.bytes_max
    }
}

/// One response never carries more than this, except for a single large message.
const DELIVERY_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug)]
struct Entry {
    message: Arc<PubsubMessage>,
    bytes: u64,
    failures: u32,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// May be delivered now.
    Ready,
    /// An earlier message of its ordering key is not acknowledged yet.
    Behind,
    /// Failed, and pausing before its redelivery.
    Pausing {
        until: Timestamp,
    },
    Leased {
        number: u64,
        deadline: Timestamp,
        stream: Option<u64>,
    },
}

#[derive(Debug)]
pub(super) struct Queue {
    policy: Policy,
    entries: BTreeMap<u64, Entry>,
    ready: BTreeSet<u64>,
    /// When which message's lease or pause ends.
    timers: BTreeSet<(Timestamp, u64)>,
    /// The messages of each ordering key; only the first of a key is ever in play.
    keys: HashMap<String, BTreeSet<u64>>,
    streams: HashMap<u64, Flow>,
    delivered: Delivered,
}

impl Queue {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            entries: BTreeMap::new(),
            ready: BTreeSet::new(),
            timers: BTreeSet::new(),
            keys: HashMap::new(),
            streams: HashMap::new(),
            delivered: Delivered::default(),
        }
    }

    pub(super) fn delivered(&self) -> Delivered {
        self.delivered.clone()
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Replaces the policy. Delivery attempts count from when there is a dead-letter policy.
    pub(super) fn set_policy(&mut self, policy: Policy) {
        if self.policy.dead_letter.is_none() && policy.dead_letter.is_some() {
            self.entries.values_mut().for_each(|it| it.failures = 0);
        }
        self.policy = policy;
    }

    pub(super) fn messages(&self) -> impl Iterator<Item = Arc<PubsubMessage>> {
        self.entries.values().map(|it| it.message.clone())
    }

    pub(super) fn message(&self, id: u64) -> Option<&PubsubMessage> {
        self.entries.get(&id).map(|it| &*it.message)
    }

    /// Takes a message in, unless the filter drops it.
    pub(super) fn insert(&mut self, id: u64, message: Arc<PubsubMessage>) {
        if self.policy.filter.as_ref().is_some_and(|it| !it.matches(&message.attributes)) {
            return;
        }
        let mut state = State::Ready;
        if let Some(key) = self.key(&message) {
            let line = self.keys.entry(key.to_owned()).or_default();
            line.insert(id);
            if line.len() > 1 {
                state = State::Behind;
            }
        }
        let bytes = message.encoded_len() as u64;
        self.entries.insert(id, Entry { message, bytes, failures: 0, state: State::Behind });
        self.set(id, state);
    }

    /// Removes messages for good, acknowledged or outdated; the next of their keys get ready.
    pub(super) fn remove(&mut self, ids: impl IntoIterator<Item = u64>) {
        for id in ids {
            if !self.entries.contains_key(&id) {
                continue;
            }
            self.set(id, State::Behind);
            let entry = self.entries.remove(&id).expect("was there a line above");
            let Some(key) = self.key(&entry.message).map(str::to_owned) else {
                continue;
            };
            let line = self.keys.get_mut(&key).expect("a keyed message is in its line");
            line.remove(&id);
            match line.first().copied() {
                Some(next) if matches!(self.entries[&next].state, State::Behind) => {
                    self.set(next, State::Ready);
                }
                Some(_) => {}
                None => drop(self.keys.remove(&key)),
            }
        }
    }

    /// Hands out what is ready, as far as the demand and its stream's flow control allow.
    pub(super) fn lease(
        &mut self,
        now: Timestamp,
        demand: Demand,
        numbers: &mut u64,
    ) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        let mut bytes = 0;
        while let Some(&id) = self.ready.first() {
            let entry = &self.entries[&id];
            let has_room =
                demand.stream.is_none_or(|it| self.streams.get(&it).is_some_and(Flow::has_room));
            let fits = deliveries.is_empty() || bytes + entry.bytes <= DELIVERY_BYTES_MAX;
            if deliveries.len() >= demand.messages_max || !has_room || !fits {
                break;
            }
            bytes += entry.bytes;
            *numbers += 1;
            let lease = Lease { message: id, number: *numbers };
            let attempt = entry.failures + 1;
            self.delivered.deliveries += 1;
            if attempt > 1 {
                self.delivered.again.insert(entry.message.ordering_key.clone());
            }
            deliveries.push(Delivery { lease, message: entry.message.clone(), attempt });
            let deadline = now + demand.deadline;
            self.set(id, State::Leased { number: lease.number, deadline, stream: demand.stream });
        }
        deliveries
    }

    /// Whether this delivery is still the one that counts for its message.
    pub(super) fn is_current(&self, lease: Lease) -> bool {
        self.entries.get(&lease.message).is_some_and(
            |it| matches!(it.state, State::Leased { number, .. } if number == lease.number),
        )
    }

    /// Moves a delivery's deadline.
    pub(super) fn extend(&mut self, now: Timestamp, lease: Lease, by: Duration) {
        if let Some(State::Leased { number, stream, .. }) =
            self.entries.get(&lease.message).map(|it| it.state)
            && number == lease.number
        {
            self.set(lease.message, State::Leased { number, deadline: now + by, stream });
        }
    }

    /// Ends a delivery, if it is the current one, without a trace; the next may come from a time on.
    pub(super) fn give_back(&mut self, lease: Lease, until: Timestamp) {
        if self.is_current(lease) {
            self.set(lease.message, State::Pausing { until });
        }
    }

    /// Ends a delivery without success and plans the next. Answers with the
    /// number of attempts if the dead-letter policy allows no further one.
    pub(super) fn fail(&mut self, now: Timestamp, id: u64) -> Option<u32> {
        let entry = self.entries.get_mut(&id)?;
        entry.failures += 1;
        let failures = entry.failures;
        let pause = self.policy.pause(failures);
        let state =
            if pause.is_zero() { State::Ready } else { State::Pausing { until: now + pause } };
        self.set(id, state);
        let dead_letter = self.policy.dead_letter.as_ref()?;
        (failures >= dead_letter.attempts_max).then_some(failures)
    }

    /// Ends pauses that are over; answers with the messages whose lease has run out.
    pub(super) fn tick(&mut self, now: Timestamp) -> Vec<u64> {
        let mut expired = Vec::new();
        while let Some((_, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            match self.entries[&id].state {
                State::Leased { .. } => expired.push(id),
                State::Ready | State::Behind | State::Pausing { .. } => {}
            }
            self.set(id, State::Ready);
        }
        expired
    }

    /// The messages that are older than the subscription keeps them.
    pub(super) fn outdated(&self, now: Timestamp) -> Vec<u64> {
        self.published_before(now - self.policy.retention)
    }

    /// Ids grow with time, so the old messages come first.
    pub(super) fn published_before(&self, time: Timestamp) -> Vec<u64> {
        let is_older = |it: &Entry| message::published(&it.message) < time;
        self.entries.iter().take_while(|(_, it)| is_older(it)).map(|(id, _)| *id).collect()
    }

    pub(super) fn next_timer(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(super) fn open_stream(&mut self, stream: u64, flow: Flow) {
        self.streams.insert(stream, flow);
    }

    /// Forgets the stream. What it holds stays leased: its acks may still come.
    pub(super) fn close_stream(&mut self, stream: u64) {
        self.streams.remove(&stream);
    }

    pub(super) fn has_stream(&self, stream: u64) -> bool {
        self.streams.contains_key(&stream)
    }

    fn key<'a>(&self, message: &'a PubsubMessage) -> Option<&'a str> {
        (self.policy.ordered && !message.ordering_key.is_empty()).then_some(&message.ordering_key)
    }

    /// The only place where a message changes state: keeps the indexes and the flow in step.
    fn set(&mut self, id: u64, state: State) {
        let entry = self.entries.get_mut(&id).expect("states are set of messages that exist");
        match std::mem::replace(&mut entry.state, state) {
            State::Ready => drop(self.ready.remove(&id)),
            State::Behind => {}
            State::Pausing { until } => drop(self.timers.remove(&(until, id))),
            State::Leased { deadline, stream, .. } => {
                self.timers.remove(&(deadline, id));
                if let Some(flow) = stream.and_then(|it| self.streams.get_mut(&it)) {
                    flow.messages -= 1;
                    flow.bytes -= entry.bytes;
                }
            }
        }
        match state {
            State::Ready => drop(self.ready.insert(id)),
            State::Behind => {}
            State::Pausing { until } => drop(self.timers.insert((until, id))),
            State::Leased { deadline, stream, .. } => {
                self.timers.insert((deadline, id));
                if let Some(flow) = stream.and_then(|it| self.streams.get_mut(&it)) {
                    flow.messages += 1;
                    flow.bytes += entry.bytes;
                }
            }
        }
    }
}
