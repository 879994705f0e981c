//! How the next attempt of a run begins. Pure.

use branchline_contract::Phase;
use jiff::Timestamp;

use super::Run;
use crate::fact::Reopened;
use crate::grounds::Wanted;
use crate::state::State;

/// Why there is another attempt.
#[derive(Clone, Copy)]
pub(super) enum Cause<'a> {
    /// A CI job asked, behind an end or a stall: everything begins anew.
    CiJob,
    /// The job's failure, for this reason, was not made the end: it is in line again.
    Failure(&'a str),
    /// An operator asked, behind an end: it was decided anew, and its inputs are those of the
    /// attempt before.
    Operator(&'a Reopened),
}

impl<'a> Cause<'a> {
    pub(super) fn of(reason: Option<&'a str>, operator: Option<&'a Reopened>) -> Self {
        match (operator, reason) {
            (Some(operator), _) => Self::Operator(operator),
            (None, Some(reason)) => Self::Failure(reason),
            (None, None) => Self::CiJob,
        }
    }
}

impl Run {
    /// Begins the next attempt, where one may begin.
    pub(super) fn retry(
        &mut self,
        attempt: u32,
        cause: Cause<'_>,
        asked_at: Timestamp,
    ) -> Option<Phase> {
        let fits = match (&self.state, cause) {
            (State::Finished(_), Cause::CiJob | Cause::Operator(_))
            | (State::Stalled(_), Cause::CiJob)
            | (State::Submitted | State::Running, Cause::Failure(_)) => true,
            (
                State::Requested
                | State::Stalled(_)
                | State::Verified
                | State::Held(_)
                | State::Admitted
                | State::Intended
                | State::Submitted
                | State::Running
                | State::Finished(_),
                Cause::CiJob | Cause::Failure(_) | Cause::Operator(_),
            ) => false,
        };
        if !fits || attempt != self.attempt + 1 {
            return None;
        }
        (self.attempt, self.asked_at) = (attempt, asked_at);
        self.intents.clear();
        (self.submitted_by, self.job) = (None, None);
        (self.cancel, self.cancel_request, self.pause, self.blocked) = (None, None, None, None);
        match cause {
            Cause::CiJob => {
                (self.grounds, self.wanted, self.retried_by) = (None, Wanted::NOTHING, None);
                self.staged.clear();
                self.to(State::Requested, None)
            }
            Cause::Failure(reason) => {
                self.blocked = Some(reason.to_owned());
                self.to(State::Admitted, Some(Phase::Queued))
            }
            Cause::Operator(Reopened { by, grounds, .. }) => {
                self.wanted = grounds.wanted.unwrap_or_default();
                (self.grounds, self.retried_by) = (Some(grounds.clone()), Some(by.clone()));
                match self.wanted {
                    Wanted::NOTHING => self.to(State::Admitted, Some(Phase::Queued)),
                    wanted => self.to(State::Held(wanted.to_string()), Some(Phase::Held)),
                }
            }
        }
    }
}
