//! What a run's facts say of its logs: which CI jobs and which jobs in Vertex AI belong to it, and
//! between which facts their lines stand. Pure.

use branchline_contract::{CloudProject, Gitlab, JobKind};
use branchline_ledger::{Body, Entry, Stored};
use jiff::Timestamp;

use super::line::{Line, Source, clean};
use crate::audit::detail;

/// The facts of a run, as far as they were read.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// How many facts there are.
    pub(super) facts: usize,
    /// The newest attempt.
    pub(super) attempt: u32,
    /// Whether that attempt has ended.
    pub(super) ended: bool,
    pub(super) ci_jobs: Vec<CiJob>,
    pub(super) jobs: Vec<Job>,
    /// Where the newest request wants to train, and what.
    place: Option<(CloudProject, JobKind)>,
    /// Nonces of the intents, with the positions and times of their facts.
    intents: Vec<(String, usize, Timestamp)>,
}

/// A CI job that asked for an attempt.
#[derive(Clone, Debug)]
pub(super) struct CiJob {
    pub(super) attempt: u32,
    pub(super) gitlab: Gitlab,
    /// Position of the fact that answers it.
    pub(super) fact: usize,
    /// When Pub/Sub took its message in.
    pub(super) asked_at: Timestamp,
}

/// A job in Vertex AI.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) attempt: u32,
    pub(super) kind: JobKind,
    pub(super) project: CloudProject,
    pub(super) name: String,
    /// Position and time of the fact that the call for it was written down with.
    pub(super) intended: (usize, Timestamp),
    /// The same of its end.
    pub(super) finished: Option<(usize, Timestamp)>,
}

impl Story {
    /// Takes in the next fact, and tells when it was, and the line that shows it. What Cloud
    /// Storage says counts before the writer's clock.
    pub(super) fn tell(&mut self, stored: &Stored) -> (Timestamp, Line) {
        let entry = Entry::decode(&stored.bytes);
        let written = entry.as_ref().ok().map(|it| it.fact.time);
        let time = stored.created.or(written).unwrap_or(Timestamp::UNIX_EPOCH);
        let position = self.facts;
        self.facts += 1;
        let (from, text) = match &entry {
            Ok(Entry { fact, .. }) => {
                self.attempt = fact.attempt;
                self.learn(&fact.body, position, time);
                let (kind, detail) = (fact.body.kind(), detail(&fact.body));
                let text =
                    if detail.is_empty() { kind.to_owned() } else { format!("{kind}: {detail}") };
                (kind.to_owned(), text)
            }
            // A newer version may write kinds that this one does not know.
            Err(error) => ("unknown".to_owned(), format!("{}: {error}", stored.object)),
        };
        let line = Line {
            source: Source::Branchline,
            attempt: self.attempt,
            time: written.unwrap_or(time),
            from,
            severity: String::new(),
            text: clean(&text.replace('\n', "; ")),
        };
        (time, line)
    }

    fn learn(&mut self, body: &Body, position: usize, time: Timestamp) {
        match body {
            Body::Requested { request, asked_at, .. }
            | Body::Retried { request: Some(request), asked_at, .. } => {
                let place = (request.vertex.project.clone(), request.training.kind());
                (self.place, self.ended) = (Some(place), false);
                self.ci_jobs.push(CiJob {
                    attempt: self.attempt,
                    gitlab: request.gitlab.clone(),
                    fact: position,
                    asked_at: *asked_at,
                });
            }
            Body::Retried { request: None, .. } => self.ended = false,
            Body::Intended(intent) => self.intents.push((intent.nonce.clone(), position, time)),
            Body::Submitted { intent, job } => {
                let intended = self.intents.iter().find(|it| it.0 == *intent);
                if let (Some((project, kind)), Some((_, at, when))) = (&self.place, intended) {
                    self.jobs.push(Job {
                        attempt: self.attempt,
                        kind: *kind,
                        project: project.clone(),
                        name: job.clone(),
                        intended: (*at, *when),
                        finished: None,
                    });
                }
            }
            Body::Finished { .. } | Body::Rejected { .. } => {
                self.ended = true;
                let own = self.jobs.iter_mut().filter(|it| it.attempt == self.attempt);
                own.for_each(|it| it.finished = Some((position, time)));
            }
            Body::Verified { .. }
            | Body::Held { .. }
            | Body::Approved { .. }
            | Body::Admitted {}
            | Body::Duplicate { .. }
            | Body::Refused { .. }
            | Body::Running {}
            | Body::Blocked { .. }
            | Body::Unblocked {}
            | Body::CancelRequested { .. }
            | Body::Surplus { .. }
            | Body::Stalled { .. } => {}
        }
    }
}
