//! The named points of the protocol, and how a run comes to each.

use branchline_contract::Outcome;
use branchline_gitlab::StatusState;
use serde_json::json;

/// Every point, each with a signal that ends or freezes the process.
pub(crate) const POINTS: [(&str, &str); 68] = [
    ("worker.receive", "KILL"),
    ("token.before", "KILL"),
    ("token.after", "KILL"),
    ("ledger.requested.before", "KILL"),
    ("ledger.requested.after", "KILL"),
    ("ledger.duplicate.before", "KILL"),
    ("ledger.duplicate.after", "KILL"),
    ("stage.before", "KILL"),
    ("stage.after", "KILL"),
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
    ("answer.before", "KILL"),
    ("answer.after", "KILL"),
    ("request.remove.before", "KILL"),
    ("request.remove.after", "KILL"),
    ("ledger.refused.before", "KILL"),
    ("ledger.refused.after", "KILL"),
    ("ledger.blocked.before", "KILL"),
    ("ledger.blocked.after", "KILL"),
    ("ledger.unblocked.before", "KILL"),
    ("ledger.unblocked.after", "KILL"),
    // Intake and the notifier sleep over what they hold.
    ("queue.create.after", "STOP"),
    ("worker.ack", "STOP"),
    ("publish.before", "STOP"),
    ("note.before", "STOP"),
    // The leader sleeps for longer than its lease, and believes for a moment that it still leads.
    ("ledger.intended.before", "STOP"),
    ("ledger.intended.after", "STOP"),
    ("create.before", "STOP"),
    ("create.after", "STOP"),
    ("ledger.submitted.before", "STOP"),
    ("lease.before", "STOP"),
];

/// Points that no request can plan. A nack follows another failure; a surplus job is a call that comes
/// later than anybody waits for it, which three of the four kinds have, and which the simulation plays.
/// Dead letters have a test of their own.
pub(crate) const BY_CHANCE: [&str; 4] =
    ["worker.nack", "notifier.nack", "ledger.surplus", "letter"];

/// What Vertex AI refuses the first time, by a word in its body: the number of a run's point.
pub(crate) fn refused(number: usize) -> String {
    format!("refused-{number}-once")
}

/// Rules for the stack by which it does.
pub(crate) fn faults(points: &[(&str, &str)]) -> serde_json::Value {
    let numbered = points.iter().enumerate();
    let refusals = numbered.filter(|(_, (point, _))| Course::to(point) == Course::Refused);
    let message = "Permission 'aiplatform.customJobs.create' denied on resource";
    let rules: Vec<_> = refusals
        .map(|(number, _)| {
            json!({
                "service": "vertex", "method": "POST", "body": refused(number), "times": 1,
                "fault": {"answer": {"status": 403, "message": message}},
            })
        })
        .collect();
    json!({ "rules": rules })
}

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
    /// Vertex AI misses a role at first.
    Refused,
    /// An operator holds up its region for a while.
    Paused,
}

impl Course {
    /// That to a point.
    pub(crate) fn to(point: &str) -> Self {
        match point.trim_end_matches(".before").trim_end_matches(".after") {
            "ledger.rejected" => Self::Rejected,
            "ledger.retried" => Self::Retried,
            "ledger.cancel-requested" | "cancel" | "answer" | "request.remove" => Self::Cancelled,
            "ledger.refused" | "ledger.blocked" => Self::Refused,
            "ledger.unblocked" => Self::Paused,
            _ => Self::Succeeds,
        }
    }

    /// Its outcome, what the commit says, and how many jobs it takes.
    pub(crate) const fn end(self) -> (Outcome, StatusState, usize) {
        match self {
            Self::Succeeds | Self::Refused | Self::Paused => {
                (Outcome::Succeeded, StatusState::Success, 1)
            }
            Self::Rejected => (Outcome::Rejected, StatusState::Failed, 0),
            Self::Retried => (Outcome::Succeeded, StatusState::Success, 2),
            Self::Cancelled => (Outcome::Cancelled, StatusState::Canceled, 1),
        }
    }
}
