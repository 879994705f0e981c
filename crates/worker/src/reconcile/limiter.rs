//! How often one quota domain (a Vertex AI project and region) is asked to
//! create. Pure: time is the leader's own, counted from its start.

use std::time::Duration;

const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_mins(1);

/// A token bucket that closes for a while when Vertex AI says that it was too much.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    interval: Duration,
    burst: u32,
    next: Duration,
    closed_until: Duration,
    backoff: Duration,
}

impl Limiter {
    /// Lets so many calls a minute through, a sixth of them at once.
    pub(super) fn new(per_minute: u32) -> Self {
        Self {
            interval: Duration::from_mins(1) / per_minute,
            burst: (per_minute / 6).max(1),
            next: Duration::ZERO,
            closed_until: Duration::ZERO,
            backoff: BACKOFF_MIN,
        }
    }

    /// Takes a place for one call, if there is one now.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        // `next` is when the bucket would be full again; it may run ahead by the burst.
        let next = self.next.max(now);
        if now < self.closed_until || next > now + self.interval * (self.burst - 1) {
            return false;
        }
        self.next = next + self.interval;
        true
    }

    /// Closes after a 429, for as long as Vertex AI asks or a little longer each time.
    pub(super) fn refused(&mut self, now: Duration, retry_after: Option<Duration>) {
        self.closed_until = now + retry_after.unwrap_or(self.backoff).min(BACKOFF_MAX);
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }

    /// Forgets the refusals.
    pub(super) const fn accepted(&mut self) {
        self.backoff = BACKOFF_MIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    #[test]
    fn a_minute_lets_its_number_through_and_a_sixth_at_once() {
        let mut limiter = Limiter::new(60);
        assert_eq!((0..100).filter(|_| limiter.take(Duration::ZERO)).count(), 10);
        let later = (1..=60).map(|it| SEC * it);
        assert_eq!(later.filter(|it| limiter.take(*it)).count(), 60);
    }

    #[test]
    fn a_refusal_closes_for_longer_each_time_and_an_answer_forgets_it() {
        let mut limiter = Limiter::new(60);
        limiter.refused(SEC, None);
        assert!(!limiter.take(SEC), "closed for one second");
        assert!(limiter.take(SEC * 2));
        limiter.refused(SEC * 2, None);
        assert!(!limiter.take(SEC * 3), "closed for two seconds");
        limiter.refused(SEC * 4, Some(SEC * 30));
        assert!(!limiter.take(SEC * 33), "closed as long as Vertex AI asked");
        limiter.accepted();
        limiter.refused(SEC * 40, None);
        assert!(limiter.take(SEC * 41));
    }
}
