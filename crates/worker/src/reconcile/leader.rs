//! The leader: one round after another over the queue, while it holds the lease.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use branchline_contract::{Installation, RunId, Vertex as Domain};
use branchline_gcp::Error as GcpError;
use branchline_gcp::vertex::Jobs;
use branchline_ledger::{
    Clock, Error as LedgerError, History, Lease, Newests, Pauses, Places, Queue, Queued, Requests,
    Store,
};
use branchline_service::metrics::Round;
use branchline_service::shutdown::within_grace;
use branchline_service::telemetry::chain;
use branchline_service::{Doors, Health, Metrics};
use futures::{StreamExt as _, stream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::announce::Announcer;
use super::approvals::Looked;
use super::fair::Turns;
use super::line::Line;
use super::perform::Hands;
use super::replays::{Post, Replays};
use super::retry::Conditions;
use super::rights;
use super::supersede::Lines;
use super::tracked::{Time, Tracked};
use super::unresolved::Unresolved;
use super::watch::Watched;
use crate::trust::Trust;

/// Calls under way at once: in all for one purpose, and in each domain for dispatch.
pub(super) const AT_ONCE: usize = 16;
/// A run that cannot be read or driven is left alone for so long.
pub(super) const PAUSE: Duration = Duration::from_secs(10);
/// Runs that are read, or announced, in one round, so that a flood of them does not hold up dispatch.
const RUNS_MAX: usize = 512;
const CONDITION: &str = "reconcile";
const LEASE: &str = "lease";

/// What the protocol and its effects are set to.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Value of the label that tells our jobs from other installations'.
    pub installation: Installation,
    /// Bucket of the output directories.
    pub output_bucket: String,
    /// Topic of run events.
    pub run_event_topic: String,
    /// The time on the wall.
    pub clock: Clock,
    /// Pause between two rounds.
    pub tick: Duration,
    /// How long a round may go on after the stop before the lease is given back.
    pub handover: Duration,
    /// Bound of one create call.
    pub create: Duration,
    /// Time after which a list shows every job that was created.
    pub settle: Duration,
    /// Longest wait for approval, and in line.
    pub wait_max: Duration,
    /// Create calls per minute, project and region, as a first guess.
    pub creates_per_minute: u32,
    /// Runs of one GitLab project that may be in Vertex AI at once.
    pub active_runs_per_project_max: Option<u32>,
    /// What an attempt has to meet that an operator asks for.
    pub retry: Conditions,
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
    pub(super) trust: Trust,
    pub(super) settings: Settings,
    pub(super) metrics: Metrics,
    pub(super) started: Instant,
    pub(super) runs: BTreeMap<RunId, Tracked>,
    pub(super) paused: BTreeMap<RunId, Instant>,
    pub(super) domains: BTreeMap<Domain, Mutex<Line>>,
    /// Those of them that metrics tell of.
    pub(super) shown: BTreeSet<Domain>,
    pub(super) watched: Watched,
    pub(super) lines: Option<Lines>,
    /// Questions to GitLab that are under way.
    pub(super) looks: JoinSet<Looked>,
    pub(super) post: Post,
    /// What is done about dead letters, once somebody asked.
    pub(super) replays: Option<Replays>,
    pub(super) unresolved: Unresolved,
    pub(super) health: Health,
    /// What was read, done or told, in all rounds.
    steps: Arc<AtomicU64>,
    /// Create calls that are under way.
    calls: Arc<AtomicU64>,
}

impl Leader {
    /// A leader that knows nothing yet.
    pub(crate) fn new(
        doors: Doors,
        ledger: Ledger,
        vertex: Arc<dyn Jobs>,
        trust: Trust,
        post: Post,
        settings: Settings,
        metrics: Metrics,
    ) -> Self {
        Self {
            doors,
            ledger,
            vertex,
            trust,
            settings,
            metrics,
            started: Instant::now(),
            runs: BTreeMap::new(),
            paused: BTreeMap::new(),
            domains: BTreeMap::new(),
            shown: BTreeSet::new(),
            watched: Watched::default(),
            lines: None,
            looks: JoinSet::new(),
            health: post.health.clone(),
            post,
            replays: None,
            unresolved: Unresolved::default(),
            steps: Arc::default(),
            calls: Arc::default(),
        }
    }

    /// Reconciles whenever the lease is ours, until `stop`; then gives it back.
    pub(crate) async fn run(mut self, mut lease: Lease, stop: CancellationToken) {
        let health = self.health.clone();
        let mut leads = false;
        while !stop.is_cancelled() {
            let held = match lease.hold(Instant::now()).await {
                Ok(held) => {
                    health.ok(LEASE);
                    Some(held)
                }
                // Whose it is, is not known: nothing is done, and nothing is forgotten.
                Err(error) => {
                    warn!(error = chain(&error), "lease not reached");
                    health.broken(LEASE, chain(&error));
                    None
                }
            };
            if let Some(held) = held.filter(|it| *it != leads) {
                leads = held;
                info!(leads, "lease changed hands");
                self.metrics.leads(leads);
                // Whoever does not lead is ready to.
                health.ok(CONDITION);
                self.runs.clear();
                (self.watched, self.lines) = (Watched::default(), None);
                self.looks = JoinSet::new();
                (self.replays, self.unresolved) = (None, Unresolved::default());
            }
            if held == Some(true) {
                let handover = self.settings.handover;
                let (started, mut end) = (Instant::now(), Round::CutOff);
                let round = async {
                    end = match self.round_under(&mut lease, &stop).await {
                        Ok(()) => {
                            health.ok(CONDITION);
                            Round::Done
                        }
                        Err(error) => {
                            warn!(error = chain(&error), "round not finished");
                            health.broken(CONDITION, chain(&error));
                            Round::Failed
                        }
                    };
                };
                // A create call that is cut off here is settled by the next leader.
                if !within_grace(round, &stop, handover).await {
                    warn!("handed over in the middle of a round");
                }
                self.metrics.round(end, started.elapsed());
                self.measure();
            }
            stop.run_until_cancelled(tokio::time::sleep(self.settings.tick)).await;
        }
        if let Err(error) = lease.release().await {
            warn!(error = chain(&error), "lease not given back");
        }
        self.metrics.leads(false);
    }

    /// One round, which keeps the lease for as long as its steps go on, and ends
    /// early when it is lost. A round that is stuck renews nothing.
    async fn round_under(
        &mut self,
        lease: &mut Lease,
        stop: &CancellationToken,
    ) -> Result<(), GcpError> {
        let (ours, steps, tick) = (stop.child_token(), self.steps.clone(), self.settings.tick);
        let (over, calls) = (CancellationToken::new(), self.calls.clone());
        let renewing = async {
            let mut seen = steps.load(Ordering::Relaxed);
            while over.run_until_cancelled(tokio::time::sleep(tick)).await.is_some() {
                let now = steps.load(Ordering::Relaxed);
                // A create call is bounded: one that is slow is not stuck.
                let goes_on = now != seen || calls.load(Ordering::Relaxed) > 0;
                // It is not cut off by the end of the round: a renewal whose answer nobody
                // heard would lose the lease. One that fails leaves it open.
                if goes_on && matches!(lease.hold(Instant::now()).await, Ok(false)) {
                    return ours.cancel();
                }
                seen = now;
            }
        };
        let round = async {
            let ended = self.round(&ours).await;
            over.cancel();
            ended
        };
        tokio::join!(round, renewing).0
    }

    /// One round: list, read what is new, watch, dispatch in order, announce.
    async fn round(&mut self, stop: &CancellationToken) -> Result<(), GcpError> {
        // First, so that whatever was asked of a run finds the run in the queue.
        let asked = self.ledger.requests.list().await;
        let (entries, strangers) = self.ledger.queue.list().await?;
        self.step();
        for stranger in strangers {
            warn!(error = %stranger, "object in the queue is no entry");
        }
        self.refresh(&entries).await;
        if stop.is_cancelled() {
            return Ok(());
        }
        let asked = match asked {
            Ok(asked) => self.answer(asked, &entries).await,
            Err(error) => Err(error),
        };
        self.step();
        self.approvals().await;
        self.supersede().await?;
        self.pause().await?;
        self.step();
        self.watch(&entries).await?;
        self.step();
        if stop.is_cancelled() {
            return Ok(());
        }
        let places = self.drive(&entries, stop).await;
        self.announce(&entries, &places, stop).await;
        self.count_dead_letters();
        // Training goes on where requests cannot be read, and readiness says so.
        asked
    }

    /// Reads the runs that are new or whose entry tells of newer facts, and forgets the rest.
    async fn refresh(&mut self, entries: &[Queued]) {
        let now = Instant::now();
        self.paused.retain(|_, until| *until > now);
        let queued: BTreeSet<&RunId> = entries.iter().map(|it| &it.ticket.run).collect();
        self.runs.retain(|run, _| queued.contains(run));
        let mut seen = BTreeSet::new();
        let behind = entries.iter().filter(|entry| {
            let run = &entry.ticket.run;
            let known = self.runs.get(run).map(|it| it.run.head.sequence);
            let behind = known.is_none() || known < entry.head;
            behind && !self.paused.contains_key(run) && seen.insert(run)
        });
        // Whoever has come least far waits for us, and the others for their jobs. A project's few
        // are not read behind another's thousands.
        let mut behind: Vec<_> = behind.collect();
        behind.sort_by_key(|it| it.published);
        let behind = Turns::default().order(behind, |it| (it.project_id, ()));
        let loads: Vec<_> = behind
            .into_iter()
            .take(RUNS_MAX)
            .map(|it| load(&self.ledger.store, it.project_id, &it.ticket.run))
            .collect();
        let loaded = stream::iter(loads).buffer_unordered(AT_ONCE);
        // Reading is progress too: whoever takes thousands over must not lose the lease over it.
        let loaded: Vec<_> = loaded.inspect(|_| self.step()).collect().await;
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
                    if let LedgerError::Storage(error) = &error {
                        rights::denied(&self.health, error);
                    }
                    self.paused.insert(run, now + PAUSE);
                }
            }
        }
    }

    /// Publishes what is due, some of it in each round, and closes what is over.
    async fn announce(
        &mut self,
        entries: &[Queued],
        places: &BTreeMap<RunId, u32>,
        stop: &CancellationToken,
    ) {
        let time = Time { now: self.started.elapsed(), round: self.settings.tick };
        let mut due: BTreeMap<&RunId, (Tracked, Vec<&Queued>)> = BTreeMap::new();
        for entry in entries {
            let run = &entry.ticket.run;
            if let Some((_, entries)) = due.get_mut(run) {
                entries.push(entry);
                continue;
            }
            let Some(it) = self.runs.get_mut(run) else { continue };
            it.take_place(places.get(run).copied(), time);
            if due.len() < RUNS_MAX && it.is_due(entry, time) {
                due.extend(self.runs.remove(run).map(|it| (run, (it, vec![entry]))));
            }
        }
        let announcer = Announcer {
            publisher: self.doors.publisher.as_ref(),
            topic: &self.settings.run_event_topic,
            queue: &self.ledger.queue,
            metrics: &self.metrics,
            health: &self.health,
            time,
            steps: &self.steps,
            stop,
        };
        let due: Vec<_> =
            due.into_values().map(|(it, entries)| announcer.announce(it, entries)).collect();
        let told: Vec<_> = stream::iter(due).buffer_unordered(AT_ONCE).collect().await;
        self.runs.extend(told.into_iter().map(|it| (it.run.id.clone(), it)));
    }

    /// A round that goes on keeps the lease.
    pub(super) fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn hands(&self) -> Hands<'_> {
        Hands {
            storage: self.doors.storage.as_ref(),
            store: &self.ledger.store,
            queue: &self.ledger.queue,
            vertex: self.vertex.as_ref(),
            settings: &self.settings,
            metrics: &self.metrics,
            started: self.started,
            steps: &self.steps,
            calls: &self.calls,
        }
    }
}

async fn load(
    store: &Store,
    project_id: u64,
    run: &RunId,
) -> (RunId, Result<Option<History>, LedgerError>) {
    (run.clone(), store.load(project_id, run).await)
}
