//! Intake and reconcile: from an announced artifact to a finished run.

mod admission;
mod config;
mod dead_letters;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz;
mod intake;
mod job_body;
mod merge_requests;
mod metrics;
mod need;
mod operators;
mod provenance;
mod reconcile;
mod staging;
#[cfg(test)]
mod testing;
mod trust;
mod verify;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use branchline_gcp::storage::Objects;
use branchline_gcp::vertex::{Jobs, Vertex};
use branchline_ledger::{
    Archive, Clock, Lease, Newests, Pauses, Places, Queue, Requests, Store, Tokens,
};
use branchline_service::consume::Source;
use branchline_service::metrics::Role;
use branchline_service::shutdown::within_grace;
use branchline_service::{Doors, Health, Message, Metrics, consume, health};
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use config::Config;
pub use job_body::{LABEL_INTENT, LABEL_PROJECT, LABEL_RUN};
pub use operators::{Operators, Roster};
pub use trust::{Error as TrustError, MINIMAL_POLICY, Trust};

/// A worker that could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A client could not be built.
    #[error(transparent)]
    Google(#[from] branchline_gcp::Error),
    /// A leader that renews once in a round would lose it again and again.
    #[error("a lease of {lease:?} is too short for rounds every {tick:?}: it takes three of them")]
    Lease {
        /// `lease` of the configuration.
        lease: Duration,
        /// `tick` of the configuration.
        tick: Duration,
    },
    /// What CI cannot write must not be what has another purpose.
    #[error("staging needs a bucket of its own, and {0:?} is none")]
    Staging(String),
    /// Dead letters may be anything, and they are deleted some day.
    #[error("dead letters need a bucket of their own, and {0:?} is none")]
    DeadLetters(String),
    /// It is not configured whom to trust.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl Error {
    /// The keys of the configuration that it follows from: where one of them is wrong itself,
    /// nothing does.
    pub const fn follows_from(&self) -> &'static [&'static str] {
        const BUCKETS: [&str; 6] = [
            "staging",
            "dead_letter_bucket",
            "ledger_bucket",
            "queue_bucket",
            "request_bucket",
            "output_bucket",
        ];
        match self {
            Self::Google(_) => &["google"],
            Self::Lease { .. } => &["lease", "tick"],
            Self::Staging(_) => &BUCKETS,
            Self::DeadLetters(_) => BUCKETS.split_at(1).1,
            Self::Trust(error) => error.follows_from(),
        }
    }
}

/// Whom a worker of that configuration trusts, or everything for which it would not start.
pub fn check(config: &Config, gitlab_token: Option<SecretString>) -> Result<Trust, Vec<Error>> {
    let (lease, tick) = (config.lease.get(), config.tick.get());
    let short = (lease < tick * 3).then_some(Error::Lease { lease, tick });
    let staging = config.misplaced_staging().map(|it| Error::Staging(it.to_owned()));
    let dead_letters = config.misplaced_dead_letters().map(|it| Error::DeadLetters(it.to_owned()));
    let mut errors: Vec<_> = short.into_iter().chain(staging).chain(dead_letters).collect();
    match Trust::load(config, gitlab_token) {
        Ok(trust) if errors.is_empty() => return Ok(trust),
        Ok(_) => {}
        Err(more) => errors.extend(more.into_iter().map(Error::Trust)),
    }
    Err(errors)
}

/// Runs the worker until `stop`, then drains it. The token is for `gitlab` of the configuration; probes and scrapes are
/// answered on the listener.
pub async fn run(
    config: Config,
    gitlab_token: Option<SecretString>,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), Error> {
    let metrics = Metrics::new(Role::Worker, Timestamp::now);
    let doors = Doors::connect(&config.google, &metrics).await?;
    let vertex = Vertex::connect(&config.google).await?.observed(metrics.vertex());
    serve(config, doors, Arc::new(vertex), gitlab_token, listener, metrics, stop).await
}

/// Answers probes and scrapes, and works, through any doors.
pub async fn serve(
    config: Config,
    doors: Doors,
    vertex: Arc<dyn Jobs>,
    gitlab_token: Option<SecretString>,
    listener: TcpListener,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<(), Error> {
    // Whoever starts a process for it tells all of them, and before.
    let mut trust = check(&config, gitlab_token).map_err(|mut it| it.swap_remove(0))?;
    trust.gitlab = trust.gitlab.map(|it| it.observed(metrics.gitlab()));
    let health = Health::default();
    let served = health::serve(listener, health.clone(), metrics.clone(), stop.clone());
    let grace = config.consume.grace.get();
    // A probe that never says what it wants does not hold up the end.
    let served = within_grace(served, &stop, grace);
    let work = work(config, doors, vertex, trust, health, metrics, stop.clone());
    tokio::join!(served, Box::pin(work));
    Ok(())
}

/// The work of a worker, through any doors: intake and, with the lease, reconcile.
pub async fn work(
    config: Config,
    doors: Doors,
    vertex: Arc<dyn Jobs>,
    trust: Trust,
    health: Health,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let storage = doors.storage.clone();
    let store = Store::new(storage.clone(), config.ledger_bucket.clone(), doors.clock);
    let queue = Queue::new(storage.clone(), config.queue_bucket.clone());
    let archive = Archive::new(storage.clone(), config.dead_letter_bucket.clone());
    let dead_letters = dead_letters::DeadLetters {
        archive: archive.clone(),
        trust: trust.clone(),
        subscription: config.subscription.clone(),
        artifact_topic: config.artifact_topic.clone(),
        run_event_topic: config.run_event_topic.clone(),
        health: health.clone(),
        clock: doors.clock,
    };
    let holder = format!("{}-{:016x}", std::process::id(), fastrand::u64(..));
    let lease =
        Lease::new(storage.clone(), config.queue_bucket.clone(), holder, config.lease.get());
    let open = |subscription: &str, condition| {
        Source::open(&*doors.subscriber, subscription, config.consume, &health, condition)
    };
    let announced = open(&config.subscription, "subscription");
    let moved = open(&config.dead_letter_subscription, "dead-letter-subscription");
    let settings = settings(&config, doors.clock);
    let ledger = ledger(&config, &storage, store.clone(), queue.clone());
    let publisher = doors.publisher.clone();
    let tokens = Tokens::new(storage.clone(), config.queue_bucket.clone());
    let post = reconcile::Post {
        archive: archive.clone(),
        requests: ledger.requests.clone(),
        publisher: publisher.clone(),
        artifact_topic: config.artifact_topic.clone(),
        run_event_topic: config.run_event_topic.clone(),
        health: health.clone(),
        clock: doors.clock,
    };
    let (believed, counted) = (trust.clone(), metrics.clone());
    let leader = reconcile::Leader::new(doors, ledger, vertex, believed, post, settings, counted);
    let options = config.consume;
    let grace = options.grace.get();
    let intake = Arc::new(intake::Intake {
        storage,
        store,
        queue,
        tokens,
        archive,
        publisher,
        trust,
        health: health.clone(),
        config,
    });
    let led = within_grace(leader.run(lease, stop.clone()), &stop, grace);
    let burying = dead_letters.clone();
    let handle = move |message: Arc<Message>| {
        let intake = intake.clone();
        async move { intake.handle(&message).await }
    };
    let bury = move |message: Arc<Message>, failure| {
        let dead_letters = burying.clone();
        async move { dead_letters.bury(&message, failure).await }
    };
    let consumed = consume(announced, options, &metrics, stop.clone(), handle, bury);
    let drained = dead_letters.drain(moved, options, &metrics, stop.clone());
    if !tokio::join!(led, consumed, drained).0 {
        warn!("grace period ended before the lease was given back");
    }
}

fn ledger(
    config: &Config,
    storage: &Arc<dyn Objects>,
    store: Store,
    queue: Queue,
) -> reconcile::Ledger {
    let (requests, answers) = (config.request_bucket.clone(), config.ledger_bucket.clone());
    let beside_the_queue = || config.queue_bucket.clone();
    reconcile::Ledger {
        store,
        queue,
        requests: Requests::new(storage.clone(), requests, answers),
        pauses: Pauses::new(storage.clone(), beside_the_queue()),
        places: Places::new(storage.clone(), beside_the_queue()),
        newests: Newests::new(storage.clone(), beside_the_queue()),
    }
}

fn settings(config: &Config, clock: Clock) -> reconcile::Settings {
    reconcile::Settings {
        clock,
        installation: config.installation.clone(),
        output_bucket: config.output_bucket.clone(),
        run_event_topic: config.run_event_topic.clone(),
        tick: config.tick.get(),
        handover: config.consume.grace.get() / 2,
        create: config.create_max.get(),
        settle: config.settle.get(),
        wait_max: config.wait_max.get(),
        creates_per_minute: config.creates_per_minute.get(),
        active_runs_per_project_max: config.active_runs_per_project_max.map(NonZeroU32::get),
        retry: reconcile::Conditions {
            regions: config.regions.clone(),
            staging: config.staging.is_some(),
            verify_sha256: config.verify_sha256,
        },
    }
}
