//! The leader: one round after another over the queue, while it holds the lease.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use branchline_contract::{RunId, Vertex as Domain};
use branchline_gcp::Error as GcpError;
use branchline_gcp::vertex::Jobs;
use branchline_ledger::{
    Clock, History, Lease, Newests, Pauses, Places, Queue, Queued, Requests, Store, Ticket,
};
use branchline_service::telemetry::chain;
use branchline_service::{Doors, Health};
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::announce::{announce, places};
use super::limiter::Limiter;
use super::perform::{Hands, Tracked};
use super::supersede::Lines;
use super::watch::Watched;

pub(super) const AT_ONCE: usize = 16;
/// A run that cannot be read or driven is left alone for so long.
const PAUSE: Duration = Duration::from_secs(10);
const CONDITION: &str = "reconcile";

/// What the protocol and its effects are set to.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Value of the label that tells our jobs from other installations'.
    pub installation: String,
    /// Bucket of the output directories.
    pub output_bucket: String,
    /// Topic of run events.
    pub run_event_topic: String,
    /// The time on the wall.
    pub clock: Clock,
    /// Pause between two rounds.
    pub tick: Duration,
    /// Bound of one create call.
    pub create: Duration,
    /// Time after which a list shows every job that was created.
    pub settle: Duration,
    /// Longest wait in line.
    pub wait_max: Duration,
    /// Create calls per minute, project and region.
    pub creates_per_minute: u32,
}

/// Everything that lies in Cloud Storage.
pub(crate) struct Ledger {
    /// The runs.
    pub store: Store,
    /// Those that are not announced to their end.
    pub queue: Queue,
    /// What is asked for from outside.
    pub requests: Requests,
    /// Where nothing is dispatched.
    pub pauses: Pauses,
    /// Where jobs may be.
    pub places: Places,
    /// What supersedes older runs.
    pub newests: Newests,
}

/// The doors, the settings and what is remembered between rounds.
pub(crate) struct Leader {
    doors: Doors,
    pub(super) ledger: Ledger,
    pub(super) vertex: Arc<dyn Jobs>,
    pub(super) settings: Settings,
    started: Instant,
    pub(super) runs: BTreeMap<RunId, Tracked>,
    paused: BTreeMap<RunId, Instant>,
    limiters: BTreeMap<Domain, Mutex<Limiter>>,
    pub(super) watched: Watched,
    pub(super) lines: Option<Lines>,
}

impl Leader {
    /// A leader that knows nothing yet.
    pub(crate) fn new(
        doors: Doors,
        ledger: Ledger,
        vertex: Arc<dyn Jobs>,
        settings: Settings,
    ) -> Self {
        Self {
            doors,
            ledger,
            vertex,
            settings,
            started: Instant::now(),
            runs: BTreeMap::new(),
            paused: BTreeMap::new(),
            limiters: BTreeMap::new(),
            watched: Watched::default(),
            lines: None,
        }
    }

    /// Reconciles whenever the lease is ours, until `stop`; then gives it back.
    pub(crate) async fn run(mut self, mut lease: Lease, health: Health, stop: CancellationToken) {
        let mut leads = false;
        while !stop.is_cancelled() {
            let held = match lease.hold(Instant::now()).await {
                Ok(held) => held,
                Err(error) => {
                    warn!(error = chain(&error), "lease not reached");
                    false
                }
            };
            if held != leads {
                leads = held;
                info!(leads, "lease changed hands");
                self.runs.clear();
                (self.watched, self.lines) = (Watched::default(), None);
            }
            if held {
                match self.round(&stop).await {
                    Ok(()) => health.ok(CONDITION),
                    Err(error) => {
                        warn!(error = chain(&error), "round not finished");
                        health.broken(CONDITION, chain(&error));
                    }
                }
            }
            stop.run_until_cancelled(tokio::time::sleep(self.settings.tick)).await;
        }
        if let Err(error) = lease.release().await {
            warn!(error = chain(&error), "lease not given back");
        }
    }

    /// One round: list, read what is new, watch, dispatch in order, announce.
    async fn round(&mut self, stop: &CancellationToken) -> Result<(), GcpError> {
        // First, so that whatever was asked of a run finds the run in the queue.
        let asked = self.ledger.requests.list().await;
        let (entries, strangers) = self.ledger.queue.list().await?;
        for stranger in strangers {
            warn!(error = %stranger, "object in the queue is no entry");
        }
        self.refresh(&entries).await;
        let asked = match asked {
            Ok(asked) => self.answer(asked, &entries).await,
            Err(error) => Err(error),
        };
        self.supersede().await?;
        self.pause().await?;
        self.watch().await?;
        let mut order: Vec<RunId> = Vec::new();
        let mut seen = BTreeSet::new();
        for entry in &entries {
            if seen.insert(&entry.ticket.run) {
                order.push(entry.ticket.run.clone());
            }
        }
        self.drive(&order, stop).await;
        self.announce(&entries, &order, stop).await;
        // Training goes on where requests cannot be read, and readiness says so.
        asked
    }

    /// Reads the runs that are new or whose entry tells of newer facts, and forgets the rest.
    async fn refresh(&mut self, entries: &[Queued]) {
        let now = Instant::now();
        self.paused.retain(|_, until| *until > now);
        let queued: BTreeSet<&RunId> = entries.iter().map(|it| &it.ticket.run).collect();
        self.runs.retain(|run, _| queued.contains(run));
        let mut behind: BTreeMap<&RunId, u64> = BTreeMap::new();
        for entry in entries {
            let run = &entry.ticket.run;
            let known = self.runs.get(run).map(|it| it.run.head.sequence);
            if !self.paused.contains_key(run) && (known.is_none() || known < entry.head) {
                behind.insert(run, entry.project_id);
            }
        }
        let loads: Vec<_> = behind
            .into_iter()
            .map(|(run, project_id)| load(&self.ledger.store, project_id, run))
            .collect();
        let loaded: Vec<_> = stream::iter(loads).buffer_unordered(AT_ONCE).collect().await;
        for (run, history) in loaded {
            match history {
                Ok(Some(history)) => match self.runs.get_mut(&run) {
                    Some(tracked) => tracked.refresh(history),
                    None => {
                        self.runs.insert(run, Tracked::new(history));
                    }
                },
                // Intake wrote the entry and has yet to write the request.
                Ok(None) => {}
                Err(error) => {
                    error!(run.id = %run, error = chain(&error), "run not read; left alone for now");
                    self.paused.insert(run, now + PAUSE);
                }
            }
        }
    }

    /// Takes every run as far as it goes: domains side by side, and within a
    /// domain first in line, first served.
    async fn drive(&mut self, order: &[RunId], stop: &CancellationToken) {
        let mut domains: BTreeMap<Domain, Vec<Tracked>> = BTreeMap::new();
        for run in order {
            if self.paused.contains_key(run) {
                continue;
            }
            if let Some(it) = self.runs.remove(run) {
                domains.entry(it.run.request.vertex.clone()).or_default().push(it);
            }
        }
        let per_minute = self.settings.creates_per_minute;
        for domain in domains.keys() {
            let limiter = || Mutex::new(Limiter::new(per_minute));
            self.limiters.entry(domain.clone()).or_insert_with(limiter);
        }
        let (hands, limiters) = (self.hands(), &self.limiters);
        let driven: Vec<_> = domains
            .into_iter()
            .map(|(domain, runs)| drive_domain(&hands, &limiters[&domain], runs, stop))
            .collect();
        let driven: Vec<_> = stream::iter(driven).buffer_unordered(AT_ONCE).concat().await;
        for (it, driven) in driven {
            let run = it.run.id.clone();
            if let Err(error) = driven {
                warn!(run.id = %run, error = chain(&error), "run not driven; left alone for now");
                self.paused.insert(run.clone(), Instant::now() + PAUSE);
            }
            self.runs.insert(run, it);
        }
    }

    async fn announce(&mut self, entries: &[Queued], order: &[RunId], stop: &CancellationToken) {
        let places = places(order.iter().filter_map(|run| self.runs.get(run)).map(|it| &it.run));
        // Attempts in their order: messages may have come in another.
        let mut entries: Vec<&Queued> = entries.iter().collect();
        entries.sort_by_key(|it| (&it.ticket.run, it.ticket.attempt));
        let mut waiting = BTreeSet::new();
        for entry in entries {
            let run = &entry.ticket.run;
            let Some(it) = self.runs.get_mut(run) else { continue };
            if stop.is_cancelled() {
                return;
            }
            if waiting.contains(run) {
                continue;
            }
            let surplus =
                entry.ticket.attempt == it.run.attempt && entry.ticket != Ticket::of(&it.run);
            let announced = if surplus {
                // Its message asked at the same time as the one that is on record, and came second.
                self.ledger.queue.remove(entry).await
            } else {
                let topic = (self.doors.publisher.as_ref(), self.settings.run_event_topic.as_str());
                announce(topic, &self.ledger.queue, entry, it, places.get(run).copied()).await
            };
            if let Err(error) = announced {
                warn!(run.id = %run, error = chain(&error), "run not announced; tried again");
                waiting.insert(run);
            }
        }
    }

    pub(super) fn hands(&self) -> Hands<'_> {
        Hands {
            storage: self.doors.storage.as_ref(),
            store: &self.ledger.store,
            vertex: self.vertex.as_ref(),
            settings: &self.settings,
            started: self.started,
        }
    }
}

async fn load(
    store: &Store,
    project_id: u64,
    run: &RunId,
) -> (RunId, Result<Option<History>, branchline_ledger::Error>) {
    (run.clone(), store.load(project_id, run).await)
}

type Driven = (Tracked, Result<(), super::perform::Error>);

/// Dispatch is one after another, in order; a run that only waits costs nothing.
async fn drive_domain(
    hands: &Hands<'_>,
    limiter: &Mutex<Limiter>,
    runs: Vec<Tracked>,
    stop: &CancellationToken,
) -> Vec<Driven> {
    let mut driven = Vec::with_capacity(runs.len());
    for mut it in runs {
        if stop.is_cancelled() {
            driven.push((it, Ok(())));
            continue;
        }
        // A bug in one run's turn must not end the turns of all others.
        let turn = AssertUnwindSafe(hands.drive(&mut it, limiter)).catch_unwind().await;
        driven.push((it, turn.unwrap_or(Err(super::perform::Error::Panicked))));
    }
    driven
}
