//! What only the leader sees. A pod that does not lead shows none of it, so that a sum or a
//! maximum over pods is the leader's view.

use std::collections::BTreeMap;
use std::time::Duration;

use branchline_contract::{Outcome, Vertex as Domain};
use branchline_ledger::State;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Counters, Gauges, Labels, Metrics, Seconds, label, register};
use crate::settlement::Reason;

/// A round has one list at least, and may read thousands of runs.
const BUCKETS: [f64; 11] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// As it should.
    Done,
    /// With an error; the next one tries again.
    Failed,
    /// The process was told to stop, and could not wait for it.
    CutOff,
}

impl Round {
    const ALL: [Self; 3] = [Self::Done, Self::Failed, Self::CutOff];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::CutOff => "cut_off",
        }
    }
}

/// The line of a Vertex AI project and region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Runs that wait in it.
    pub waiting: usize,
    /// How long the oldest of them has waited.
    pub oldest: Duration,
    /// Create calls a second that are known to be taken.
    pub rate: f64,
    /// Whether a refusal keeps everybody waiting now.
    pub closed: bool,
}

pub(super) struct Leader {
    leads: Gauge,
    rounds: Counters<1>,
    duration: Histogram,
    runs: Gauges<1>,
    blocked: Gauge,
    finished: Counters<1>,
    dead_letters: Gauges<1>,
    waiting: Gauges<2>,
    oldest: Seconds<2>,
    rate: Seconds<2>,
    closed: Gauges<2>,
}

impl Leader {
    /// One that nobody is shown.
    pub(super) fn unseen() -> Self {
        let it = Self {
            leads: Gauge::default(),
            rounds: Counters::default(),
            duration: Histogram::new(BUCKETS),
            runs: Gauges::default(),
            blocked: Gauge::default(),
            finished: Counters::default(),
            dead_letters: Gauges::default(),
            waiting: Gauges::default(),
            oldest: Seconds::default(),
            rate: Seconds::default(),
            closed: Gauges::default(),
        };
        for round in Round::ALL {
            it.rounds.get_or_create(&[label("result", round.as_str())]).inc_by(0);
        }
        for outcome in Outcome::ALL {
            it.finished.get_or_create(&[label("outcome", outcome.as_str())]).inc_by(0);
        }
        it.forget();
        it
    }

    pub(super) fn new(to: &mut Registry) -> Self {
        let it = Self::unseen();
        register(to, "leader", "Whether this process leads", &it.leads);
        register(to, "rounds", "Rounds of the leader, by how they ended", &it.rounds);
        register(to, "round_duration_seconds", "Duration of a round of the leader", &it.duration);
        let help = "Runs that are not announced to their end, by the state of their attempt";
        register(to, "runs", help, &it.runs);
        let help = "Runs that something outside keeps from going on: a quota, a right, a pause";
        register(to, "runs_blocked", help, &it.blocked);
        let help = "Attempts whose end was announced, by outcome";
        register(to, "runs_finished", help, &it.finished);
        let help = "Dead letters that nobody has replayed or discarded, by their reason";
        register(to, "dead_letters_unresolved", help, &it.dead_letters);
        let help = "Runs that wait for their create call, by Vertex AI project and region";
        register(to, "line_waiting", help, &it.waiting);
        let help = "How long the oldest run in line has waited";
        register(to, "line_oldest_wait_seconds", help, &it.oldest);
        let help = "Create calls a second that Vertex AI is known to take, as learned";
        register(to, "create_limit_per_second", help, &it.rate);
        let help = "Whether a refusal of Vertex AI keeps the whole line waiting";
        register(to, "create_limit_closed", help, &it.closed);
        it
    }

    /// Shows what somebody sees who sees nothing.
    fn forget(&self) {
        self.blocked.set(0);
        for state in STATES {
            self.runs.get_or_create(&[label("state", state)]).set(0);
        }
        for reason in Reason::ALL {
            self.dead_letters.get_or_create(&[label("reason", reason.as_str())]).set(0);
        }
        self.waiting.clear();
        self.oldest.clear();
        self.rate.clear();
        self.closed.clear();
    }
}

/// Every word of [`state`].
const STATES: [&str; 9] = [
    "requested",
    "stalled",
    "verified",
    "held",
    "admitted",
    "intended",
    "submitted",
    "running",
    "finished",
];

const fn state(it: &State) -> &'static str {
    match it {
        State::Requested => "requested",
        State::Stalled(_) => "stalled",
        State::Verified => "verified",
        State::Held(_) => "held",
        State::Admitted => "admitted",
        State::Intended => "intended",
        State::Submitted => "submitted",
        State::Running => "running",
        State::Finished(_) => "finished",
    }
}

impl Metrics {
    /// Tells whether this process leads. When it does not any more, it shows no queue.
    pub fn leads(&self, leads: bool) {
        self.0.leader.leads.set(leads.into());
        if !leads {
            self.0.leader.forget();
        }
    }

    /// Counts a round.
    pub fn round(&self, end: Round, took: Duration) {
        self.0.leader.rounds.get_or_create(&[label("result", end.as_str())]).inc();
        self.0.leader.duration.observe(took.as_secs_f64());
    }

    /// Tells the states of all runs, and how many of them are blocked.
    pub fn runs<'a>(&self, states: impl Iterator<Item = &'a State>, blocked: usize) {
        let mut counts = BTreeMap::from(STATES.map(|it| (it, 0)));
        for it in states {
            *counts.entry(state(it)).or_default() += 1;
        }
        for (state, count) in counts {
            self.0.leader.runs.get_or_create(&[label("state", state)]).set(count);
        }
        self.0.leader.blocked.set(count(blocked));
    }

    /// Tells of the line of one project and region.
    pub fn line(&self, domain: &Domain, line: Line) {
        let labels: Labels<2> = [
            label("project", domain.project.to_string()),
            label("region", domain.region.to_string()),
        ];
        let leader = &self.0.leader;
        leader.waiting.get_or_create(&labels).set(count(line.waiting));
        leader.oldest.get_or_create(&labels).set(line.oldest.as_secs_f64());
        leader.rate.get_or_create(&labels).set(line.rate);
        leader.closed.get_or_create(&labels).set(line.closed.into());
    }

    /// Counts the end of an attempt, when it is announced.
    pub fn finished(&self, outcome: Outcome) {
        self.0.leader.finished.get_or_create(&[label("outcome", outcome.as_str())]).inc();
    }

    /// Tells how many dead letters of a reason wait for somebody to replay or discard them: one that
    /// is left out keeps its number. The alert on dead letters rests on it, as the subscription is
    /// drained.
    pub fn unresolved_dead_letters(&self, reason: Reason, unresolved: usize) {
        let reason = [label("reason", reason.as_str())];
        self.0.leader.dead_letters.get_or_create(&reason).set(count(unresolved));
    }
}

fn count(it: usize) -> i64 {
    i64::try_from(it).unwrap_or(i64::MAX)
}
