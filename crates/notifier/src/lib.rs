//! Reports runs to GitLab: a commit status and a merge request note.
//!
//! Events are hints; what is reported is the fold of the ledger. So late,
//! repeated and reordered events change nothing.

mod closed;
mod config;
mod escape;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz;
mod handle;
mod note;
mod report;
#[cfg(test)]
mod testing;
mod wanted;

use std::collections::BTreeMap;
use std::sync::Arc;

use branchline_gcp::identity::IdTokens;
use branchline_gitlab::Client;
use branchline_ledger::{Queue, Requests, Store};
use branchline_service::consume::Source;
use branchline_service::dead_letter::{self, COMES_AGAIN_WITHIN};
use branchline_service::metrics::Role;
use branchline_service::shutdown::within_grace;
use branchline_service::{DeadLetters, Doors, Health, Message, Metrics, consume, health};
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

pub use config::{Config, MergeRequests};

use closed::Closed;
use handle::{Notifier, Turns};

/// A notifier that could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A client of Google Cloud could not be built.
    #[error(transparent)]
    Google(#[from] branchline_gcp::Error),
    /// The client of GitLab could not be built.
    #[error(transparent)]
    Gitlab(#[from] branchline_gitlab::Error),
}

/// Runs the notifier until `stop`, then drains it. `token` is that of a GitLab
/// user who may set commit statuses and write notes; probes and scrapes are answered on the listener.
pub async fn run(
    config: Config,
    token: SecretString,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), Error> {
    let client = Client::new(&config.gitlab, token)?;
    let metrics = Metrics::new(Role::Notifier, Timestamp::now);
    let doors = Doors::connect(&config.google, &metrics).await?;
    serve(config, doors, client, listener, metrics, stop).await
}

/// Answers probes and scrapes, and works, through any doors.
pub async fn serve(
    config: Config,
    doors: Doors,
    client: Client,
    listener: TcpListener,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<(), Error> {
    let client = client.observed(metrics.gitlab());
    let audience = config.merge_requests.as_ref().and_then(|it| it.audience.as_ref());
    let id_tokens = audience.map(|it| IdTokens::new(&config.google, it)).transpose()?;
    let health = Health::default();
    let served = health::serve(listener, health.clone(), metrics.clone(), stop.clone());
    let grace = config.consume.grace.get();
    // A probe that never says what it wants does not hold up the end.
    let served = within_grace(served, &stop, grace);
    tokio::join!(served, work(config, doors, client, id_tokens, health, metrics, stop.clone()));
    Ok(())
}

/// The work of a notifier, through any doors.
pub async fn work(
    config: Config,
    doors: Doors,
    client: Client,
    id_tokens: Option<IdTokens>,
    health: Health,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let Doors { storage, publisher, subscriber, clock } = doors;
    let notifier = Arc::new(Notifier {
        store: Store::new(storage.clone(), config.ledger_bucket.clone(), clock),
        host: client.host().to_owned(),
        client,
        health: health.clone(),
        own: OnceCell::new(),
        turns: Turns::default(),
    });
    let dead_letters =
        DeadLetters::new(publisher, config.dead_letter_topic, config.subscription.clone());
    let source =
        Source::open(&*subscriber, &config.subscription, config.consume, &health, "subscription");
    let closed = config.merge_requests.map(|it| Closed {
        notifier: notifier.clone(),
        id_tokens,
        pause: it.poll.get(),
        queue: Queue::new(storage.clone(), it.queue_bucket),
        requests: Requests::new(storage, it.request_bucket, config.ledger_bucket),
        known: BTreeMap::new(),
    });
    let watched = async {
        if let Some(closed) = closed {
            closed.watch(stop.clone()).await;
        }
    };
    let handle = move |message: Arc<Message>| {
        let notifier = notifier.clone();
        async move { notifier.handle(&message).await }
    };
    let bury = move |message: Arc<Message>, failure| {
        let (dead_letters, health) = (dead_letters.clone(), health.clone());
        async move {
            let buried = dead_letters.publish(&message, &failure).await;
            match &buried {
                Ok(()) => health.ok(dead_letter::CONDITION),
                Err(error) => health.denied(dead_letter::CONDITION, error, COMES_AGAIN_WITHIN),
            }
            buried
        }
    };
    let consumed = consume(source, config.consume, &metrics, stop.clone(), handle, bury);
    tokio::join!(watched, consumed);
}
