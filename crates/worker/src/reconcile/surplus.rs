//! Surplus jobs: a create call can be on the wire after every deadline, and no
//! client can take it back. Of a run the job named in `submitted` counts; another
//! live one with a nonce of the run is written down and cancelled.

use std::collections::{BTreeMap, BTreeSet};

use branchline_contract::{JobKind, RunId};
use branchline_gcp::vertex::{Job, JobState};
use branchline_ledger::{Appended, Author, Body, History, Place};
use branchline_service::telemetry::chain;
use futures::{StreamExt as _, stream};
use tokio::time::Instant;
use tracing::warn;

use super::leader::{AT_ONCE, Leader};
use super::perform::{ACTOR, CANCEL_AGAIN, CAUSE, Error};
use crate::job_body::{LABEL_INTENT, LABEL_PROJECT, LABEL_RUN};

/// What was found out about a job that no run names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It has our labels, and no create call of ours made it.
    Foreign,
    /// It was asked to stop at that time.
    Cancelled(Instant),
}

/// What is to be done about a job. Decided by the ledger as it stands after the
/// job was listed: an intent is written before its call is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is the run's, or may become it.
    Counts,
    /// None of ours.
    Foreign,
    /// Another one than the run's.
    Surplus,
}

impl Leader {
    /// Cancels what is surplus among the live jobs of a place. A run that has an entry in the
    /// queue is judged by what is in memory: whoever takes thousands over has yet to read it.
    pub(super) async fn cancel_surplus(
        &mut self,
        place: &Place,
        live: BTreeMap<String, Job>,
        queued: &BTreeSet<&str>,
    ) {
        let now = Instant::now();
        self.seen(place).judged.retain(|name, _| live.contains_key(name));
        let judged = &self.watched.places[place].judged;
        let open = |it: &Job| {
            let done = match judged.get(&it.name) {
                Some(Judged::Foreign) => true,
                Some(Judged::Cancelled(sent)) => now < *sent + CANCEL_AGAIN,
                None => false,
            };
            it.state != JobState::Cancelling && !done && !self.counts(it, queued)
        };
        let judging: Vec<_> =
            live.into_values().filter(open).map(|job| self.judge_one(job)).collect();
        let judging = stream::iter(judging).buffered(AT_ONCE).inspect(|_| self.step());
        let told: Vec<_> = judging.collect().await;
        for (job, told) in told {
            match told {
                Ok(Some(judged)) => drop(self.seen(place).judged.insert(job.name, judged)),
                Ok(None) => {}
                Err(error) => {
                    warn!(
                        vertex.job = job.name,
                        error = chain(&error),
                        "job not judged; tried again"
                    );
                }
            }
        }
    }

    async fn judge_one(&self, job: Job) -> (Job, Result<Option<Judged>, Error>) {
        let told = self.judge(&job).await;
        (job, told)
    }

    /// Whether what is in memory is enough to leave the job alone.
    fn counts(&self, job: &Job, queued: &BTreeSet<&str>) -> bool {
        let Some(label) = job.labels.get(LABEL_RUN) else { return false };
        let run = RunId::parse(label).ok();
        let Some(run) = run.and_then(|it| self.runs.get(&it)).map(|it| &it.run) else {
            return queued.contains(label.as_str());
        };
        match &run.job {
            Some(ours) => *ours == job.name,
            None => run.ending().is_none() && run.intents.iter().any(|it| has(job, &it.nonce)),
        }
    }

    /// `None` for a job that may still come to count.
    async fn judge(&self, job: &Job) -> Result<Option<Judged>, Error> {
        let Some((project_id, run, nonce)) = labels(job) else { return Ok(Some(Judged::Foreign)) };
        let history = self.ledger.store.load(project_id, &run).await?;
        let verdict = history.as_ref().map_or(Verdict::Foreign, |it| verdict(it, job, nonce));
        match (verdict, history) {
            (Verdict::Counts, _) => Ok(None),
            (Verdict::Surplus, Some(history)) => self.stop(job, nonce, &history).await,
            (Verdict::Foreign, _) | (Verdict::Surplus, None) => {
                warn!(run.id = %run, vertex.job = job.name, "job with our labels is none of ours; left alone");
                Ok(Some(Judged::Foreign))
            }
        }
    }

    /// Writes it down, then asks Vertex AI to cancel.
    async fn stop(
        &self,
        job: &Job,
        nonce: &str,
        history: &History,
    ) -> Result<Option<Judged>, Error> {
        let body = Body::Surplus { intent: nonce.to_owned(), job: job.name.clone() };
        if !history.entries.iter().any(|it| it.fact.body == body) {
            let author = Author { actor: ACTOR, cause: CAUSE, trace: None };
            match self.ledger.store.append(&history.run, body, author).await? {
                Appended::Written(_) => {}
                // The run went on meanwhile; the next round judges again.
                Appended::Taken => return Ok(None),
            }
        }
        self.vertex.cancel(job.kind, &job.name).await?;
        warn!(run.id = %history.run.id, vertex.job = job.name, "surplus job cancelled");
        Ok(Some(Judged::Cancelled(Instant::now())))
    }
}

/// Project, run and nonce, as far as the labels have them.
fn labels(job: &Job) -> Option<(u64, RunId, &str)> {
    let project_id = job.labels.get(LABEL_PROJECT)?.parse().ok()?;
    let run = RunId::parse(job.labels.get(LABEL_RUN)?).ok()?;
    Some((project_id, run, job.labels.get(LABEL_INTENT)?))
}

fn has(job: &Job, nonce: &str) -> bool {
    job.labels.get(LABEL_INTENT).is_some_and(|it| it == nonce)
}

fn verdict(history: &History, job: &Job, nonce: &str) -> Verdict {
    let run = &history.run;
    let is_intent = |body: &Body| matches!(body, Body::Intended(it) if it.nonce == nonce);
    // Vertex AI copies a pipeline's labels to the custom jobs that are its steps.
    let ours: JobKind = run.request.training.kind();
    if ours != job.kind || !history.entries.iter().any(|it| is_intent(&it.fact.body)) {
        return Verdict::Foreign;
    }
    let in_force = run.intents.iter().any(|it| it.nonce == nonce);
    match &run.job {
        Some(counts) if *counts == job.name => Verdict::Counts,
        None if in_force && run.ending().is_none() => Verdict::Counts,
        Some(_) | None => Verdict::Surplus,
    }
}

#[cfg(test)]
mod tests {
    use branchline_contract::Outcome;
    use branchline_ledger::{Ending, Intent};
    use jiff::Timestamp;

    use super::*;
    use crate::testing::{admitted, custom_job, history, intended, request, submitted};

    fn check(name: &str, facts: Vec<Body>, (job, nonce): (&str, &str), expected: Verdict) {
        let job = Job {
            name: job.to_owned(),
            kind: JobKind::CustomJob,
            state: JobState::Running,
            labels: BTreeMap::new(),
            error: None,
            created: None,
            ended: None,
            metrics: BTreeMap::new(),
            model: None,
            best_trial: None,
        };
        let history = history(&request(&custom_job()), facts);
        assert_eq!(verdict(&history, &job, nonce), expected, "{name}");
    }

    #[test]
    fn only_a_job_that_can_never_come_to_count_is_surplus() {
        let again = |mut facts: Vec<Body>| {
            let nonce = "m".to_owned();
            facts.push(Body::Intended(Intent { nonce, duration_ms: 1, output: String::new() }));
            facts
        };
        let ended = |mut facts: Vec<Body>| {
            facts.push(Body::Finished(Ending::without_job(Outcome::Failed, String::new())));
            facts
        };
        let retried = |mut facts: Vec<Body>| {
            let asked_at = Timestamp::UNIX_EPOCH;
            facts.push(Body::Retried { request: None, reason: None, operator: None, asked_at });
            facts
        };
        let (ours, late) = (("jobs/1", "n"), ("jobs/2", "n"));
        check("under way", intended(), ours, Verdict::Counts);
        check("late, and so is the next", again(intended()), ours, Verdict::Counts);
        check("submitted", submitted(), ours, Verdict::Counts);
        check("beside it", submitted(), late, Verdict::Surplus);
        check("ended", ended(submitted()), ours, Verdict::Counts);
        check("beside it, ended", ended(submitted()), late, Verdict::Surplus);
        check("ended without a job", ended(intended()), ours, Verdict::Surplus);
        check("of an earlier attempt", retried(ended(intended())), ours, Verdict::Surplus);
        check("never intended", admitted(), ours, Verdict::Foreign);
        check("another's nonce", submitted(), ("jobs/2", "x"), Verdict::Foreign);
    }
}
