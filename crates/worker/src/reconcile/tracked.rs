//! A run as the leader keeps it in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use branchline_contract::RunEvent;
use branchline_ledger::{History, Run, State};
use branchline_service::telemetry::record_trace;
use tracing::{Span, field, info_span};

use super::step::{Answer, Memory, Sight};
use crate::need::Need;

/// A place is told again after so many rounds at the earliest, and only when it changed by half.
const PLACE_EVERY: u32 = 60;

/// A run that the leader keeps in memory.
#[derive(Debug)]
pub(super) struct Tracked {
    /// Its fold.
    pub run: Run,
    /// Every event that its facts ask for, oldest first.
    pub events: Vec<RunEvent>,
    /// Position up to which this leader published, by attempt.
    pub published: BTreeMap<u32, u32>,
    /// What is not in the ledger.
    pub memory: Memory,
    /// Its place in line, while it waits.
    pub place: Option<Place>,
    /// What it takes out of the quotas for machines.
    pub need: Need,
}

impl Tracked {
    /// A run as it was read.
    pub(super) fn new(history: History) -> Self {
        let History { run, events, .. } = history;
        let need = Need::of(&run.request.training);
        let (published, memory) = (BTreeMap::new(), Memory::default());
        Self { run, events, published, memory, place: None, need }
    }

    /// The span of what is done about it, with its trace; the project's name is that of `topic`.
    pub(super) fn span(&self, topic: &str) -> Span {
        let (id, empty) = (&self.run.id, field::Empty);
        let span = info_span!("run", run.id = %id, trace = empty, trace.span = field::Empty);
        record_trace(&span, topic, self.run.trace);
        span
    }

    /// Whether it waits in line: no call is under way, and no job exists.
    pub(super) fn waits(&self) -> bool {
        let nonce = self.run.intents.last().map(|it| &it.nonce);
        let refused = |it: &Sight| {
            Some(&it.nonce) == nonce && matches!(it.answer, Answer::Quota | Answer::Settled(None))
        };
        match self.run.state {
            State::Admitted => true,
            State::Intended => self.memory.intent.as_ref().is_some_and(refused),
            State::Requested
            | State::Stalled(_)
            | State::Verified
            | State::Held(_)
            | State::Submitted
            | State::Running
            | State::Finished(_) => false,
        }
    }

    /// Takes over what was read anew, and keeps what is remembered.
    pub(super) fn refresh(&mut self, history: History) {
        if history.run.attempt != self.run.attempt {
            self.memory = Memory::default();
        }
        (self.run, self.events) = (history.run, history.events);
    }

    /// Notes the place of this round. What an earlier leader told is taken for known.
    pub(super) fn take_place(&mut self, place: Option<u32>, time: Time) {
        self.place = place.filter(|_| self.waits()).map(|place| match self.place {
            Some(before) => Place { now: place, ..before },
            None => Place::told(place, time),
        });
    }

    /// The place that is about to be told.
    pub(super) fn tell_place(&mut self, time: Time) -> Option<u32> {
        let place = self.place.as_mut()?;
        *place = Place::told(place.now, time);
        Some(place.now)
    }
}

/// A place in line, and what was last told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    now: u32,
    told: u32,
    /// When it may be told again.
    next: Duration,
}

/// The time of a round, and how long one is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    pub now: Duration,
    pub round: Duration,
}

impl Place {
    fn told(place: u32, time: Time) -> Self {
        Self { now: place, told: place, next: time.now + time.round * PLACE_EVERY }
    }

    /// Whether a reader would want to know.
    pub(super) fn is_news(self, time: Time) -> bool {
        time.now >= self.next && self.told.abs_diff(self.now) * 2 >= self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_again_when_it_changed_by_half_and_not_too_often() {
        let time = |now| Time { now: Duration::from_secs(now), round: Duration::from_secs(1) };
        let cases = [
            ("the same", 8, 8, 999, false),
            ("a little", 8, 5, 999, false),
            ("by half", 8, 4, 999, true),
            ("too soon", 8, 4, 59, false),
            ("soon enough", 8, 4, 60, true),
            ("back", 8, 12, 999, true),
            ("to the head", 2, 1, 999, true),
            ("at the head", 1, 1, 999, false),
        ];
        for (name, told, now, seconds, expected) in cases {
            let place = Place { now, ..Place::told(told, time(100)) };
            assert_eq!(place.is_news(time(100 + seconds)), expected, "{name}");
        }
    }
}
