//! Receives messages from a subscription.
//!
//! A task of its own owns the SDK's stream, because the stream's `next` loses
//! the connection when it is cancelled before the first answer. A stream that
//! fails is reported and built again with backoff.
//!
//! What happens to a message that is not settled: Pub/Sub counts a delivery
//! attempt whether its lease runs out or it is nacked, so a healthy message
//! keeps its attempt only when it is handled. That is why [`Deliveries::stop`]
//! still hands out what has already been received, and why nothing here nacks
//! by itself. A [`Delivery`] that is dropped, by a panic or by a shutdown that
//! ran out of time, is nacked by the SDK: it comes back by the subscription's
//! backoff instead of at the end of its lease.
//!
//! What the server sends while a stream is being closed reaches nobody and comes again at the end of
//! its lease. The SDK cannot tell the server beforehand. So after a stop nothing is settled until the
//! stream is full, which the server respects, or quiet, and is closed.

use super::outstanding::Outstanding;
use crate::call::{Call, timestamp};
use crate::config::Config;
use crate::error::{Error, Result};
use bytes::Bytes;
use google_cloud_gax::backoff_policy::BackoffPolicy as _;
use google_cloud_gax::exponential_backoff::ExponentialBackoff;
use google_cloud_gax::retry_state::RetryState;
use google_cloud_pubsub::client::Subscriber as SdkSubscriber;
use google_cloud_pubsub::model;
use google_cloud_pubsub::subscriber::MessageStream;
use google_cloud_pubsub::subscriber::ShutdownBehavior;
use google_cloud_pubsub::subscriber::handler::Handler;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tracing::{Instrument as _, debug, warn};

/// Receives from any subscription.
#[derive(Clone, Debug)]
pub struct Subscriber {
    config: Config,
    client: SdkSubscriber,
}

/// How much may be received at once, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct SubscribeOptions {
    /// Messages that are received and not yet settled. Keep it at what is
    /// handled at once, so that none waits here while its lease runs.
    pub outstanding_max: u32,
    /// The same in bytes.
    pub bytes_max: u32,
    /// How long a message is kept from being redelivered while it is handled.
    pub lease_max: Duration,
    /// A stream that yields nothing for so long, though there is room, is built again: the
    /// SDK reconnects in silence for ever, and a connection can be dead without an end.
    pub silence_max: Duration,
    /// A stream that is stopped is closed once it is full, or has been quiet for so long.
    pub quiet: Duration,
    /// How long it may take to become either.
    pub closing_max: Duration,
}

/// The messages of one subscription.
#[derive(Debug)]
pub struct Deliveries {
    received: mpsc::Receiver<Result<Delivery>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// One message on its way to one handler.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "the field's own term is delivery attempt")]
pub struct Delivery {
    /// The id the server gave it; a repeated publish has another.
    pub id: String,
    /// The body.
    pub data: Bytes,
    /// The attributes.
    pub attributes: BTreeMap<String, String>,
    /// The ordering key, or nothing.
    pub ordering_key: String,
    /// When the server took it in.
    pub publish_time: Timestamp,
    /// Which attempt this is, where the subscription counts them.
    pub delivery_attempt: Option<u32>,
    /// Keeps it from being delivered again until it is settled or dropped.
    pub lease: Box<dyn Settle>,
}

/// The way back to the server for one delivery.
pub trait Settle: fmt::Debug + Send {
    /// See [`Delivery::ack`].
    fn ack(self: Box<Self>);

    /// See [`Delivery::nack`].
    fn nack(self: Box<Self>);
}

/// Something that hands out messages: Google's client, or a simulated world.
pub trait Receive: Send + Sync {
    /// Begins to receive from `projects/P/subscriptions/S`.
    fn subscribe(&self, subscription: &str, options: SubscribeOptions) -> Deliveries;
}

impl Subscriber {
    /// Builds the client; nothing is sent yet.
    pub fn connect(config: &Config) -> Call<'_, Self> {
        const DOING: &str = "connecting to Pub/Sub for receiving";
        Box::pin(async move {
            config.check(DOING)?;
            let mut client = SdkSubscriber::builder().with_credentials(config.credentials(DOING)?);
            if let Some(endpoint) = &config.pubsub_endpoint {
                client = client.with_endpoint(endpoint);
            }
            let client = client.build().await.map_err(|it| Error::client(DOING, it))?;
            Ok(Self { config: config.clone(), client })
        })
    }
}

impl Receive for Subscriber {
    fn subscribe(&self, subscription: &str, options: SubscribeOptions) -> Deliveries {
        // One message waits in the channel at most; the rest waits in the SDK.
        let (sender, received) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let pump = Pump {
            subscriber: self.clone(),
            subscription: subscription.to_owned(),
            options,
            outstanding: Arc::default(),
            sender,
            stopped,
        };
        let span = tracing::info_span!(
            "pubsub.receive",
            messaging.destination.subscription.name = subscription
        );
        let task = tokio::spawn(pump.run().instrument(span));
        Deliveries::new(received, stop, task)
    }
}

impl Deliveries {
    /// What `task` sends, until `stop` is told to it and it has sent everything.
    pub const fn new(
        received: mpsc::Receiver<Result<Delivery>>,
        stop: watch::Sender<bool>,
        task: JoinHandle<()>,
    ) -> Self {
        Self { received, stop, task }
    }

    /// The next message, or a failure of the stream, which is being built again;
    /// `None` after [`stop`](Self::stop). Cancelling this loses nothing.
    pub async fn recv(&mut self) -> Option<Result<Delivery>> {
        self.received.recv().await
    }

    /// Receives nothing more. What has been received still comes, then `None`.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Stops, and waits until every delivery is settled and the server has been
    /// told. A delivery that nobody has taken is given back.
    pub async fn settled(mut self) {
        self.stop();
        self.received.close();
        while self.received.recv().await.is_some() {}
        if let Err(panic) = self.task.await
            && panic.is_panic()
        {
            std::panic::resume_unwind(panic.into_panic());
        }
    }
}

impl Delivery {
    /// The message is done with. Best effort, as everything in Pub/Sub: it may
    /// come again.
    pub fn ack(self) {
        self.lease.ack();
    }

    /// The message is to come again, after the subscription's backoff.
    pub fn nack(self) {
        self.lease.nack();
    }

    fn new(message: model::Message, handler: Handler, outstanding: &Arc<Outstanding>) -> Self {
        Self {
            id: message.message_id,
            data: message.data,
            attributes: message.attributes.into_iter().collect(),
            ordering_key: message.ordering_key,
            publish_time: timestamp(message.publish_time).unwrap_or_default(),
            delivery_attempt: handler.delivery_attempt().and_then(|it| u32::try_from(it).ok()),
            lease: Box::new(outstanding.lease(handler)),
        }
    }
}

/// The task that owns the stream.
struct Pump {
    subscriber: Subscriber,
    subscription: String,
    options: SubscribeOptions,
    outstanding: Arc<Outstanding>,
    sender: mpsc::Sender<Result<Delivery>>,
    stopped: watch::Receiver<bool>,
}

/// What the SDK's stream yields.
type Item = Option<std::result::Result<(model::Message, Handler), google_cloud_pubsub::Error>>;

/// How a stream ended.
enum End {
    /// For good.
    Stopped,
    /// It failed, after it had yielded something or not.
    Failed { delivered_any: bool },
    /// It yielded nothing for too long.
    Silent,
}

impl Pump {
    async fn run(mut self) {
        // Streams that ended still send the acks of what they delivered.
        let mut ended = JoinSet::new();
        let backoff = ExponentialBackoff::default();
        let (mut failures, mut silences) = (0_u32, 0_u32);
        while !*self.stopped.borrow() && !self.sender.is_closed() {
            // The server counts for each stream alone, too.
            self.outstanding = Arc::default();
            let mut stream = self.open();
            let token = stream.shutdown_token();
            let end = self.forward(&mut stream, silences).await;
            drop(stream);
            self.outstanding.release().await;
            ended.spawn(async move { token.shutdown().await });
            while ended.try_join_next().is_some() {}
            failures = match end {
                End::Stopped => break,
                End::Failed { delivered_any: true } => 1,
                End::Failed { delivered_any: false } => failures + 1,
                End::Silent => {
                    silences += 1;
                    debug!(silences, "stream was silent and is built again");
                    // A new client, since the old one's connection may be what is dead.
                    if let Ok(anew) = Subscriber::connect(&self.subscriber.config).await {
                        self.subscriber = anew;
                    }
                    continue;
                }
            };
            let delay = backoff.on_failure(&RetryState::new(true).set_attempt_count(failures));
            // Full jitter may be nothing at all; a stream is never rebuilt at once.
            let delay = delay.max(Duration::from_millis(100));
            let _ = tokio::time::timeout(delay, self.stopped.wait_for(|it| *it)).await;
        }
        // Nobody is waiting for more; what was handed out is still to be settled.
        drop(self.sender);
        ended.join_all().await;
    }

    fn open(&self) -> MessageStream {
        self.subscriber
            .client
            .subscribe(&self.subscription)
            .set_max_outstanding_messages(self.options.outstanding_max)
            .set_max_outstanding_bytes(self.options.bytes_max)
            .set_max_lease(self.options.lease_max)
            .set_shutdown_behavior(ShutdownBehavior::WaitForProcessing)
            .build()
    }

    /// Hands on what the stream yields. `silences` is how many streams were silent before it.
    async fn forward(&mut self, stream: &mut MessageStream, silences: u32) -> End {
        let (mut delivered_any, opened) = (false, Timestamp::now());
        let mut close_at = None;
        loop {
            let item = match self.next(stream, &mut close_at).await {
                Ok(Some(Ok((message, handler)))) => {
                    let delivery = Delivery::new(message, handler, &self.outstanding);
                    if silences > 0 && !delivered_any && delivery.publish_time < opened {
                        warn!(silences, published = %delivery.publish_time, "stream was silent while a message waited");
                    }
                    delivered_any = true;
                    Ok(delivery)
                }
                Ok(Some(Err(source))) => {
                    Err(Error::api(format!("receiving from {}", self.subscription), source))
                }
                Ok(None) => return End::Failed { delivered_any },
                Err(end) => return end,
            };
            let failed = item.is_err();
            if self.sender.send(item).await.is_err() {
                return End::Stopped;
            }
            if failed {
                return End::Failed { delivered_any };
            }
        }
    }

    /// What the stream yields next, or why it is read no more.
    async fn next(
        &mut self,
        stream: &mut MessageStream,
        close_at: &mut Option<Instant>,
    ) -> std::result::Result<Item, End> {
        let mut next = pin!(stream.next());
        loop {
            if close_at.is_none() && *self.stopped.borrow() {
                self.outstanding.hold();
                *close_at = Some(Instant::now() + self.options.closing_max);
            }
            if close_at.is_some() && self.outstanding.is_full(self.options.outstanding_max) {
                return Err(End::Stopped);
            }
            let patience = close_at.map_or(self.options.silence_max, |it| {
                self.options.quiet.min(it.saturating_duration_since(Instant::now()))
            });
            tokio::select! {
                // First, so that a stop takes nothing from what was received: while `next` is
                // pending, the SDK holds no message. It is cancelled only when the stream is not
                // read again.
                biased;
                next = &mut next => return Ok(next),
                () = self.sender.closed() => return Err(End::Stopped),
                _ = self.stopped.wait_for(|it| *it), if close_at.is_none() => {}
                () = sleep(patience) => {
                    if close_at.is_some() {
                        return Err(End::Stopped);
                    }
                    if !self.outstanding.is_full(self.options.outstanding_max) {
                        return Err(End::Silent);
                    }
                }
            }
        }
    }
}
