//! The life of one run: the fold of its facts. Pure: no clock, no network, no `async`.

use std::collections::BTreeSet;

use branchline_contract::{
    Artifact, ArtifactReady, LedgerHead, Outcome, Phase, RunEvent, RunId, Sha256, TraceParent,
    VertexJob,
};
use jiff::Timestamp;

use crate::fact::{Body, Entry, Intent};
use crate::grounds::{Approval, Grounds, Wanted};
use crate::state::{Ending, State};
use retry::Cause;

/// What is known about a run after its last fact.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Full digest behind the id.
    pub digest: Sha256,
    /// The request, without its token.
    pub request: ArtifactReady,
    /// Position and hash of the last fact.
    pub head: LedgerHead,
    /// When the first fact was written.
    pub requested_at: Timestamp,
    /// When the last fact was written.
    pub recorded_at: Timestamp,
    /// The attempt that counts.
    pub attempt: u32,
    /// When Pub/Sub took in the message that asked for that attempt.
    pub asked_at: Timestamp,
    /// When that attempt was let in or held, by the writer's clock: its wait counts from there.
    pub waits_since: Timestamp,
    /// What that attempt was let in or held by, once that is decided.
    pub grounds: Option<Box<Grounds>>,
    /// The approvals that it still wants.
    pub wanted: Wanted,
    /// The operator who asked for it, where that was no CI job.
    pub retried_by: Option<String>,
    /// The copies that it trains on, where its inputs were staged.
    pub staged: Vec<Artifact>,
    /// Where that attempt stands.
    pub state: State,
    /// The create calls of that attempt, in order; the last one may still be under way.
    pub intents: Vec<Intent>,
    /// The call that led to the job.
    pub submitted_by: Option<Intent>,
    /// Job of that attempt in Vertex AI, once there is one.
    pub job: Option<String>,
    /// What keeps it from going on, while that lasts.
    pub blocked: Option<String>,
    /// The request that paused its domain, where that is what keeps it.
    pub pause: Option<String>,
    /// Whether somebody wants it to end, and why.
    pub cancel: Option<String>,
    /// The request for that, where it came from outside.
    pub cancel_request: Option<String>,
    /// Every CI job that announced the request.
    pub ci_jobs: BTreeSet<u64>,
    /// The newest pipeline that announced it.
    pub pipeline_id: u64,
    /// The trace of the message that asked for that attempt, where it told one.
    pub trace: Option<TraceParent>,
}

/// Facts that do not make a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// There is none.
    #[error("there are no facts")]
    Empty,
    /// The first fact is not the request, which begins attempt 1.
    #[error("the first fact is not a request for attempt 1")]
    NotRequested,
    /// A position is missing or occurs twice.
    #[error("position {expected} holds the fact of position {found}")]
    Position {
        /// Position it was read from.
        expected: u32,
        /// Position that it states.
        found: u32,
    },
    /// The hash of the fact before is not the one that was recorded.
    #[error("the fact at position {0} does not follow the one before it")]
    Chain(u32),
}

impl Run {
    /// Folds the facts of a run, oldest first, and tells every event that they ask for.
    pub fn fold(entries: &[Entry]) -> Result<(Self, Vec<RunEvent>), FoldError> {
        let (first, rest) = entries.split_first().ok_or(FoldError::Empty)?;
        let mut run = Self::begin(first)?;
        let mut events = Vec::new();
        for entry in rest {
            events.extend(run.apply(entry)?);
        }
        Ok((run, events))
    }

    /// The run after its first fact.
    pub fn begin(entry: &Entry) -> Result<Self, FoldError> {
        let fact = &entry.fact;
        let (Body::Requested { request, digest, asked_at }, 1) = (&fact.body, fact.attempt) else {
            return Err(FoldError::NotRequested);
        };
        if fact.sequence != 0 {
            return Err(FoldError::Position { expected: 0, found: fact.sequence });
        }
        if fact.previous.is_some() {
            return Err(FoldError::Chain(0));
        }
        Ok(Self {
            id: RunId::derive(request).0,
            digest: *digest,
            head: LedgerHead { sequence: 0, sha256: entry.sha256 },
            requested_at: fact.time,
            recorded_at: fact.time,
            attempt: fact.attempt,
            asked_at: *asked_at,
            waits_since: fact.time,
            grounds: None,
            wanted: Wanted::NOTHING,
            retried_by: None,
            staged: Vec::new(),
            state: State::Requested,
            intents: Vec::new(),
            submitted_by: None,
            job: None,
            blocked: None,
            pause: None,
            cancel: None,
            cancel_request: None,
            ci_jobs: BTreeSet::from([request.gitlab.job_id]),
            pipeline_id: request.gitlab.pipeline_id,
            request: request.as_ref().clone(),
            trace: fact.trace,
        })
    }

    /// Takes in one more fact and tells the event that it asks for. A fact
    /// that does not fit the state is absorbed: it is late, not wrong.
    pub fn apply(&mut self, entry: &Entry) -> Result<Option<RunEvent>, FoldError> {
        let (fact, expected) = (&entry.fact, self.head.sequence + 1);
        if fact.sequence != expected {
            return Err(FoldError::Position { expected, found: fact.sequence });
        }
        if fact.previous != Some(self.head.sha256) {
            return Err(FoldError::Chain(fact.sequence));
        }
        self.head = LedgerHead { sequence: fact.sequence, sha256: entry.sha256 };
        self.recorded_at = fact.time;
        let phase = match fact.body {
            Body::Duplicate { ci_job, pipeline_id } => {
                self.announced(ci_job, pipeline_id);
                None
            }
            Body::Retried { ref request, ref reason, ref operator, asked_at } => {
                let cause = Cause::of(reason.as_deref(), operator.as_deref());
                let phase = self.retry(fact.attempt, cause, asked_at);
                if let Some(request) = request {
                    self.announced(request.gitlab.job_id, Some(request.gitlab.pipeline_id));
                    if self.attempt == fact.attempt {
                        (self.request, self.trace) = (request.as_ref().clone(), fact.trace);
                    }
                }
                phase
            }
            _ if fact.attempt == self.attempt => self.step(&fact.body),
            _ => None,
        };
        let waits_anew = match fact.body {
            Body::Retried { .. } => true,
            Body::Admitted {} | Body::Held { .. } => phase.is_some(),
            Body::Approved { .. } => phase == Some(Phase::Queued),
            _ => false,
        };
        if waits_anew {
            self.waits_since = fact.time;
        }
        Ok(phase.map(|it| self.event(it)))
    }

    /// Moves the attempt on and tells the phase that is to be announced.
    fn step(&mut self, body: &Body) -> Option<Phase> {
        use State as S;
        if self.ending().is_some() {
            return None;
        }
        match (&self.state, body) {
            (S::Requested | S::Stalled(_), Body::Verified { grounds, staged, .. }) => {
                self.verified(grounds.as_deref(), staged)
            }
            (S::Verified, Body::Held { reason }) => {
                self.to(S::Held(reason.clone()), Some(Phase::Held))
            }
            (S::Held(_), Body::Approved { given, .. }) => self.approved(*given),
            (S::Requested | S::Verified | S::Stalled(_), Body::Stalled { reason }) => {
                self.to(S::Stalled(reason.clone()), Some(Phase::Held))
            }
            (S::Verified, Body::Admitted {}) if self.wanted == Wanted::NOTHING => {
                self.to(S::Admitted, Some(Phase::Queued))
            }
            (
                S::Requested | S::Stalled(_) | S::Verified | S::Held(_),
                Body::Rejected { reasons, .. },
            ) => self.finish(Ending::without_job(Outcome::Rejected, reasons.join("\n"))),
            (S::Admitted | S::Intended, Body::Intended(intent)) => {
                self.intents.push(intent.clone());
                self.to(S::Intended, None)
            }
            (S::Intended, Body::Refused { .. }) => self.to(S::Admitted, None),
            (S::Intended, Body::Submitted { intent, job }) => self.submitted(intent, job),
            (S::Submitted, Body::Running {}) => self.to(S::Running, Some(Phase::Running)),
            (S::Admitted | S::Intended, Body::Blocked { reason, pause }) => {
                Some(self.blocked(Some(reason), pause.as_ref()))
            }
            (S::Admitted | S::Intended, Body::Unblocked {}) => Some(self.blocked(None, None)),
            (_, Body::CancelRequested { reason, request }) => {
                self.cancelled(reason, request.as_ref())
            }
            (_, Body::Finished(ending)) => self.finish(ending.clone()),
            (
                S::Requested
                | S::Stalled(_)
                | S::Verified
                | S::Held(_)
                | S::Admitted
                | S::Intended
                | S::Submitted
                | S::Running
                | S::Finished(_),
                Body::Requested { .. }
                | Body::Verified { .. }
                | Body::Held { .. }
                | Body::Approved { .. }
                | Body::Admitted {}
                | Body::Rejected { .. }
                | Body::Duplicate { .. }
                | Body::Intended(_)
                | Body::Refused { .. }
                | Body::Submitted { .. }
                | Body::Running {}
                | Body::Blocked { .. }
                | Body::Unblocked {}
                | Body::Surplus { .. }
                | Body::Retried { .. }
                | Body::Stalled { .. },
            ) => None,
        }
    }

    fn to(&mut self, state: State, phase: Option<Phase>) -> Option<Phase> {
        self.state = state;
        phase
    }

    fn verified(&mut self, grounds: Option<&Grounds>, staged: &[Artifact]) -> Option<Phase> {
        self.staged = staged.to_vec();
        self.wanted = grounds.and_then(|it| it.wanted).unwrap_or_default();
        self.grounds = grounds.cloned().map(Box::new);
        self.to(State::Verified, None)
    }

    /// The last approval lets it in.
    fn approved(&mut self, given: Approval) -> Option<Phase> {
        self.wanted = self.wanted.without(given);
        match self.wanted {
            Wanted::NOTHING => self.to(State::Admitted, Some(Phase::Queued)),
            wanted => self.to(State::Held(wanted.to_string()), Some(Phase::Held)),
        }
    }

    fn cancelled(&mut self, reason: &str, request: Option<&String>) -> Option<Phase> {
        (self.cancel, self.cancel_request) = (Some(reason.to_owned()), request.cloned());
        None
    }

    fn blocked(&mut self, reason: Option<&String>, pause: Option<&String>) -> Phase {
        (self.blocked, self.pause) = (reason.cloned(), pause.cloned());
        Phase::Queued
    }

    fn submitted(&mut self, intent: &str, job: &str) -> Option<Phase> {
        self.submitted_by = self.intents.iter().find(|it| it.nonce == intent).cloned();
        self.job = Some(job.to_owned());
        (self.blocked, self.pause) = (None, None);
        self.to(State::Submitted, Some(Phase::Submitted))
    }

    fn finish(&mut self, ending: Ending) -> Option<Phase> {
        (self.blocked, self.pause) = (None, None);
        self.to(State::Finished(ending), Some(Phase::Completed))
    }

    fn announced(&mut self, ci_job: u64, pipeline_id: Option<u64>) {
        self.ci_jobs.insert(ci_job);
        self.pipeline_id = self.pipeline_id.max(pipeline_id.unwrap_or_default());
    }

    /// What the outside is told about the run as it stands.
    fn event(&self, phase: Phase) -> RunEvent {
        let ending = self.ending();
        RunEvent {
            run_id: self.id.clone(),
            run: self.request.run.clone(),
            attempt: self.attempt,
            phase,
            gitlab: self.request.gitlab.clone(),
            vertex: self.request.vertex.clone(),
            ledger: self.head,
            place_in_line: None,
            vertex_job: self.vertex_job(),
            outcome: ending.map(|it| it.outcome),
            reason: self.reason().map(str::to_owned),
            metrics: ending.map(|it| it.metrics.clone()).unwrap_or_default(),
            model_uri: ending.and_then(|it| it.model_uri.clone()),
            requested_at: self.requested_at,
            recorded_at: self.recorded_at,
            trace: self.trace,
        }
    }

    /// The job in Vertex AI, with its page in the console.
    pub fn vertex_job(&self) -> Option<VertexJob> {
        self.job.clone().map(|name| VertexJob::new(self.request.training.kind(), name))
    }

    /// Why it waits, or how it ended.
    pub fn reason(&self) -> Option<&str> {
        match &self.state {
            State::Stalled(reason) | State::Held(reason) => Some(reason),
            State::Finished(ending) => ending.reason.as_deref(),
            State::Requested
            | State::Verified
            | State::Admitted
            | State::Intended
            | State::Submitted
            | State::Running => self.blocked.as_deref(),
        }
    }

    /// How the attempt ended, if it did.
    pub const fn ending(&self) -> Option<&Ending> {
        match &self.state {
            State::Finished(ending) => Some(ending),
            State::Requested
            | State::Stalled(_)
            | State::Verified
            | State::Held(_)
            | State::Admitted
            | State::Intended
            | State::Submitted
            | State::Running => None,
        }
    }

    /// Whether another CI job announcing the same request starts the next attempt.
    pub fn ended_badly(&self) -> bool {
        self.ending().is_some_and(|it| it.outcome != Outcome::Succeeded)
    }
}

mod retry;
#[cfg(test)]
mod tests;
