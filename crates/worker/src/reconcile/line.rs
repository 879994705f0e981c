//! The line of one quota domain: who is created next, who has to wait, and for
//! what. Pure. The place in line is the place in this order and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use branchline_contract::RunId;

use super::fair::Turns;
use super::limiter::Limiter;
use super::scarce::Scarce;
use crate::need::Need;

/// Runs in Vertex AI of each GitLab project, and how many there may be.
#[derive(Clone, Debug, Default)]
pub(super) struct Active {
    /// By project.
    pub count: BTreeMap<u64, u32>,
    /// Of one project, where that is limited.
    pub per_project_max: Option<u32>,
}

/// A run that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter<'a> {
    /// Its id.
    pub run: &'a RunId,
    /// Its GitLab project.
    pub project: u64,
    /// What it needs.
    pub need: &'a Need,
    /// Whether it would be created now, if it may.
    pub ready: bool,
}

/// What one round has for a run that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Among those that wait for the same thing; the first is 1.
    pub place: u32,
    /// Since when it may be created, if it may.
    pub granted: Option<Duration>,
    /// What it waits for, beside its turn.
    pub reason: Option<String>,
}

/// One quota domain, a Vertex AI project and region.
#[derive(Clone, Debug)]
pub(super) struct Line {
    limiter: Limiter,
    turns: Turns,
    scarce: Scarce,
}

/// Those that wait for the same thing.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Queue<'a> {
    Turn,
    Metrics(&'a [String]),
    Project(u64),
}

impl Active {
    fn is_full(&self, project: u64, ahead: u32) -> bool {
        let count = self.count.get(&project).copied().unwrap_or(0);
        self.per_project_max.is_some_and(|max| count + ahead >= max)
    }
}

impl Line {
    /// An empty line that begins with so many calls a minute, in rounds of that length.
    pub(super) fn new(creates_per_minute: u32, round: Duration) -> Self {
        Self {
            limiter: Limiter::new(creates_per_minute),
            turns: Turns::default(),
            scarce: Scarce::new(round),
        }
    }

    /// Decides about everybody who waits; they come oldest first.
    pub(super) fn plan<'a>(
        &mut self,
        waiting: Vec<Waiter<'a>>,
        active: &mut Active,
        now: Duration,
    ) -> BTreeMap<&'a RunId, Turn> {
        self.scarce.keep(&waiting.iter().map(|it| it.need).collect());
        let ready = waiting.iter().filter(|it| it.ready && !active.is_full(it.project, 0));
        let mut askers = self.scarce.askers(&ready.map(|it| it.need).collect(), now);
        let mut places: BTreeMap<Queue<'_>, u32> = BTreeMap::new();
        let mut ahead: BTreeMap<u64, u32> = BTreeMap::new();
        let mut plan = BTreeMap::new();
        let (turns, scarce) = (&self.turns, &self.scarce);
        let order = turns.order(waiting, |it| (it.project, (it.ready, scarce.lacked_by(it.need))));
        for it in order {
            let lacked = self.scarce.lacked_by(it.need);
            let asks = askers.get_mut(it.need).filter(|left| **left > 0);
            let may =
                it.ready && !active.is_full(it.project, 0) && (lacked.is_none() || asks.is_some());
            let granted = may && self.limiter.take(now);
            if granted {
                *active.count.entry(it.project).or_default() += 1;
                if let Some(left) = asks {
                    *left -= 1;
                }
            }
            let ahead = ahead.entry(it.project).or_default();
            let queue = match lacked {
                Some(metrics) => Queue::Metrics(metrics),
                None if !granted && active.is_full(it.project, *ahead) => {
                    Queue::Project(it.project)
                }
                None => Queue::Turn,
            };
            let reason = match &queue {
                // It has another reason already.
                _ if !it.ready => None,
                Queue::Metrics(metrics) => Some(waits_for(metrics)),
                Queue::Project(_) => active
                    .per_project_max
                    .map(|max| format!("its GitLab project may have {max} in Vertex AI at once")),
                Queue::Turn => None,
            };
            *ahead += u32::from(queue == Queue::Turn && !granted);
            let place = places.entry(queue).or_default();
            *place += 1;
            let granted = granted.then_some(now);
            plan.insert(it.run, Turn { place: *place, granted, reason });
        }
        plan
    }

    /// Create calls a second that are known to be taken, and whether a refusal keeps all of them waiting.
    pub(super) fn pace(&self, now: Duration) -> (f64, bool) {
        (self.limiter.per_second(), self.limiter.is_closed(now))
    }

    /// Whether what was granted then still holds: a refusal meanwhile takes it back.
    pub(super) fn holds(&self, need: &Need, granted: Duration, now: Duration) -> bool {
        !self.limiter.is_closed(now) && !self.scarce.refused_since(need, granted)
    }

    /// Vertex AI created a job for a run of that project.
    pub(super) fn accepted(&mut self, project: u64, need: &Need, now: Duration) {
        self.turns.went(project);
        self.limiter.accepted(now);
        self.scarce.accepted(need);
    }

    /// It gave another answer than that it was too much, or none.
    pub(super) fn unanswered(&mut self, project: u64, now: Duration) {
        self.turns.went(project);
        self.limiter.unanswered(now);
    }

    /// It was too much, of these metrics or else of calls.
    pub(super) fn refused(
        &mut self,
        need: &Need,
        metrics: Vec<String>,
        (now, retry_after): (Duration, Option<Duration>),
    ) {
        if metrics.is_empty() {
            self.limiter.refused(now, retry_after);
        } else {
            self.scarce.refused(need, metrics, (now, retry_after));
        }
    }
}

/// What a run says that waits for machines.
pub(super) fn waits_for(metrics: &[String]) -> String {
    format!("waits for quota of {}", metrics.join(", "))
}

#[cfg(test)]
mod tests;
