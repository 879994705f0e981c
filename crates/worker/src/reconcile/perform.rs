//! Performs the effects of [`step::next`](super::step::next) for one run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use branchline_contract::Outcome;
use branchline_gcp::error::quota_metrics;
use branchline_gcp::storage::Objects;
use branchline_gcp::vertex::{CreateJob, Job, JobError, Jobs};
use branchline_gcp::{Class, Error as GcpError};
use branchline_ledger::{
    Appended, Author, Body, Ending, Error as LedgerError, Intent, Queue, Run, State, Store, Ticket,
};
use branchline_service::Metrics;
use tokio::time::Instant;
use tracing::info;

use super::leader::Settings;
use super::line::{Line, Turn};
use super::results;
use super::step::{self, Answer, Found, Memory, Next, Sight, Sighting, Times};
use super::tracked::Tracked;
use crate::{job_body, verify};

pub(super) const ACTOR: &str = "branchline-worker";
pub(super) const CAUSE: &str = "reconcile";
/// A run takes a handful of steps in a round; more is a loop.
const STEPS_MAX: u32 = 16;
/// Two writers at one run collide a few times at most.
pub(super) const COLLISIONS_MAX: u32 = 8;
/// A cancel that was lost is sent again.
pub(super) const CANCEL_AGAIN: Duration = Duration::from_mins(1);
/// Pause before the next attempt of a run whose job ended for want of quota, in rounds; doubled
/// with each attempt.
const ATTEMPT_PAUSE: u32 = 60;

/// The doors and the settings, shared by all runs of a round.
pub(super) struct Hands<'a> {
    pub storage: &'a dyn Objects,
    pub store: &'a Store,
    pub queue: &'a Queue,
    pub vertex: &'a dyn Jobs,
    pub settings: &'a Settings,
    pub metrics: &'a Metrics,
    pub started: Instant,
    /// Raised with every turn that ends.
    pub steps: &'a AtomicU64,
    /// Raised while a create call is under way.
    pub calls: &'a AtomicU64,
}

/// Anything that ends a run's turn early; the next round goes on from the ledger.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Google(#[from] GcpError),
    #[error("the run's turn panicked")]
    Panicked,
}

impl Error {
    /// What Google has answered, if that is what failed.
    pub(super) const fn google(&self) -> Option<&GcpError> {
        match self {
            Self::Google(source) | Self::Ledger(LedgerError::Storage(source)) => Some(source),
            Self::Ledger(_) | Self::Panicked => None,
        }
    }
}

impl Hands<'_> {
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Takes the run as far as it goes in this round.
    pub(super) async fn drive(
        &self,
        it: &mut Tracked,
        line: &Mutex<Line>,
        turn: Option<Turn>,
    ) -> Result<(), Error> {
        let (mut granted, reason) = turn.map(|it| (it.granted, it.reason)).unwrap_or_default();
        if let Some(reason) = reason {
            self.block(it, reason).await?;
        }
        for _ in 0..STEPS_MAX {
            self.notice_intent(it);
            match step::next(&it.run, &it.memory, self.now(), times(self.settings, &it.run)) {
                Next::Rest => return Ok(()),
                Next::Append(body) => self.append(it, body).await?,
                next @ (Next::Dispatch | Next::Repeat) => {
                    let now = self.now();
                    let holds = |granted| locked(line).holds(&it.need, granted, now);
                    if !granted.take().is_some_and(holds) {
                        return Ok(());
                    }
                    match next {
                        Next::Repeat => self.post(it, line).await?,
                        _ => self.dispatch(it, line).await?,
                    }
                }
                Next::Settle => self.settle(it).await?,
                Next::Look => self.look(it).await?,
                Next::Cancel => {
                    let job = it.run.job.as_deref().expect("a run is watched once it has a job");
                    self.vertex.cancel(it.run.request.training.kind(), job).await?;
                    it.memory.cancel_sent = Some(self.now());
                    info!(run.id = %it.run.id, vertex.job = job, "job asked to stop");
                }
                Next::Conclude(job, outcome) => self.conclude(it, &job, outcome).await?,
                Next::Retry(error) => self.retry(it, &error, line).await?,
            }
        }
        Ok(())
    }

    /// The settle time counts from one's own first sight of an intent.
    fn notice_intent(&self, it: &mut Tracked) {
        let Some(intent) = it.run.intents.last() else { return };
        if it.memory.intent.as_ref().is_none_or(|sight| sight.nonce != intent.nonce) {
            let (nonce, since) = (intent.nonce.clone(), self.now());
            it.memory.intent = Some(Sight { nonce, since, answer: Answer::Unknown });
        }
    }

    /// Appends a fact, or learns what somebody else wrote in its place.
    pub(super) async fn append(&self, it: &mut Tracked, body: Body) -> Result<(), Error> {
        self.append_for(it, body, Author { actor: ACTOR, cause: CAUSE, trace: None }).await
    }

    /// The same on somebody's behalf.
    pub(super) async fn append_for(
        &self,
        it: &mut Tracked,
        body: Body,
        author: Author<'_>,
    ) -> Result<(), Error> {
        match self.store.append(&it.run, body, author).await? {
            Appended::Written(entry) => {
                let event = it.run.apply(&entry).expect("it was written behind the head");
                it.events.extend(event);
                let kind = entry.fact.body.kind();
                it.span(&self.settings.run_event_topic).in_scope(|| {
                    info!(run.id = %it.run.id, run.sequence = entry.fact.sequence, fact = kind, "fact appended");
                });
            }
            Appended::Taken => {
                let project_id = it.run.request.gitlab.project_id;
                let history = self.store.load(project_id, &it.run.id).await?;
                it.refresh(history.expect("facts are never deleted"));
            }
        }
        Ok(())
    }

    /// What of the inputs has changed; where nothing has, the call is prepared.
    async fn ready(&self, run: &Run) -> Result<Vec<String>, GcpError> {
        let changed = verify::differences(self.storage, job_body::inputs(run), false).await?;
        if changed.is_empty() {
            self.vertex.warm_up(run.request.vertex.region.as_str()).await?;
        }
        Ok(changed)
    }

    /// Looks at the inputs once more, then writes an intent and sends its one call.
    async fn dispatch(&self, it: &mut Tracked, line: &Mutex<Line>) -> Result<(), Error> {
        let changed = match self.ready(&it.run).await {
            Err(error) if error.class() == Class::Permission => {
                self.back_off(it);
                return self.lacks(it, &error).await;
            }
            changed => changed?,
        };
        if !changed.is_empty() {
            let ending = Ending::without_job(Outcome::Failed, changed.join("\n"));
            return self.append(it, Body::Finished(ending)).await;
        }
        let nonce = format!("{:032x}", fastrand::u128(..));
        let since = self.now();
        let intent = Intent {
            output: job_body::output(&self.settings.output_bucket, &it.run, &nonce),
            duration_ms: u64::try_from(self.settings.create.as_millis()).unwrap_or(u64::MAX),
            nonce: nonce.clone(),
        };
        self.append(it, Body::Intended(intent)).await?;
        let ours = it.run.intents.last().is_some_and(|it| it.nonce == nonce);
        if ours && matches!(it.run.state, State::Intended) {
            it.memory.intent = Some(Sight { nonce, since, answer: Answer::Unknown });
            self.post(it, line).await?;
        }
        Ok(())
    }

    /// Sends the call of the last intent, within what is left of its time.
    async fn post(&self, it: &mut Tracked, line: &Mutex<Line>) -> Result<(), Error> {
        let (Some(intent), Some(sight)) =
            (it.run.intents.last().cloned(), it.memory.intent.clone())
        else {
            return Ok(());
        };
        let deadline = self.started + sight.since + self.settings.create;
        if deadline <= Instant::now() {
            return Ok(());
        }
        let body = match job_body::build(&it.run, &intent, &self.settings.installation) {
            Ok(body) => body,
            Err(problem) => return self.give_up(it, problem).await,
        };
        // Until an answer says otherwise, a job may exist from here on.
        answer(it, Answer::Unknown);
        let id = job_body::pipeline_job_id(&it.run);
        let vertex = &it.run.request.vertex;
        let project = it.run.request.gitlab.project_id;
        self.calls.fetch_add(1, Ordering::Relaxed);
        let created = self.vertex.create(CreateJob {
            kind: it.run.request.training.kind(),
            project: vertex.project.as_str(),
            region: vertex.region.as_str(),
            body: &body,
            pipeline_job_id: id.as_deref(),
            deadline,
        });
        let created = created.await;
        self.calls.fetch_sub(1, Ordering::Relaxed);
        match created {
            Ok(job) => {
                locked(line).accepted(project, &it.need, self.now());
                info!(run.id = %it.run.id, vertex.job = job.name, "job created");
                // From memory, so that it is not lost when somebody else writes in between.
                let found = Found { job: job.name, nonce: intent.nonce };
                answer(it, Answer::Settled(Some(found)));
                Ok(())
            }
            Err(error) => self.refused(it, error, id.as_deref(), line).await,
        }
    }

    async fn look(&self, it: &mut Tracked) -> Result<(), Error> {
        let job = it.run.job.as_deref().expect("a run is watched once it has a job");
        match self.vertex.get(it.run.request.training.kind(), job).await {
            Ok(job) => {
                it.memory.missing_since = None;
                it.memory.job = Sighting::Looked(Box::new(job));
            }
            Err(error) if error.class() == Class::NotFound => {
                it.memory.missing_since.get_or_insert(self.now());
                it.memory.job = Sighting::Missing;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Reads what the job left in its output directory, and nowhere else, and ends the attempt.
    async fn conclude(&self, it: &mut Tracked, job: &Job, outcome: Outcome) -> Result<(), Error> {
        let output = it.run.submitted_by.as_ref().map(|it| it.output.as_str());
        let results = results::read(self.storage, output, job).await?;
        let said = job.error.as_ref().map(|it| it.message.clone());
        let reasons: Vec<String> = said.into_iter().chain(results.problem).collect();
        let ending = Ending {
            outcome,
            reason: Some(reasons.join("\n")).filter(|it| !it.is_empty()),
            metrics: results.metrics,
            model_uri: results.model_uri,
            model_files: results.model_files,
        };
        self.append(it, Body::Finished(ending)).await
    }

    /// Opens the next attempt: its entry in the queue stands before the fact.
    async fn retry(
        &self,
        it: &mut Tracked,
        error: &JobError,
        line: &Mutex<Line>,
    ) -> Result<(), Error> {
        let ended = it.run.attempt;
        self.queue.ensure(&Ticket::next(&it.run), it.run.request.gitlab.project_id).await?;
        let reason = Some(format!("attempt {ended} ended for want of quota: {}", error.message));
        let asked_at = it.run.asked_at;
        self.append(it, Body::Retried { request: None, reason, operator: None, asked_at }).await?;
        if it.run.attempt > ended {
            it.memory = Memory::default();
            let pause = self.settings.tick * (ATTEMPT_PAUSE * 2_u32.pow(ended.min(16) - 1));
            let metrics = quota_metrics(&error.message);
            if metrics.is_empty() {
                it.memory.retry_at = self.now() + pause;
            } else {
                locked(line).refused(&it.need, metrics, (self.now(), Some(pause)));
            }
        }
        Ok(())
    }
}

/// The times that the protocol rests on, for one run.
pub(super) fn times(settings: &Settings, run: &Run) -> Times {
    let waited = (settings.clock)().duration_since(run.waits_since);
    Times {
        settle: settings.settle,
        wait_max: settings.wait_max,
        waited: waited.try_into().unwrap_or_default(),
        cancel_again: CANCEL_AGAIN,
    }
}

pub(super) fn locked(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().expect("no holder panics")
}

pub(super) fn answer(it: &mut Tracked, answer: Answer) {
    if let Some(sight) = &mut it.memory.intent {
        sight.answer = answer;
    }
}
