//! Plans every line, then takes every run as far as it goes in this round.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use branchline_contract::{RunId, Vertex as Domain};
use branchline_ledger::{Queued, State};
use branchline_service::metrics::Panicked;
use branchline_service::telemetry::chain;
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, warn};

use super::leader::{AT_ONCE, Leader, PAUSE, Settings};
use super::line::{Active, Line, Turn, Waiter};
use super::perform::{Error, Hands, times};
use super::rights;
use super::step::{self, Next};
use super::tracked::Tracked;

/// Reasons to wait that one line writes down in one round; the others follow in the next ones.
const REASONS_MAX: usize = 32;

type Driven = (Tracked, Result<(), Error>);

impl Leader {
    /// Takes every run as far as it goes, domains side by side, and tells the
    /// places of those that wait.
    pub(super) async fn drive(
        &mut self,
        entries: &[Queued],
        stop: &CancellationToken,
    ) -> BTreeMap<RunId, u32> {
        let mut plan = self.plan(entries);
        let places = plan.iter().map(|(run, it)| (run.clone(), it.place)).collect();
        let mut domains: BTreeMap<Domain, Vec<(Tracked, Option<Turn>)>> = BTreeMap::new();
        for entry in entries {
            let run = &entry.ticket.run;
            if self.paused.contains_key(run) {
                continue;
            }
            if let Some(it) = self.runs.remove(run) {
                let domain = it.run.request.vertex.clone();
                domains.entry(domain).or_default().push((it, plan.remove(run)));
            }
        }
        for domain in domains.keys() {
            line(&mut self.domains, &self.settings, domain);
        }
        let (hands, lines) = (self.hands(), &self.domains);
        let driven: Vec<_> = domains
            .into_iter()
            .map(|(domain, runs)| drive_domain(&hands, &lines[&domain], runs, stop))
            .collect();
        let driven: Vec<_> = stream::iter(driven).buffer_unordered(AT_ONCE).concat().await;
        for (it, driven) in driven {
            let run = it.run.id.clone();
            if let Err(error) = driven {
                it.span(&self.settings.run_event_topic).in_scope(|| {
                    warn!(run.id = %run, error = chain(&error), "run not driven; left alone for now");
                });
                error.google().into_iter().for_each(|it| rights::denied_there(&self.health, it));
                self.paused.insert(run.clone(), Instant::now() + PAUSE);
            }
            self.runs.insert(run, it);
        }
        places
    }

    /// Decides who may be created in this round, and what everybody else waits for.
    fn plan(&mut self, entries: &[Queued]) -> BTreeMap<RunId, Turn> {
        let now = self.started.elapsed();
        let mut active = Active {
            per_project_max: self.settings.active_runs_per_project_max,
            ..Active::default()
        };
        let mut lines: BTreeMap<Domain, Vec<Waiter<'_>>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for entry in entries.iter().filter(|it| seen.insert(&it.ticket.run)) {
            let run = &entry.ticket.run;
            let it = self.runs.get(run);
            if it.is_none_or(in_vertex_ai) {
                // What is not read yet may have a job.
                *active.count.entry(entry.project_id).or_default() += 1;
            }
            if let Some(it) = it.filter(|it| it.waits()) {
                let next = step::next(&it.run, &it.memory, now, times(&self.settings, &it.run));
                let may = matches!(next, Next::Dispatch | Next::Repeat);
                let ready = may && !self.paused.contains_key(run);
                let waiter = Waiter { run, project: entry.project_id, need: &it.need, ready };
                lines.entry(it.run.request.vertex.clone()).or_default().push(waiter);
            }
        }
        let mut plan = BTreeMap::new();
        for (domain, waiting) in lines {
            let line = line(&mut self.domains, &self.settings, &domain);
            let mut reasons = 0;
            for (run, mut turn) in line.plan(waiting, &mut active, now) {
                if turn.reason.is_some() && turn.reason != self.runs[run].run.blocked {
                    reasons += 1;
                    turn.reason = turn.reason.filter(|_| reasons <= REASONS_MAX);
                }
                plan.insert(run.clone(), turn);
            }
        }
        plan
    }
}

/// The line of a domain, which begins when it is first asked for.
fn line<'a>(
    lines: &'a mut BTreeMap<Domain, Mutex<Line>>,
    settings: &Settings,
    domain: &Domain,
) -> &'a mut Line {
    let begin = || Mutex::new(Line::new(settings.creates_per_minute, settings.tick));
    lines.entry(domain.clone()).or_insert_with(begin).get_mut().expect("no holder panics")
}

/// Whether a job exists, or may exist.
pub(super) fn in_vertex_ai(it: &Tracked) -> bool {
    match it.run.state {
        State::Submitted | State::Running => true,
        State::Intended => !it.waits(),
        State::Requested
        | State::Stalled(_)
        | State::Verified
        | State::Held(_)
        | State::Admitted
        | State::Finished(_) => false,
    }
}

/// A run that only waits costs nothing; of the others some go at once. Calls go out in the order
/// of the line: of those that a refusal cuts off nobody loses more than the turn that it took.
async fn drive_domain(
    hands: &Hands<'_>,
    line: &Mutex<Line>,
    mut runs: Vec<(Tracked, Option<Turn>)>,
    stop: &CancellationToken,
) -> Vec<Driven> {
    let granted = |it: &Turn| it.granted.map(|_| it.place);
    runs.sort_by_key(|(_, turn)| turn.as_ref().and_then(granted).unwrap_or(u32::MAX));
    let turns: Vec<_> =
        runs.into_iter().map(|(it, turn)| take_turn(hands, line, it, turn, stop)).collect();
    stream::iter(turns).buffer_unordered(AT_ONCE).collect().await
}

async fn take_turn(
    hands: &Hands<'_>,
    line: &Mutex<Line>,
    mut it: Tracked,
    turn: Option<Turn>,
    stop: &CancellationToken,
) -> Driven {
    if stop.is_cancelled() {
        return (it, Ok(()));
    }
    // A bug in one run's turn must not end the turns of all others.
    // Thousands wait for their turn in every round, and most of them do nothing in it.
    let idle = turn.as_ref().is_some_and(|it| it.granted.is_none() && it.reason.is_none());
    let span = if idle { Span::none() } else { it.span(&hands.settings.run_event_topic) };
    let driving = hands.drive(&mut it, line, turn).instrument(span);
    let driven = AssertUnwindSafe(driving).catch_unwind().await;
    hands.steps.fetch_add(1, Ordering::Relaxed);
    let driven = driven.unwrap_or_else(|_| {
        hands.metrics.panicked(Panicked::Turn);
        Err(Error::Panicked)
    });
    (it, driven)
}
