//! Lines of several sources in one order. Pure: time comes in as data.
//!
//! Facts are the backbone: they have an order of their own, and the time when Cloud Storage took
//! them in. The lines of other sources come in streams, each with a clock of its own, and stand
//! between facts. What is known for certain counts before any clock:
//!
//! - each stream keeps its own order;
//! - a line that has to come before or after a fact does;
//! - a clock that is thereby known to be wrong is corrected by as little as it takes, and with it
//!   every line of its stream.
//!
//! Within that, lines are in the order of time. A line that comes after later ones were told is
//! told all the same, and marked.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::line::{Line, Told};

/// All streams, and the lines that wait to be told.
#[derive(Debug, Default)]
pub(super) struct Merge {
    /// Times of the facts; never less than the one before.
    facts: Vec<Timestamp>,
    streams: Vec<Stream>,
    waiting: Vec<Waiting>,
    /// The latest time that was told.
    told: Option<Timestamp>,
    counter: u64,
}

/// What keeps a stream in its own order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Its lines come one behind the other, whatever their times say.
    AsTold,
    /// Its lines are in the order of their times; earlier ones may come late.
    ByTime,
}

/// A stream, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamId(usize);

/// Where a line has to stand. Facts are numbered by their positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Behind that fact.
    pub(super) after: Option<usize>,
    /// Before that fact.
    pub(super) before: Option<usize>,
    /// Not before that time, by the clock of the facts.
    pub(super) not_before: Option<Timestamp>,
}

#[derive(Debug)]
struct Stream {
    order: Order,
    /// All of it comes before that fact.
    before: Option<usize>,
    /// Its clock is behind by at least so much, and at most.
    behind: (Option<SignedDuration>, Option<SignedDuration>),
    /// The latest time that was told of it.
    told: Option<Timestamp>,
}

#[derive(Debug)]
struct Waiting {
    line: Line,
    /// A fact has no stream.
    stream: Option<StreamId>,
    fact: usize,
    bounds: Bounds,
    counter: u64,
    ripe: Duration,
}

/// Where a line stands: its time; how many facts come before it; lines before the fact that
/// follows them; then stream by stream.
type Key = (Timestamp, usize, bool, Option<StreamId>, Option<Timestamp>, u64);

impl Merge {
    /// A stream with a clock of its own.
    pub(super) fn stream(&mut self, order: Order) -> StreamId {
        self.streams.push(Stream { order, before: None, behind: (None, None), told: None });
        StreamId(self.streams.len() - 1)
    }

    /// The next fact; `time` is when Cloud Storage took it in. It is told at `ripe`.
    pub(super) fn fact(&mut self, time: Timestamp, line: Line, ripe: Duration) {
        let before = self.facts.last().copied().unwrap_or(Timestamp::MIN);
        self.facts.push(time.max(before));
        let fact = self.facts.len() - 1;
        self.push(Waiting {
            line,
            stream: None,
            fact,
            bounds: Bounds::default(),
            counter: 0,
            ripe,
        });
    }

    /// A line of a stream, told at `ripe`.
    pub(super) fn line(&mut self, stream: StreamId, line: Line, bounds: Bounds, ripe: Duration) {
        self.push(Waiting { line, stream: Some(stream), fact: 0, bounds, counter: 0, ripe });
    }

    /// Every line of the stream comes before that fact, those that wait already too.
    pub(super) fn end(&mut self, stream: StreamId, fact: usize) {
        self.streams[stream.0].before = Some(fact);
    }

    /// What the stream's clock calls `own` was at `real` or later.
    pub(super) fn at_least(&mut self, stream: StreamId, own: Timestamp, real: Timestamp) {
        let (least, _) = &mut self.streams[stream.0].behind;
        let behind = real.duration_since(own);
        *least = Some(least.map_or(behind, |it| it.max(behind)));
    }

    /// What the stream's clock calls `own` was at `real` or earlier.
    pub(super) fn at_most(&mut self, stream: StreamId, own: Timestamp, real: Timestamp) {
        let (_, most) = &mut self.streams[stream.0].behind;
        let behind = real.duration_since(own);
        *most = Some(most.map_or(behind, |it| it.min(behind)));
    }

    /// How much is added to the times of a stream.
    pub(super) fn correction(&self, stream: StreamId) -> SignedDuration {
        self.streams[stream.0].correction()
    }

    /// The lines that are ripe, in order. One that is not holds back those behind it.
    pub(super) fn take(&mut self, now: Duration) -> Vec<Told> {
        let mut keys = self.keys();
        keys.sort_unstable_by_key(|it| Reverse(*it));
        let mut waiting: BTreeMap<u64, Waiting> =
            std::mem::take(&mut self.waiting).into_iter().map(|it| (it.counter, it)).collect();
        let mut told = Vec::new();
        while let Some(&(time, .., counter)) = keys.last()
            && waiting[&counter].ripe <= now
        {
            keys.pop();
            let Waiting { line, stream, .. } = waiting.remove(&counter).expect("it has a key");
            if let Some(StreamId(stream)) = stream {
                let stream = &mut self.streams[stream];
                stream.told = stream.told.max(Some(time));
            }
            let late = self.told.is_some_and(|it| time < it);
            self.told = self.told.max(Some(time));
            told.push(Told { time, late, line });
        }
        // By the counter, so in the order in which they came.
        self.waiting = waiting.into_values().collect();
        told
    }

    fn push(&mut self, waiting: Waiting) {
        self.waiting.push(Waiting { counter: self.counter, ..waiting });
        self.counter += 1;
    }

    fn keys(&self) -> Vec<Key> {
        let mut latest: Vec<Option<Timestamp>> = self.streams.iter().map(|it| it.told).collect();
        let key = |it: &Waiting| {
            let Some(id) = it.stream else {
                return (self.facts[it.fact], it.fact, true, None, None, it.counter);
            };
            let stream = &self.streams[id.0];
            let own = it.line.time.saturating_add(stream.correction()).unwrap_or(it.line.time);
            let (mut time, mut within) = (own, None);
            match stream.order {
                Order::AsTold => time = latest[id.0].map_or(time, |it| it.max(time)),
                Order::ByTime => within = Some(it.line.time),
            }
            let before = it.bounds.before.or(stream.before);
            let (time, facts) = self.place(time, Bounds { before, ..it.bounds });
            latest[id.0] = Some(time);
            (time, facts, false, Some(id), within, it.counter)
        };
        self.waiting.iter().map(key).collect()
    }

    /// The time that a line gets within its bounds, and how many facts come before it.
    fn place(&self, time: Timestamp, bounds: Bounds) -> (Timestamp, usize) {
        let time = bounds.not_before.map_or(time, |it| it.max(time));
        let least = bounds.after.map_or(0, |it| it + 1);
        let most = bounds.before.unwrap_or(self.facts.len()).max(least);
        let facts = self.facts.partition_point(|it| *it <= time).clamp(least, most);
        let before = facts.checked_sub(1).and_then(|it| self.facts.get(it));
        let time = before.map_or(time, |it| time.max(*it));
        let time = self.facts.get(facts).map_or(time, |it| time.min(*it));
        (time, facts)
    }
}

impl Stream {
    /// None, if the clock may be right; else as little as it takes. Where one moment says the
    /// opposite of another, the middle.
    fn correction(&self) -> SignedDuration {
        match self.behind {
            (Some(least), Some(most)) if least > most => (least + most) / 2,
            (Some(least), _) if least > SignedDuration::ZERO => least,
            (_, Some(most)) if most < SignedDuration::ZERO => most,
            (Some(_) | None, Some(_) | None) => SignedDuration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests;
