//! The next thing to do for one run. Pure: facts, what the leader remembers
//! and the time go in; one effect, as data, comes out.

use std::time::Duration;

use branchline_contract::Outcome;
use branchline_gcp::vertex::{Job, JobError, JobState};
use branchline_ledger::{Body, Ending, Run, State};

/// What the leader remembers of a run between two rounds. Losing it costs time, never safety.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// The newest intent, as this leader came to know of it.
    pub intent: Option<Sight>,
    /// Nothing is created before.
    pub retry_at: Duration,
    /// Refusals in a row, for the backoff.
    pub refusals: u32,
    /// What is known of the job in this round.
    pub job: Sighting,
    /// Since when Vertex AI does not know the job.
    pub missing_since: Option<Duration>,
    /// When a cancel was last sent.
    pub cancel_sent: Option<Duration>,
    /// The pause of its domain, in this round.
    pub pause: Option<Hold>,
    /// GitLab is not asked for approvals before.
    pub approvals_at: Duration,
}

/// Why nothing is dispatched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    /// The request that asked for it.
    pub request: String,
    /// Who asked, and why.
    pub reason: String,
}

/// A create call as this leader knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    /// Nonce of the intent.
    pub nonce: String,
    /// First sight, before the call could be sent.
    pub since: Duration,
    /// What came of it.
    pub answer: Answer,
}

/// What came of a create call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing, or nothing that can be believed: a job may exist.
    Unknown,
    /// Vertex AI said that it is too much now: no job exists.
    Quota,
    /// The time for settling is over, and a list showed this.
    Settled(Option<Found>),
}

/// A job that carries the nonce of an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The job's resource name.
    pub job: String,
    /// The nonce on it.
    pub nonce: String,
}

/// What one round learned of a job.
#[derive(Clone, Debug, Default)]
pub(super) enum Sighting {
    /// Nothing yet.
    #[default]
    None,
    /// The list of live jobs shows it in this state.
    Live(JobState),
    /// The list of live jobs does not show it.
    NotListed,
    /// Asked by name, Vertex AI does not know it.
    Missing,
    /// Asked by name, Vertex AI says this.
    Looked(Box<Job>),
}

/// One effect.
#[derive(Clone, Debug)]
pub(super) enum Next {
    /// Nothing now.
    Rest,
    /// Append this fact.
    Append(Body),
    /// Check the inputs once more, write a new intent, send its call.
    Dispatch,
    /// Send the call of the current intent again: it was definitely refused.
    Repeat,
    /// List by nonce.
    Settle,
    /// Ask for the job by name.
    Look,
    /// Ask Vertex AI to cancel the job.
    Cancel,
    /// The job ended: read what it left and append the end.
    Conclude(Box<Job>, Outcome),
    /// The job ended for want of quota: open the next attempt.
    Retry(JobError),
}

/// The times that the protocol rests on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Time after which a list shows every job that was created.
    pub settle: Duration,
    /// Longest wait for intake, for approval, and in line.
    pub wait_max: Duration,
    /// How long the run has waited, by the clock on the wall.
    pub waited: Duration,
    /// Pause before a cancel is sent again.
    pub cancel_again: Duration,
}

/// The next thing to do.
pub(super) fn next(run: &Run, memory: &Memory, now: Duration, times: Times) -> Next {
    match &run.state {
        State::Requested | State::Stalled(_) | State::Verified => match &run.cancel {
            Some(reason) => end(Outcome::Cancelled, reason),
            None if times.waited > times.wait_max => {
                let met = run.reason().map(|it| format!(": {it}")).unwrap_or_default();
                end(Outcome::Expired, &format!("not checked in the time allowed{met}"))
            }
            None => Next::Rest,
        },
        State::Held(_) => match &run.cancel {
            Some(reason) => end(Outcome::Cancelled, reason),
            None if times.waited > times.wait_max => {
                end(Outcome::Expired, &format!("not approved in the time allowed: {}", run.wanted))
            }
            None => Next::Rest,
        },
        State::Admitted => match &run.cancel {
            Some(reason) => end(Outcome::Cancelled, reason),
            None if times.waited > times.wait_max => {
                end(Outcome::Expired, "waited in line longer than allowed")
            }
            None if now < memory.retry_at => unless_paused(run, memory, Next::Rest),
            None => unless_paused(run, memory, Next::Dispatch),
        },
        State::Intended => unless_paused(run, memory, intended(run, memory, now, times)),
        State::Submitted | State::Running => watch(run, memory, now, times),
        State::Finished(_) => Next::Rest,
    }
}

/// A pause holds back create calls and nothing else: what may exist already is
/// looked for, and what is on its way goes on.
fn unless_paused(run: &Run, memory: &Memory, next: Next) -> Next {
    match (next, &memory.pause) {
        (Next::Dispatch | Next::Repeat, Some(hold))
            if run.pause.as_ref() == Some(&hold.request) =>
        {
            Next::Rest
        }
        (Next::Dispatch | Next::Repeat, Some(hold)) => Next::Append(Body::Blocked {
            reason: hold.reason.clone(),
            pause: Some(hold.request.clone()),
        }),
        (Next::Dispatch | Next::Repeat | Next::Rest, None) if run.pause.is_some() => {
            Next::Append(Body::Unblocked {})
        }
        (next, _) => next,
    }
}

/// A call may be under way. Only a definite answer or the settle time ends that.
fn intended(run: &Run, memory: &Memory, now: Duration, times: Times) -> Next {
    let (Some(intent), Some(sight)) = (run.intents.last(), &memory.intent) else {
        // The shell notes the first sight before it asks.
        return Next::Rest;
    };
    let duration = Duration::from_millis(intent.duration_ms);
    match (&sight.answer, &run.cancel) {
        (Answer::Settled(Some(found)), _) => {
            Next::Append(Body::Submitted { intent: found.nonce.clone(), job: found.job.clone() })
        }
        (Answer::Settled(None) | Answer::Quota, Some(reason)) => end(Outcome::Cancelled, reason),
        (Answer::Quota, None) if times.waited > times.wait_max => {
            end(Outcome::Expired, "waited for quota longer than allowed")
        }
        (Answer::Settled(None), None) if times.waited > times.wait_max => {
            end(Outcome::Expired, "no answer of Vertex AI could be had in the time allowed")
        }
        (Answer::Quota, None) if now < memory.retry_at => Next::Rest,
        // Every call of this intent was refused, so its time need not be waited out.
        (Answer::Quota, None) if now < sight.since + duration => Next::Repeat,
        (Answer::Settled(None) | Answer::Quota, None) => Next::Dispatch,
        (Answer::Unknown, _) if now < sight.since + duration + times.settle => Next::Rest,
        (Answer::Unknown, _) => Next::Settle,
    }
}

/// Vertex AI owns a job.
fn watch(run: &Run, memory: &Memory, now: Duration, times: Times) -> Next {
    let cancel_due = run.cancel.is_some()
        && memory.cancel_sent.is_none_or(|sent| now >= sent + times.cancel_again);
    match &memory.job {
        Sighting::None => Next::Rest,
        Sighting::NotListed => Next::Look,
        Sighting::Missing => match memory.missing_since {
            Some(since) if now >= since + times.settle => {
                end(Outcome::Failed, "the job was deleted in Vertex AI")
            }
            Some(_) | None => Next::Rest,
        },
        Sighting::Looked(job) => match outcome(&job.state) {
            Some(outcome) => match &job.error {
                Some(error) if outcome == Outcome::Failed && may_retry(run, error) => {
                    Next::Retry(error.clone())
                }
                Some(_) | None => Next::Conclude(job.clone(), outcome),
            },
            None => live(run, &job.state, cancel_due),
        },
        Sighting::Live(state) => live(run, state, cancel_due),
    }
}

/// Whether a failed job is no fault of the run's own, and it may try once more.
fn may_retry(run: &Run, error: &JobError) -> bool {
    error.is_quota() && run.attempt < run.request.attempts_max.get() && run.cancel.is_none()
}

fn live(run: &Run, state: &JobState, cancel_due: bool) -> Next {
    if cancel_due && *state != JobState::Cancelling {
        return Next::Cancel;
    }
    let runs = *state == JobState::Running;
    match run.state {
        State::Submitted if runs => Next::Append(Body::Running {}),
        _ => Next::Rest,
    }
}

/// How a job of that state ended; `None` while it is live. Total over jobs and pipelines.
pub(super) fn outcome(state: &JobState) -> Option<Outcome> {
    match state {
        JobState::Queued
        | JobState::Pending
        | JobState::Running
        | JobState::Paused
        | JobState::Updating
        | JobState::Cancelling
        | JobState::Unknown(_) => None,
        JobState::Succeeded => Some(Outcome::Succeeded),
        JobState::Failed | JobState::PartiallySucceeded => Some(Outcome::Failed),
        JobState::Cancelled => Some(Outcome::Cancelled),
        JobState::Expired => Some(Outcome::Expired),
    }
}

/// The fact that ends a run which has no job, or none any more.
fn end(outcome: Outcome, reason: &str) -> Next {
    Next::Append(Body::Finished(Ending::without_job(outcome, reason.to_owned())))
}

#[cfg(test)]
mod tests;
