//! How far a transfer is: a bar on a terminal, now and then a line elsewhere.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// A log that is read later does not want more.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Bytes transferred so far, shown on stderr.
#[derive(Clone, Debug)]
pub(crate) enum Progress {
    /// For a person.
    Bar(ProgressBar),
    /// For a log.
    Lines(Arc<Lines>),
}

/// The state of the plain form.
#[derive(Debug)]
pub(crate) struct Lines {
    done: &'static str,
    total: u64,
    moved: AtomicU64,
    last: Mutex<Instant>,
}

impl Progress {
    /// Nothing of so many bytes, which are `uploaded` or the like.
    pub(crate) fn new(done: &'static str, total: u64) -> Self {
        if !std::io::stderr().is_terminal() {
            let last = Mutex::new(Instant::now());
            return Self::Lines(Arc::new(Lines { done, total, moved: AtomicU64::new(0), last }));
        }
        let style = "{bar:32} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        let style = ProgressStyle::with_template(style).expect("a fixed template");
        Self::Bar(ProgressBar::new(total).with_style(style))
    }

    /// A file went from so many bytes to so many; a part may come again.
    pub(crate) fn advance(&self, before: u64, now: u64) {
        match self {
            Self::Bar(bar) if now >= before => bar.inc(now - before),
            Self::Bar(bar) => bar.dec(before - now),
            Self::Lines(lines) => lines.advance(before, now),
        }
    }

    /// Nothing more comes.
    pub(crate) fn finish(&self) {
        match self {
            Self::Bar(bar) => bar.finish_and_clear(),
            Self::Lines(_) => {}
        }
    }
}

impl Lines {
    fn advance(&self, before: u64, now: u64) {
        // Wrapping on purpose: the difference may be negative, the sum never is.
        let change = now.wrapping_sub(before);
        let moved = self.moved.fetch_add(change, Ordering::Relaxed).wrapping_add(change);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            eprintln!("{} {} of {}", self.done, HumanBytes(moved), HumanBytes(self.total));
        }
    }
}
