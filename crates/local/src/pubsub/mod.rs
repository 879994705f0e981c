//! Pub/Sub: gRPC for messages, REST and gRPC for administration.
//!
//! `core` decides, `journal` keeps, this file holds the lock and the clock that
//! both doors, `grpc` and `rest`, go through. Time drives the core only when
//! somebody calls or waits; every waiter wakes at the core's next timer, so no
//! background task is needed.

mod core;
mod faulty;
mod grpc;
mod iam_policy;
mod journal;
mod json;
mod rest;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use bytes::Bytes;
pub use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    DeadLetterPolicy, RetryPolicy, Subscription,
};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    PublishRequest, PubsubMessage, PullRequest, PullResponse, ReceivedMessage, Topic,
};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::core::{Core, Forwarding};
pub use self::core::{Delivered, Error};
use self::journal::Journal;
use crate::faults::Dice;
use crate::iam::Iam;

/// How long a unary pull waits for a first message.
const PULL_WAIT_MAX: Duration = Duration::from_secs(10);
/// The largest request, 10 MB of messages in base64 with room for its frame.
const BODY_BYTES_MAX: usize = 15 * 1024 * 1024;

/// A handle on the embedded Pub/Sub; clones share it.
#[derive(Clone, Debug)]
pub struct PubSub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    dice: Dice,
    /// Says that waiting pulls and streams should look again.
    changed: watch::Sender<()>,
    stop: CancellationToken,
    /// Wall-clock time moves on monotonically from here.
    started: (Timestamp, Instant),
}

#[derive(Debug)]
struct State {
    core: Core,
    journal: Option<Journal>,
}

impl PubSub {
    /// Opens the service: in memory, or with everything it answered kept in a directory.
    pub fn open(data_dir: Option<&Path>, dice: Dice) -> io::Result<Self> {
        let started = (Timestamp::now(), Instant::now());
        let mut core = Core::new(started.0);
        let mut journal = None;
        if let Some(directory) = data_dir {
            let (mut opened, records) = Journal::open(directory)?;
            for record in &records {
                core.apply(record)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            }
            opened.replace(&core.snapshot())?;
            journal = Some(opened);
        }
        let shared = Shared {
            state: Mutex::new(State { core, journal }),
            dice,
            changed: watch::Sender::new(()),
            stop: CancellationToken::new(),
            started,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Forwards dead letters only where Pub/Sub's own agent may.
    pub(crate) fn forward_as_agent(&self, iam: &Iam) -> Result<(), Error> {
        let iam = iam.clone();
        let forwarding = Forwarding::new(move |from, to| iam.agent_may_forward(from, to));
        self.locked(|core, _| {
            core.set_forwarding(forwarding);
            Ok(())
        })
    }

    /// Both doors on one router, which serves HTTP/1 and HTTP/2.
    pub fn router(&self) -> Router {
        let both = grpc::router(self).merge(iam_policy::router(self)).merge(rest::router(self));
        both.layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
    }

    /// Creates a topic, named `projects/P/topics/T`.
    pub fn create_topic(&self, name: &str) -> Result<(), Error> {
        let topic = Topic { name: name.to_owned(), ..Topic::default() };
        self.call(|core, _| core.create_topic(topic)).map(drop)
    }

    /// Creates a subscription from its `name`, `topic` and whatever else is not the default.
    pub fn create_subscription(&self, subscription: Subscription) -> Result<(), Error> {
        self.call(|core, _| core.create_subscription(subscription)).map(drop)
    }

    /// Publishes one message and returns its id.
    pub fn publish(
        &self,
        topic: &str,
        data: Bytes,
        attributes: HashMap<String, String>,
    ) -> Result<String, Error> {
        let message = PubsubMessage { data, attributes, ..PubsubMessage::default() };
        let request = PublishRequest { topic: topic.to_owned(), messages: vec![message] };
        let response = self.call(|core, now| core.publish(now, request))?;
        Ok(response.message_ids.into_iter().next().expect("one message has one id"))
    }

    /// How many messages of a subscription are not acknowledged yet.
    pub fn unacknowledged(&self, subscription: &str) -> Result<usize, Error> {
        self.locked(|core, _| core.unacknowledged(subscription))
    }

    /// What a subscription has handed out since the stack was started.
    pub fn delivered(&self, subscription: &str) -> Result<Delivered, Error> {
        self.locked(|core, _| core.delivered(subscription))
    }

    /// Ends all streams and waiting pulls, so that a server can drain.
    pub fn shutdown(&self) {
        self.shared.stop.cancel();
    }

    /// Runs one request and makes its changes durable before it is answered.
    fn call<T>(
        &self,
        request: impl FnOnce(&mut Core, Timestamp) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let answer = self.locked(request);
        self.shared.changed.send_replace(());
        answer
    }

    /// Leases messages; also says when to ask again if there are none. Waiters
    /// are woken only by leases, or they would keep waking each other.
    fn poll(
        &self,
        subscription: &str,
        lease: impl FnOnce(&mut Core, Timestamp) -> Result<Vec<ReceivedMessage>, Error>,
    ) -> Result<(Vec<ReceivedMessage>, Option<Instant>), Error> {
        let (messages, timer) = self.locked(|core, now| {
            let messages = lease(core, now)?;
            let messages = faulty::deliver(&self.shared.dice, core, now, subscription, messages)?;
            Ok((messages, core.next_timer()))
        })?;
        if !messages.is_empty() {
            self.shared.changed.send_replace(());
        }
        let (epoch, start) = self.shared.started;
        let timer = timer.map(|at| start + Duration::try_from(at - epoch).unwrap_or_default());
        Ok((messages, timer))
    }

    fn locked<T>(
        &self,
        request: impl FnOnce(&mut Core, Timestamp) -> Result<T, Error>,
    ) -> Result<T, Error> {
        // Nothing in the core is left half done by a panic that a request could cause.
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { core, journal } = &mut *state;
        let now = self.shared.started.0 + self.shared.started.1.elapsed();
        core.tick(now);
        let answer = request(core, now);
        let records = core.take_records();
        if let Some(journal) = journal {
            let mut kept = journal.append(&records);
            if kept.is_ok() && journal.wants_snapshot() {
                kept = journal.replace(&core.snapshot());
            }
            kept.map_err(|error| {
                Error::Unavailable(format!("The change could not be written: {error}."))
            })?;
        }
        answer
    }

    fn acknowledge(&self, subscription: &str, ack_ids: &[String]) -> Result<(), Error> {
        let dice = &self.shared.dice;
        self.call(|core, now| faulty::acknowledge(dice, core, now, subscription, ack_ids))
    }

    /// Answers with what is ready, or waits a bounded time for it.
    async fn pull(&self, request: PullRequest) -> Result<PullResponse, Error> {
        let give_up = Instant::now() + PULL_WAIT_MAX;
        let mut changed = self.shared.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let (received_messages, timer) = self.poll(&request.subscription, |core, now| {
                core.pull(now, &request.subscription, request.max_messages)
            })?;
            #[expect(deprecated, reason = "gcloud still asks for it")]
            let at_once = request.return_immediately || self.shared.stop.is_cancelled();
            if !received_messages.is_empty() || at_once || Instant::now() >= give_up {
                return Ok(PullResponse { received_messages });
            }
            let until = timer.map_or(give_up, |it| it.min(give_up));
            tokio::select! {
                _ = changed.changed() => {}
                () = tokio::time::sleep_until(until.into()) => {}
                () = self.shared.stop.cancelled() => {}
            }
        }
    }
}
