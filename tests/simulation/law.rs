//! What must hold at every step, whatever goes wrong. It reads what the
//! product writes and keeps books of its own.

#[path = "attempts.rs"]
mod attempts;

use std::collections::{BTreeMap, BTreeSet};

use branchline_contract::{ArtifactReady, Envelope, JobKind, Outcome, Phase, RunId};
use branchline_gcp::pubsub::Message;
use branchline_gcp::vertex::Job;
use branchline_ledger::{Body, Ending, Entry, Run, State as RunState};
use bytes::Bytes;

use crate::dead::{is_dead, request_in};
use crate::story::{ARCHIVE, LEDGER, QUEUE, REQUESTS, RUN_EVENTS};
use crate::world::{State, Texts};

/// The books.
#[derive(Default)]
pub(crate) struct Law {
    /// Facts of every run, by the directory that they lie in.
    runs: BTreeMap<String, Kept>,
    /// Jobs by the nonce that they carry.
    jobs: BTreeMap<String, Created>,
    /// Names of all jobs, in the order of their creation.
    order: Vec<String>,
    /// Several jobs of one attempt are the price of a list that lags for too long.
    pub(crate) surplus_allowed: bool,
    /// The first thing that did not hold.
    pub(crate) broken: Option<String>,
    /// Events that were published more than once.
    pub(crate) repeats: u32,
    /// Stalled attempts that went on as another CI job's.
    pub(crate) taken_over: u32,
    /// The requests that are dead letters.
    pub(crate) buried: Vec<ArtifactReady>,
}

/// One run as its ledger tells it.
pub(crate) struct Kept {
    entries: Vec<Entry>,
    pub(crate) run: Run,
    /// Ledger position and attempt of every event that is due.
    due: Vec<(u32, u32)>,
    /// The positions of those that were published.
    said: BTreeSet<u32>,
    /// Attempts whose end was published.
    ended: BTreeSet<u32>,
}

struct Created {
    run: String,
    name: String,
}

impl Law {
    /// Every run that was requested.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Kept> {
        self.runs.values()
    }

    /// Whether a queue entry is of an attempt that never began: its message died before.
    pub(crate) fn is_early(&self, entry: &str) -> bool {
        let begun = |it: &Run| entry.contains(it.id.as_str()).then_some(it.attempt);
        let begun = self.runs.values().find_map(|it| begun(&it.run)).unwrap_or_default();
        (begun + 1..begun + 3).any(|it| entry.ends_with(&format!("-{it}")))
    }

    /// State of the run that a call is about.
    pub(crate) fn state_in(&self, what: &str) -> Option<&'static str> {
        let found = self.runs.values().find(|it| what.contains(it.run.id.as_str()));
        found.map(|it| name(&it.run.state))
    }

    pub(crate) fn check(&mut self, holds: bool, law: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(law());
        }
    }

    /// Something was replaced or changed in place.
    pub(crate) fn changed(&mut self, name: &str) {
        self.check(!name.starts_with("runs/"), || format!("{name} was changed: facts never are"));
    }

    /// Something is to be removed: only what was read may be, and not what took its place since.
    pub(crate) fn removed(&mut self, name: &str, if_generation: i64) {
        self.check(if_generation != 0, || format!("{name} is removed whatever became of it"));
    }

    /// A fact stands in the ledger.
    fn appended(&mut self, name: &str, content: &[u8]) {
        let (directory, position) = name.rsplit_once('/').expect("a directory and a position");
        let position = position.strip_suffix(".json").and_then(|it| it.parse::<u32>().ok());
        let Ok(entry) = Entry::decode(content) else {
            return self.check(false, || format!("{name} is no fact"));
        };
        self.check(position == Some(entry.fact.sequence), || format!("{name} is not a position"));
        let Some(kept) = self.runs.get_mut(directory) else {
            return match Run::begin(&entry) {
                Ok(run) => {
                    let kept = Kept {
                        entries: vec![entry],
                        run,
                        due: Vec::new(),
                        said: BTreeSet::new(),
                        ended: BTreeSet::new(),
                    };
                    self.runs.insert(directory.to_owned(), kept);
                }
                Err(error) => self.check(false, || format!("{name} begins no run: {error}")),
            };
        };
        let before = kept.run.clone();
        let event = kept.run.apply(&entry);
        let after = kept.run.clone();
        if let Ok(Some(event)) = &event {
            kept.due.push((event.ledger.sequence, event.attempt));
        }
        kept.entries.push(entry.clone());
        self.check(event.is_ok(), || {
            format!("{name} does not follow the fact before it: {event:?}")
        });
        // Whoever appends knows the head, so no fact is ever too late to count.
        let same =
            Run { head: after.head, recorded_at: after.recorded_at, ..before.clone() } == after;
        let told = matches!(entry.fact.body, Body::Surplus { .. });
        self.check(same == told, || format!("{name} ({}) changes nothing", entry.fact.body.kind()));
        self.decided(name, &entry.fact.body, &before);
    }

    /// Whether a decision was open to whoever took it.
    fn decided(&mut self, name: &str, body: &Body, before: &Run) {
        match body {
            Body::Submitted { intent, job } => {
                let known = before.intents.iter().any(|it| it.nonce == *intent);
                self.check(known, || {
                    format!("{name}: the intent of {job} belongs to another attempt")
                });
                let created = self.jobs.get(intent);
                let real =
                    created.is_some_and(|it| it.name == *job && it.run == before.id.as_str());
                self.check(real, || {
                    format!("{name}: {job} was not created for the run by that intent")
                });
            }
            Body::Retried { request, operator, .. } => {
                let asked = operator.as_ref().map(|it| it.request.as_str());
                self.retried(name, request.as_deref(), asked, before);
            }
            Body::Verified { grounds: Some(grounds), .. }
            | Body::Rejected { grounds: Some(grounds), .. } => {
                // The claims are those of whoever asked for what is decided on.
                let (asks, proven) = (before.request.gitlab.job_id, &grounds.claims["job_id"]);
                self.check(*proven == asks.to_string(), || {
                    format!("{name}: CI job {asks} asks, and CI job {proven} proves who that is")
                });
            }
            Body::Finished(Ending { outcome, metrics, .. }) => {
                let orphan = before.intents.iter().find(|it| self.jobs.contains_key(&it.nonce));
                // A pipeline's id fences: one that arrives late is found all the same.
                let fenced = before.request.training.kind() == JobKind::PipelineJob;
                let certain = fenced || !self.surplus_allowed;
                let orphan = orphan.filter(|_| before.job.is_none() && certain);
                self.check(orphan.is_none(), || {
                    format!("{name}: the attempt ended without a job, and {orphan:?} has one")
                });
                let job = before.job.as_ref().and_then(|name| self.number(name));
                let wrong = *outcome == Outcome::Succeeded
                    && metrics.get("job").map(ToString::to_string) != job.map(|it| it.to_string());
                self.check(!wrong, || {
                    format!("{name}: the metrics {metrics:?} are of another job")
                });
            }
            Body::Requested { .. }
            | Body::Verified { .. }
            | Body::Held { .. }
            | Body::Approved { .. }
            | Body::Admitted {}
            | Body::Rejected { .. }
            | Body::Duplicate { .. }
            | Body::Intended(_)
            | Body::Refused { .. }
            | Body::Running {}
            | Body::Blocked { .. }
            | Body::Unblocked {}
            | Body::Surplus { .. }
            | Body::CancelRequested { .. }
            | Body::Stalled { .. } => {}
        }
    }

    /// Jobs are numbered in the order in which they were created.
    fn number(&self, job: &str) -> Option<usize> {
        self.order.iter().position(|it| it == job).map(|it| it + 1)
    }

    /// A create call has reached Vertex AI, whatever comes of it.
    pub(crate) fn create_arrived(&mut self, labels: &Texts) {
        let (run, nonce) = (&labels["branchline-run"], &labels["branchline-intent"]);
        let recorded = self.runs.values().any(|it| {
            it.run.id.as_str() == run
                && it.entries.iter().any(
                    |it| matches!(&it.fact.body, Body::Intended(intent) if intent.nonce == *nonce),
                )
        });
        self.check(recorded, || {
            format!("a create call for {run} was sent before its intent was on record")
        });
    }

    /// A job exists from now on; tells how many there are.
    pub(crate) fn job_created(&mut self, job: &Job) -> usize {
        let (run, nonce) = (&job.labels["branchline-run"], &job.labels["branchline-intent"]);
        let attempt = |nonce: &str| {
            let kept = self.runs.values().find(|it| it.run.id.as_str() == run)?;
            kept.entries.iter().find_map(|it| match &it.fact.body {
                Body::Intended(intent) if intent.nonce == nonce => Some(it.fact.attempt),
                _ => None,
            })
        };
        let ours = attempt(nonce);
        let others =
            self.jobs.iter().filter(|(other, it)| it.run == *run && attempt(other) == ours).count();
        let allowed = others == 0 || self.surplus_allowed;
        let created = Created { run: run.clone(), name: job.name.clone() };
        self.order.push(job.name.clone());
        self.jobs.insert(nonce.clone(), created);
        self.check(allowed, || {
            format!("a second job was created for attempt {ours:?}: {}", job.name)
        });
        self.order.len()
    }

    /// Somebody asks for a job to be cancelled.
    pub(crate) fn cancelled(&mut self, job: &Job) {
        let (id, nonce) = (&job.labels["branchline-run"], &job.labels["branchline-intent"]);
        let Some(kept) = self.runs.values().find(|it| it.run.id.as_str() == id) else { return };
        let run = &kept.run;
        let open = run.job.is_none() && run.ending().is_none();
        let may_count = open && run.intents.iter().any(|it| it.nonce == *nonce);
        let counts = run.job.as_ref() == Some(&job.name) && run.cancel.is_none();
        let ours = job.kind == run.request.training.kind();
        self.check(ours && !counts && !may_count, || {
            format!("{} is cancelled, and nobody asked for that", job.name)
        });
    }

    /// A live job that its run does not name.
    pub(crate) fn surplus(&self, jobs: &[Job]) -> Option<String> {
        let surplus = jobs.iter().find(|job| {
            let id = &job.labels["branchline-run"];
            let kept = self.runs.values().find(|it| it.run.id.as_str() == id);
            kept.is_some_and(|it| {
                let ours = job.kind == it.run.request.training.kind();
                ours && it.run.job.as_ref() != Some(&job.name)
            })
        });
        surplus.map(|it| format!("{} is live, and its run does not name it", it.name))
    }

    /// A message was published.
    pub(crate) fn published(&mut self, topic: &str, message: &Message) {
        if topic != RUN_EVENTS {
            return;
        }
        let Ok(event) = Envelope::decode_run_event(&message.data, &message.attributes) else {
            return self.check(false, || "an event that does not decode was published".to_owned());
        };
        let (id, sequence) = (event.run_id.as_str(), event.ledger.sequence);
        if event.place_in_line.is_some() && message.attributes["ce-id"].split('/').count() == 3 {
            // The place changed, and nothing else.
            return self.check(event.phase == Phase::Queued, || format!("{id} waits no more"));
        }
        let Some(kept) = self.runs.values_mut().find(|it| it.run.id.as_str() == id) else {
            return self.check(false, || format!("{id} was announced before it was requested"));
        };
        let due = kept.due.contains(&(sequence, event.attempt));
        let before = |(it, attempt): &&(u32, u32)| *attempt == event.attempt && *it < sequence;
        let skipped = kept.due.iter().filter(before).any(|(it, _)| !kept.said.contains(it));
        let repeated = !kept.said.insert(sequence);
        if event.phase == Phase::Completed {
            kept.ended.insert(event.attempt);
        }
        self.repeats += u32::from(repeated);
        self.check(due, || format!("{id}: no fact asks for the event of {sequence}"));
        self.check(!skipped, || {
            format!("{id}: the event of {sequence} was published before an earlier one")
        });
    }

    /// A message is done with: what it asked for is on record, or with people.
    pub(crate) fn acknowledged(&mut self, subscription: &str, data: &Bytes) {
        if subscription != REQUESTS {
            return;
        }
        let request: ArtifactReady =
            serde_json::from_slice(data).expect("every message is a request");
        let dead = is_dead(&self.buried, &request);
        let (id, _) = RunId::derive(&request);
        let kept = self.runs.values().find(|it| it.run.id == id);
        let job = request.gitlab.job_id;
        let recorded = kept.is_some_and(|it| {
            let open = matches!(
                it.run.state,
                RunState::Requested | RunState::Verified | RunState::Stalled(_)
            );
            // Whoever opened the attempt brings it through intake; for all others it is enough to be known.
            it.run.ci_jobs.contains(&job) && (!open || it.opener() != job)
        });
        self.check(recorded || dead, || {
            format!("{id} was acknowledged before it was admitted and its CI job recorded")
        });
    }
}

impl Kept {
    /// The CI job that asked for the attempt in force.
    fn opener(&self) -> u64 {
        let retried = self.entries.iter().rev().find_map(|it| match &it.fact.body {
            Body::Retried { request, .. } => request.as_ref().map(|it| it.gitlab.job_id),
            _ => None,
        });
        retried.unwrap_or(self.run.request.gitlab.job_id)
    }

    /// Whether everything that its facts ask for was said.
    pub(crate) fn is_announced(&self) -> bool {
        self.run.ending().is_some() && self.due.iter().all(|(it, _)| self.said.contains(it))
    }
}

impl State {
    /// An object was created.
    pub(crate) fn created(state: &mut Self, bucket: &str, name: &str, content: &[u8]) {
        if bucket == ARCHIVE {
            state.law.buried.push(request_in(content));
        }
        if bucket == LEDGER && name.starts_with("runs/") {
            state.law.appended(name, content);
            state.has_copies(name, content);
            let (directory, _) = name.rsplit_once('/').expect("a directory");
            state.has_entry(&directory.to_owned());
        }
    }

    /// An object was deleted.
    pub(crate) fn deleted(state: &mut Self, bucket: &str, name: &str) {
        state.law.check(bucket != LEDGER, || format!("{name} was deleted: facts never are"));
        if bucket == QUEUE && name.starts_with("queue/") {
            let directories: Vec<String> = state.law.runs.keys().cloned().collect();
            directories
                .iter()
                .filter(|it| name.contains(it.rsplit('/').next().unwrap_or_default()))
                .for_each(|it| state.has_entry(it));
        }
    }

    /// A run whose current attempt is not announced has a queue entry.
    fn has_entry(&mut self, directory: &String) {
        let Some(kept) = self.law.runs.get(directory) else { return };
        let (id, attempt) = (kept.run.id.clone(), kept.run.attempt);
        let suffix = format!("-{id}-{attempt}");
        let queued = self.buckets.names(QUEUE, "queue/").any(|it| it.ends_with(&suffix));
        let announced = kept.ended.contains(&attempt);
        self.law.check(queued || announced, || {
            format!("{id} has no queue entry, and attempt {attempt} is not announced")
        });
    }
}

/// Name of a run's state, for the table of what was seen.
fn name(state: &RunState) -> &'static str {
    match state {
        RunState::Requested => "requested",
        RunState::Stalled(_) => "stalled",
        RunState::Verified => "verified",
        RunState::Held(_) => "held",
        RunState::Admitted => "admitted",
        RunState::Intended => "intended",
        RunState::Submitted => "submitted",
        RunState::Running => "running",
        RunState::Finished(_) => "finished",
    }
}
