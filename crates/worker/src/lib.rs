//! Intake and reconcile: from an announced artifact to a finished run.

mod admission;
mod config;
mod intake;
mod job_body;
mod metrics;
mod reconcile;
#[cfg(test)]
mod testing;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use branchline_gcp::pubsub::{Publisher, Subscriber};
use branchline_gcp::storage::Storage;
use branchline_gcp::vertex::Vertex;
use branchline_ledger::{Lease, Queue, Store};
use branchline_service::shutdown::within_grace;
use branchline_service::{DeadLetters, Health, consume, health};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

pub use config::Config;

/// A worker that could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A client could not be built.
    #[error(transparent)]
    Google(#[from] branchline_gcp::Error),
    /// The health port could not be bound.
    #[error("listening on {address}")]
    Listen {
        /// The address of the configuration.
        address: std::net::SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

/// Runs the worker until `stop`, then drains it.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), Error> {
    let google = &config.google;
    let storage = Storage::connect(google).await?;
    let publisher = Publisher::connect(google).await?;
    let subscriber = Subscriber::connect(google).await?;
    let vertex = Vertex::connect(google).await?;
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|source| Error::Listen { address: config.listen, source })?;

    let store = Store::new(storage.clone(), config.ledger_bucket.clone());
    let queue = Queue::new(storage.clone(), config.queue_bucket.clone());
    let health = Health::default();
    let dead_letters = DeadLetters::new(
        publisher.clone(),
        config.dead_letter_topic.clone(),
        config.subscription.clone(),
    );
    let holder = format!("{}-{:016x}", std::process::id(), fastrand::u64(..));
    let lease = Lease::new(storage.clone(), config.queue_bucket.clone(), holder, config.lease());
    let doors = (store.clone(), queue.clone());
    let settings = settings(&config);
    let leader = reconcile::Leader::new(storage.clone(), doors, vertex, publisher, settings);

    let tasks = TaskTracker::new();
    tasks.spawn(leader.run(lease, health.clone(), stop.clone()));
    tasks.spawn(health::serve(listener, health, stop.clone()));
    tasks.close();
    let deliveries = subscriber.subscribe(&config.subscription, config.consume.subscribe());
    let options = config.consume;
    let grace = Duration::from_secs(options.grace_seconds);
    let intake = Arc::new(intake::Intake { storage, store, queue, config });
    let rest = within_grace(tasks.wait(), &stop, grace);
    let consumed = consume(deliveries, &dead_letters, options, stop.clone(), move |message| {
        let intake = intake.clone();
        async move { intake.handle(&message).await }
    });
    // A create call that is cut off here is settled by the next leader.
    if !tokio::join!(rest, consumed).0 {
        warn!("grace period ended in the middle of a round");
    }
    Ok(())
}

fn settings(config: &Config) -> reconcile::Settings {
    reconcile::Settings {
        installation: config.installation.clone(),
        output_bucket: config.output_bucket.clone(),
        run_event_topic: config.run_event_topic.clone(),
        tick: config.tick(),
        create: config.create(),
        settle: config.settle(),
        wait_max: config.wait_max(),
        creates_per_minute: config.creates_per_minute.get(),
    }
}
