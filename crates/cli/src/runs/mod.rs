//! `branchline runs list`, `show` and `watch`, and `fetch`: what is on record of runs, read from the ledger.

pub(crate) mod fetch;
mod find;
pub(crate) mod list;
pub(crate) mod model;
mod newest;
mod record;
mod screen;
pub(crate) mod show;
mod timeline;
pub(crate) mod watch;

use branchline_contract::Outcome;
use branchline_ledger::{Run, State};
use jiff::SignedDuration;

use crate::style::Colour;

pub(crate) const AFTER_HELP: &str = "\
Environment:
  BRANCHLINE_CREDENTIALS          application_default (the default) or anonymous
  BRANCHLINE_STORAGE_ENDPOINT     instead of Google's own
  NO_COLOR                        with any value, no colours

Exit codes:
  0   all is well                      65  a ledger cannot be read as one
  64  wrong usage                      66  there is no such run or bucket
  69  refused                          75  try again
  77  not allowed                      78  wrong environment";

/// Where a run stands, in one word; of one that ended, how.
const fn word(state: &State) -> &'static str {
    match state {
        State::Requested => "requested",
        State::Stalled(_) => "stalled",
        State::Verified => "verified",
        State::Held(_) => "held",
        State::Admitted | State::Intended => "queued",
        State::Submitted => "submitted",
        State::Running => "running",
        State::Finished(ending) => ending.outcome.as_str(),
    }
}

/// Red wants somebody to look, yellow waits for somebody.
const fn colour(run: &Run) -> Colour {
    match &run.state {
        State::Requested | State::Verified => Colour::Dim,
        State::Stalled(_) => Colour::Red,
        State::Held(_) => Colour::Yellow,
        State::Admitted | State::Intended if run.blocked.is_some() => Colour::Yellow,
        State::Admitted | State::Intended => Colour::Blue,
        State::Submitted | State::Running => Colour::Cyan,
        State::Finished(ending) => match ending.outcome {
            Outcome::Succeeded => Colour::Green,
            Outcome::Failed | Outcome::Expired | Outcome::Rejected => Colour::Red,
            Outcome::Cancelled => Colour::Dim,
        },
    }
}

/// What a run waits for, or why it ended so; on one line.
fn because(run: &Run) -> String {
    let cancelled = run.cancel.as_ref().filter(|_| run.ending().is_none());
    let reason = match cancelled {
        Some(reason) => format!("being cancelled: {reason}"),
        None => run.reason().unwrap_or_default().to_owned(),
    };
    reason.lines().map(str::trim).filter(|it| !it.is_empty()).collect::<Vec<_>>().join("; ")
}

/// A time span in its two largest units.
pub(crate) fn span(took: SignedDuration) -> String {
    let seconds = took.as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        (_, _, _) => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_its_two_largest_units() {
        let cases = [
            (-5, "0s"),
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (3_599, "59m59s"),
            (3_600, "1h00m"),
            (90_061, "1d01h"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(span(SignedDuration::from_secs(seconds)), expected);
        }
    }
}
