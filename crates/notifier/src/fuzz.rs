//! Doors for the fuzzer to what renders strangers' text in here.

use branchline_gitlab::NewStatus;
use branchline_ledger::{History, Run};

/// Note and commit status of a run.
pub fn wanted(history: &History) -> (String, NewStatus) {
    let wanted = crate::wanted::wanted(history, Some(1));
    (wanted.note, wanted.status)
}

/// A code span.
pub fn code(text: &str) -> String {
    crate::escape::code(text)
}

/// A code span in a table.
pub fn cell(text: &str) -> String {
    crate::escape::cell(text)
}

/// Plain text.
pub fn line(text: &str) -> String {
    crate::escape::line(text)
}

/// A link, or a code span.
pub fn link(url: &str) -> String {
    crate::escape::link("label", url)
}

/// Whether a note that somebody may have edited tells of a newer CI job.
pub fn is_newer(note: &str, run: &Run) -> bool {
    crate::note::is_newer(note, run)
}
