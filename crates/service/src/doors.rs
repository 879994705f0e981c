//! The doors to Google Cloud that every role goes through.

use std::sync::Arc;

use branchline_gcp::pubsub::{Publish, Publisher, Receive, Subscriber};
use branchline_gcp::storage::{Objects, Storage};
use branchline_gcp::{Config, Error};
use branchline_ledger::Clock;
use jiff::Timestamp;

use crate::metrics::Metrics;

/// Google's own, or those of a simulated world. Cheap to clone.
#[derive(Clone)]
pub struct Doors {
    /// Cloud Storage.
    pub storage: Arc<dyn Objects>,
    /// Pub/Sub, outwards.
    pub publisher: Arc<dyn Publish>,
    /// Pub/Sub, inwards.
    pub subscriber: Arc<dyn Receive>,
    /// The time on the wall.
    pub clock: Clock,
}

impl Doors {
    /// Google's own, with their calls counted.
    pub async fn connect(config: &Config, metrics: &Metrics) -> Result<Self, Error> {
        let storage = Storage::connect(config).await?.observed(metrics.storage());
        let publisher = Publisher::connect(config).await?.observed(metrics.publishes());
        Ok(Self {
            storage: Arc::new(storage),
            publisher: Arc::new(publisher),
            subscriber: Arc::new(Subscriber::connect(config).await?),
            clock: Timestamp::now,
        })
    }
}
