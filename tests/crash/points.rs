//! The named points of the protocol, and how a run comes to each.

use branchline_contract::Outcome;
use branchline_gitlab::StatusState;

/// Every point, each with a signal that ends or freezes the process.
pub(crate) const POINTS: [(&str, &str); 50] = [
    ("worker.receive", "KILL"),
    ("ledger.requested.before", "KILL"),
    ("ledger.requested.after", "KILL"),
    ("ledger.duplicate.before", "KILL"),
    ("ledger.duplicate.after", "KILL"),
    ("ledger.verified.before", "KILL"),
    ("ledger.verified.after", "KILL"),
    ("ledger.admitted.before", "KILL"),
    ("ledger.admitted.after", "KILL"),
    ("queue.create.before", "KILL"),
    ("queue.create.after", "KILL"),
    ("queue.update.before", "KILL"),
    ("queue.update.after", "KILL"),
    ("worker.ack", "KILL"),
    ("lease.before", "KILL"),
    ("lease.after", "KILL"),
    ("ledger.intended.before", "KILL"),
    ("ledger.intended.after", "KILL"),
    ("create.before", "KILL"),
    ("create.after", "KILL"),
    ("ledger.submitted.before", "KILL"),
    ("ledger.submitted.after", "KILL"),
    ("ledger.running.before", "KILL"),
    ("ledger.running.after", "KILL"),
    ("ledger.finished.before", "KILL"),
    ("ledger.finished.after", "KILL"),
    ("publish.before", "KILL"),
    ("publish.after", "KILL"),
    ("queue.remove.before", "KILL"),
    ("queue.remove.after", "KILL"),
    ("notifier.receive", "KILL"),
    ("status.before", "KILL"),
    ("status.after", "KILL"),
    ("note.before", "KILL"),
    ("note.after", "KILL"),
    ("notifier.ack", "KILL"),
    // What other courses than success come to.
    ("ledger.rejected.before", "KILL"),
    ("ledger.rejected.after", "KILL"),
    ("ledger.retried.before", "KILL"),
    ("ledger.retried.after", "KILL"),
    ("ledger.cancel-requested.before", "KILL"),
    ("ledger.cancel-requested.after", "KILL"),
    ("cancel.before", "KILL"),
    ("cancel.after", "KILL"),
    // The leader sleeps for longer than its lease, and believes for a moment that it still leads.
    ("ledger.intended.before", "STOP"),
    ("ledger.intended.after", "STOP"),
    ("create.before", "STOP"),
    ("create.after", "STOP"),
    ("ledger.submitted.before", "STOP"),
    ("lease.before", "STOP"),
];

/// Points of what no request can plan: it comes by chance, or by what Vertex AI answers.
pub(crate) const BY_CHANCE: [&str; 6] = [
    "worker.nack",
    "notifier.nack",
    "ledger.refused",
    "ledger.blocked",
    "ledger.unblocked",
    "ledger.surplus",
];

/// Those of `make test`, for custom jobs: none loses a message, which would come again a minute later.
pub(crate) const FEW: [(&str, &str); 4] = [
    ("create.after", "KILL"),
    ("ledger.finished.before", "KILL"),
    ("queue.remove.before", "KILL"),
    ("create.before", "STOP"),
];

/// How a run goes on its way to a point.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    /// To a model.
    Succeeds,
    /// An object that it needs is not there.
    Rejected,
    /// It fails once, and another CI job asks again.
    Retried,
    /// An operator ends it.
    Cancelled,
}

impl Course {
    /// That to a point.
    pub(crate) fn to(point: &str) -> Self {
        match point.trim_end_matches(".before").trim_end_matches(".after") {
            "ledger.rejected" => Self::Rejected,
            "ledger.retried" => Self::Retried,
            "ledger.cancel-requested" | "cancel" => Self::Cancelled,
            _ => Self::Succeeds,
        }
    }

    /// Its outcome, what the commit says, and how many jobs it takes.
    pub(crate) const fn end(self) -> (Outcome, StatusState, usize) {
        match self {
            Self::Succeeds => (Outcome::Succeeded, StatusState::Success, 1),
            Self::Rejected => (Outcome::Rejected, StatusState::Failed, 0),
            Self::Retried => (Outcome::Succeeded, StatusState::Success, 2),
            Self::Cancelled => (Outcome::Cancelled, StatusState::Canceled, 1),
        }
    }
}
