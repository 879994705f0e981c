//! How far something is that is counted: a bar on a terminal, now and then a line elsewhere.

use std::cell::Cell;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A log that is read later does not want more.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shown on stderr.
#[derive(Debug)]
pub(crate) struct Count {
    what: &'static str,
    /// It counts where it is not drawn, too.
    bar: ProgressBar,
    drawn: bool,
    last: Cell<Instant>,
}

impl Count {
    /// None of so many.
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        let drawn = std::io::stderr().is_terminal();
        let style = "{bar:32} {pos} of {len} {msg}, {per_sec}, {eta} left";
        let style = ProgressStyle::with_template(style).expect("a fixed template");
        let bar = if drawn { ProgressBar::new(total) } else { ProgressBar::hidden() };
        bar.set_length(total);
        let bar = bar.with_style(style).with_message(what);
        Self { what, bar, drawn, last: Cell::new(Instant::now()) }
    }

    /// So many more.
    pub(crate) fn advance(&self, more: u64) {
        self.bar.inc(more);
        if !self.drawn && self.last.get().elapsed() >= LINE_EVERY {
            self.last.set(Instant::now());
            let (done, total) = (self.bar.position(), self.bar.length().unwrap_or_default());
            let left = self.bar.eta().as_secs();
            eprintln!("{done} of {total} {}, {left} s left", self.what);
        }
    }

    /// Nothing more comes.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
