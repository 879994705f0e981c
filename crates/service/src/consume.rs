//! Takes deliveries, has them handled, and settles them.

use std::collections::BTreeMap;
use std::mem::take;
use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use branchline_contract::{DATA_MAX, TraceParent};
use branchline_gcp::Error;
use branchline_gcp::pubsub::{Deliveries, Delivery, Receive, SubscribeOptions};
use bytes::Bytes;
use futures::FutureExt;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, field, info_span, warn};

use crate::health::Health;
use crate::metrics::{Metrics, Panicked, Received};
use crate::period::Period;
use crate::redact::redact_text;
use crate::settlement::{Failure, Reason, Settlement};
use crate::telemetry::{chain, record_trace};

/// Reading and checking large objects takes its time.
const LEASE_MAX: Duration = Duration::from_hours(1);

/// A stream that failed has been built again by then.
const ASKED_AGAIN_WITHIN: Duration = Duration::from_mins(3);

/// How a role consumes; a section of its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Messages handled at once by this process.
    pub in_flight_max: NonZeroU32,
    /// How long what is in flight may take to finish after SIGTERM.
    pub grace: Period,
    /// Silence after which the stream of messages is built again.
    pub silence_max: Period,
    /// Deliveries of one message; that of the subscription's dead-letter policy.
    pub attempts_max: NonZeroU32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            in_flight_max: NonZeroU32::new(16).expect("16 is not zero"),
            grace: Period::secs(25),
            silence_max: Period::secs(120),
            attempts_max: NonZeroU32::new(100).expect("100 is not zero"),
        }
    }
}

impl Options {
    /// Receives no more than is handled at once, so that one poison message
    /// does not take its neighbours along.
    pub fn subscribe(self) -> SubscribeOptions {
        let outstanding_max = self.in_flight_max.get();
        SubscribeOptions {
            outstanding_max,
            bytes_max: u32::try_from(DATA_MAX)
                .map_or(u32::MAX, |it| it.saturating_mul(outstanding_max)),
            lease_max: LEASE_MAX,
            silence_max: self.silence_max.get(),
            quiet: self.grace.get() / 25,
            closing_max: self.grace.get() / 2,
        }
    }
}

/// A message as its handler sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The id that Pub/Sub gave it; a repeated publish has another.
    pub id: String,
    /// The body.
    pub data: Bytes,
    /// The attributes.
    pub attributes: BTreeMap<String, String>,
    /// The ordering key, or nothing.
    pub ordering_key: String,
    /// When Pub/Sub took it in.
    pub publish_time: Timestamp,
    /// Which delivery this is, where the subscription counts them.
    pub delivery_attempt: Option<u32>,
}

impl Message {
    /// The trace that it is part of, where it says so.
    pub fn trace(&self) -> Option<TraceParent> {
        TraceParent::of(&self.attributes)
    }
}

/// The messages of a subscription, as they come.
pub struct Source {
    deliveries: Deliveries,
    subscription: String,
    condition: &'static str,
    health: Health,
}

impl Source {
    /// Begins to receive from `projects/P/subscriptions/S`. The readiness condition is broken while that is not allowed.
    pub fn open(
        subscriber: &dyn Receive,
        subscription: &str,
        options: Options,
        health: &Health,
        condition: &'static str,
    ) -> Self {
        Self {
            deliveries: subscriber.subscribe(subscription, options.subscribe()),
            subscription: subscription.to_owned(),
            condition,
            health: health.clone(),
        }
    }
}

/// Has every delivery handled, until `stop`; then nothing more is received, and
/// what was received gets the grace period to finish. Nothing healthy is
/// nacked: on Pub/Sub a nack costs an attempt.
///
/// The handler runs in the span `delivery`, which has the message's trace, and records `run.id` there. It
/// returns its failures and leaves it to this loop to log them. What becomes a
/// dead letter is acked once `bury` has put it where it is not lost.
pub async fn consume<H, F, B, G, E>(
    Source { mut deliveries, subscription, condition, health }: Source,
    options: Options,
    metrics: &Metrics,
    stop: CancellationToken,
    handle: H,
    bury: B,
) where
    H: Fn(Arc<Message>) -> F,
    F: Future<Output = Settlement> + Send + 'static,
    B: Fn(Arc<Message>, Failure) -> G + Clone + Send + 'static,
    G: Future<Output = Result<(), E>> + Send + 'static,
    E: std::error::Error + Send + 'static,
{
    let tell = |received: Result<(), &Error>| match received {
        Ok(()) => health.ok(condition),
        Err(error) => {
            warn!(error = error as &dyn std::error::Error, "receiving failed");
            health.denied(condition, error, ASKED_AGAIN_WITHIN);
        }
    };
    let permits = Arc::new(Semaphore::new(options.in_flight_max.get() as usize));
    let mut tasks = JoinSet::new();
    let counted = metrics.deliveries(&subscription);
    let begin = |tasks: &mut JoinSet<()>, (permit, mut delivery): (_, Delivery)| {
        while tasks.try_join_next().is_some() {}
        let message = Arc::new(message(&mut delivery));
        let span = info_span!(
            "delivery",
            messaging.message.id = message.id,
            messaging.delivery_attempt = message.delivery_attempt,
            run.id = field::Empty,
            trace = field::Empty,
            trace.span = field::Empty,
        );
        record_trace(&span, &subscription, message.trace());
        let received = counted.received(&message.id, message.publish_time);
        let work = settle(
            (delivery, received, metrics.clone()),
            handle(message.clone()),
            message,
            bury.clone(),
            options.attempts_max.get(),
            permit,
        );
        tasks.spawn(work.instrument(span));
    };

    while let Some(Some(next)) =
        stop.run_until_cancelled(next(&mut deliveries, &permits, tell)).await
    {
        begin(&mut tasks, next);
    }
    deliveries.stop();
    let drain = async {
        while let Some(next) = next(&mut deliveries, &permits, tell).await {
            begin(&mut tasks, next);
        }
        while tasks.join_next().await.is_some() {}
        deliveries.settled().await;
    };
    if timeout(options.grace.get(), drain).await.is_err() {
        warn!(in_flight = tasks.len(), "grace period ended; what was in flight comes again");
    }
}

/// The next delivery, once there is room for it; `None` when nothing more comes.
/// Cancelling this loses nothing.
async fn next(
    deliveries: &mut Deliveries,
    permits: &Arc<Semaphore>,
    tell: impl Fn(Result<(), &Error>),
) -> Option<(OwnedSemaphorePermit, Delivery)> {
    let permit = permits.clone().acquire_owned().await.expect("never closed");
    loop {
        match deliveries.recv().await? {
            Ok(delivery) => {
                tell(Ok(()));
                return Some((permit, delivery));
            }
            Err(error) => tell(Err(&error)),
        }
    }
}

fn message(delivery: &mut Delivery) -> Message {
    Message {
        id: take(&mut delivery.id),
        data: take(&mut delivery.data),
        attributes: take(&mut delivery.attributes),
        ordering_key: take(&mut delivery.ordering_key),
        publish_time: delivery.publish_time,
        delivery_attempt: delivery.delivery_attempt,
    }
}

/// The one place where a failed delivery is logged, and where it becomes a decision.
async fn settle<B, G, E>(
    (delivery, received, metrics): (Delivery, Received, Metrics),
    handling: impl Future<Output = Settlement>,
    message: Arc<Message>,
    bury: B,
    attempts_max: u32,
    _permit: OwnedSemaphorePermit,
) where
    B: Fn(Arc<Message>, Failure) -> G,
    G: Future<Output = Result<(), E>>,
    E: std::error::Error + 'static,
{
    let handled = AssertUnwindSafe(handling).catch_unwind().await;
    let settlement = handled.unwrap_or_else(|_| {
        error!("handler panicked");
        metrics.panicked(Panicked::Handler);
        let detail = "the handler panicked".to_owned();
        Settlement::Retry(Failure { reason: Reason::Panic, detail })
    });
    // What could not be decoded is quoted in its error.
    let settlement = settlement.map_detail(|it| redact_text(&it));
    let mut settlement = settlement.on_attempt(message.delivery_attempt, attempts_max);
    match &settlement {
        Settlement::Ack => {
            debug!("delivery was handled");
            delivery.ack();
        }
        Settlement::Retry(Failure { reason, detail }) => {
            warn!(reason = reason.as_str(), detail, "delivery was nacked");
            delivery.nack();
        }
        Settlement::DeadLetter(failure) => {
            let Failure { reason, detail } = failure;
            let reason = reason.as_str();
            match bury(message, failure.clone()).await {
                Ok(()) => {
                    warn!(reason, detail, "delivery became a dead letter");
                    delivery.ack();
                }
                Err(error) => {
                    error!(
                        reason,
                        detail,
                        error = chain(&error),
                        "dead letter was not put away; delivery was nacked"
                    );
                    delivery.nack();
                    settlement = Settlement::Retry(failure.clone());
                }
            }
        }
    }
    received.settled(&settlement);
}
