//! Cloud Logging: what training processes print, as entries that clients list by a filter.
//!
//! Entries are kept in memory, up to a bound. They can be made to come late, and by a clock that
//! differs from this machine's, as they do from real machines.

mod entry;
mod filter;
mod list;
mod rest;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use jiff::{SignedDuration, Timestamp};

pub(crate) use self::entry::{Entry, Payload};

/// Bytes of entries that are kept; the oldest go first.
const BYTES_MAX: usize = 16 << 20;

/// The service: a cheap handle over shared state.
#[derive(Clone, Default)]
pub struct Logging(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    entries: VecDeque<Stored>,
    bytes: usize,
    next: u64,
    clock: SignedDuration,
    lag: Duration,
    /// Of entries that hold this text; of all where it is empty.
    lag_of: String,
}

struct Stored {
    entry: Arc<Entry>,
    /// Lists show it from then on.
    shown: Instant,
}

impl Logging {
    /// The REST API, `/v2/entries:list`.
    pub fn router(&self) -> Router {
        rest::router(self.clone())
    }

    /// From now on the clocks of whoever writes differ so much from this machine's, and so from
    /// Cloud Logging's own.
    pub fn set_clock(&self, ahead: SignedDuration) {
        self.lock().clock = ahead;
    }

    /// From now on an entry that holds this text is listed only so long after it was written.
    pub fn set_lag(&self, of: &str, lag: Duration) {
        let mut kept = self.lock();
        (kept.lag_of, kept.lag) = (of.to_owned(), lag);
    }

    /// Takes an entry in: it gets its times and an id.
    pub(crate) fn write(&self, mut entry: Entry) {
        let mut kept = self.lock();
        let now = Timestamp::now();
        let lag = if entry.holds(&kept.lag_of) { kept.lag } else { Duration::ZERO };
        entry.timestamp = now.checked_add(kept.clock).unwrap_or(now);
        entry.receive_timestamp = now.checked_add(lag).unwrap_or(now);
        entry.insert_id = format!("local{:015}", kept.next);
        kept.next += 1;
        kept.bytes += entry.bytes();
        let shown = Instant::now() + lag;
        kept.entries.push_back(Stored { entry: Arc::new(entry), shown });
        while kept.bytes > BYTES_MAX {
            let Some(oldest) = kept.entries.pop_front() else { break };
            kept.bytes -= oldest.entry.bytes();
        }
    }

    /// The entries that lists show by now.
    fn shown(&self) -> Vec<Arc<Entry>> {
        let now = Instant::now();
        let kept = self.lock();
        kept.entries.iter().filter(|it| it.shown <= now).map(|it| it.entry.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
