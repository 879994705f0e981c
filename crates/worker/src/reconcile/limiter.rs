//! How often one quota domain (a Vertex AI project and region) is asked to
//! create. Pure: time is the leader's own, counted from its start.
//!
//! Vertex AI does not tell its quota, so it is learned: the rate grows while
//! runs wait for it and nothing is refused, and a refusal puts it at what was
//! accepted lately. Nothing is assumed of the quota's window but that it is a
//! minute at most.

use std::collections::VecDeque;
use std::time::Duration;

/// What was accepted longer ago counts against no quota.
const WINDOW: Duration = Duration::from_mins(1);
/// A line that was idle may begin with the calls of so long.
const BURST: Duration = Duration::from_secs(10);
/// Longest pause that is not asked for.
const BACKOFF_MAX: Duration = Duration::from_secs(16);
/// Longest pause that is.
const RETRY_MAX: Duration = Duration::from_mins(10);
/// Calls per minute beyond which nobody goes; bounds what is remembered.
const RATE_MAX: f64 = 60_000.0;
/// What the rate gains with each accepted call before anything was refused:
/// it triples in two seconds.
const GROWTH_MAX: f64 = 30.0;
/// The same right behind a refusal, two parts in a hundred a minute; it
/// doubles with every minute without another.
const GROWTH_MIN: f64 = 0.02;

/// A token bucket whose rate is learned.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    /// Calls per minute.
    rate: f64,
    /// When the bucket will be full again: a burst ahead of now, it is empty.
    full_at: Duration,
    closed_until: Duration,
    /// Refusals in a row.
    refusals: u32,
    refused_at: Option<Duration>,
    /// Whether calls were held back and the bucket has not been full since.
    short: bool,
    /// When calls were accepted within the window.
    accepted: VecDeque<Duration>,
    /// The first call since the window was last without any.
    busy_since: Duration,
}

impl Limiter {
    /// Begins with so many calls a minute.
    pub(super) fn new(per_minute: u32) -> Self {
        Self {
            rate: f64::from(per_minute).clamp(1.0, RATE_MAX),
            full_at: Duration::ZERO,
            closed_until: Duration::ZERO,
            refusals: 0,
            refused_at: None,
            short: false,
            accepted: VecDeque::new(),
            busy_since: Duration::ZERO,
        }
    }

    /// Takes a place for one call, if there is one now.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        self.short &= self.full_at > now;
        let full_at = self.full_at.max(now) + self.interval();
        if self.is_closed(now) || full_at > now + self.burst() {
            self.short = true;
            return false;
        }
        // Behind a refusal one call has to find out whether there is room again.
        self.full_at = if self.refusals > 0 { now + self.burst() } else { full_at };
        true
    }

    /// Whether a refusal keeps everybody waiting.
    pub(super) fn is_closed(&self, now: Duration) -> bool {
        now < self.closed_until
    }

    /// The rate that was learned.
    pub(super) fn per_second(&self) -> f64 {
        self.rate / WINDOW.as_secs_f64()
    }

    /// Counts a call of which nothing more is known.
    pub(super) fn unanswered(&mut self, now: Duration) {
        self.forget(now);
        if self.accepted.is_empty() {
            self.busy_since = now;
        }
        self.accepted.push_back(now);
    }

    /// Learns that there is as much, and tries for more where more was wanted.
    pub(super) fn accepted(&mut self, now: Duration) {
        self.unanswered(now);
        self.refusals = 0;
        if self.short {
            let minutes = self.refused_at.map(|it| now.saturating_sub(it).as_secs() / 60);
            let growth = minutes.map_or(GROWTH_MAX, |it| {
                let doublings = i32::try_from(it.min(32)).expect("it is small");
                (GROWTH_MIN * 2_f64.powi(doublings)).min(GROWTH_MAX)
            });
            self.rate = (self.rate + growth).min(RATE_MAX);
        }
    }

    /// Learns that it was too much, and closes: for as long as Vertex AI asks,
    /// or a little longer each time, but not past the end of any window.
    pub(super) fn refused(&mut self, now: Duration, retry_after: Option<Duration>) {
        if self.is_closed(now) && retry_after.is_none() {
            // It was on its way when another one was refused.
            return;
        }
        self.forget(now);
        if !self.accepted.is_empty() && now.saturating_sub(self.busy_since) >= WINDOW {
            let known = f64::from(u32::try_from(self.accepted.len()).unwrap_or(u32::MAX));
            // Somebody else may have used the rest for once.
            self.rate = known.clamp(self.rate / 2.0, self.rate).max(1.0);
        }
        let doubled = self.interval() * 2_u32.saturating_pow(self.refusals.min(16));
        let over =
            self.accepted.front().map_or(BACKOFF_MAX, |it| (*it + WINDOW).saturating_sub(now));
        let pause = retry_after.map_or(doubled.min(BACKOFF_MAX).min(over), |it| it.min(RETRY_MAX));
        self.closed_until = self.closed_until.max(now + pause);
        // One call finds out, and the others follow it at the pace that was learned.
        self.full_at = (self.closed_until + self.burst()).saturating_sub(self.interval());
        self.refused_at = Some(now);
        self.refusals += 1;
    }

    fn interval(&self) -> Duration {
        WINDOW.div_f64(self.rate)
    }

    fn burst(&self) -> Duration {
        BURST.max(self.interval())
    }

    fn forget(&mut self, now: Duration) {
        while self.accepted.front().is_some_and(|it| *it + WINDOW <= now) {
            self.accepted.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
