//! Setting a status on a commit, with GitLab's rules for which pipeline and row
//! it lands in and which state may follow which.

use jiff::Timestamp;
use serde_json::json;

use super::error::{Error, FORBIDDEN};
use super::pipeline::{Job, JobKind, Pipeline, Source, Status};
use super::state::State;
use super::user::{AccessLevel, User};

/// What a caller wants to set.
pub(super) struct StatusUpdate {
    pub(super) state: Status,
    pub(super) name: String,
    pub(super) reference: Option<String>,
    pub(super) pipeline_id: Option<u64>,
    pub(super) target_url: Option<String>,
    pub(super) description: Option<String>,
    pub(super) coverage: Option<f64>,
}

/// How many of a commit's newest pipelines are looked at.
const PIPELINES_MAX: usize = 100;
/// The longest `target_url`, and the longest name.
const TEXT_MAX: usize = 255;

impl State {
    pub(super) fn set_commit_status(
        &mut self,
        project_id: u64,
        sha: &str,
        user: &User,
        update: StatusUpdate,
    ) -> Result<Job, Error> {
        if user.access_level < AccessLevel::Developer {
            return Err(FORBIDDEN);
        }
        let sha = self.resolve(project_id, sha)?.sha.clone();
        let found = self.matching_pipeline(project_id, &sha, &update).cloned();
        let reference = update
            .reference
            .clone()
            .or_else(|| found.as_ref().map(|it| it.reference.clone()))
            .or_else(|| self.branch_containing(project_id, &sha))
            .ok_or(Error::NotFound("References for commit"))?;
        let pipeline = match found {
            Some(pipeline) => pipeline,
            None if update.pipeline_id.is_some() => {
                return Err(Error::NotFound("Pipeline for pipeline_id, sha and ref"));
            }
            None => {
                let source = Source::External;
                self.create_pipeline(project_id, user, source, &sha, &reference, None)?
            }
        };
        if !self.project(project_id)?.may_update(user, &pipeline.reference) {
            return Err(FORBIDDEN);
        }
        let mut job = self.active_row(&pipeline, &reference, user, &update.name);
        job.target_url = update.target_url.or(job.target_url);
        job.description = update.description.or(job.description);
        job.coverage = update.coverage.or(job.coverage);
        self.check_row(&job)?;
        transition(&mut job, update.state)?;
        self.put_job(job.clone())?;
        Ok(job)
    }

    fn matching_pipeline(
        &self,
        project_id: u64,
        sha: &str,
        update: &StatusUpdate,
    ) -> Option<&Pipeline> {
        let on_sha = |it: &&Pipeline| it.project_id == project_id && it.sha == sha;
        let newest = self.pipelines.values().rev().filter(on_sha);
        let limit = if update.pipeline_id.is_some() { usize::MAX } else { PIPELINES_MAX };
        newest.take(limit).find(|it| {
            update.reference.as_ref().is_none_or(|wanted| *wanted == it.reference)
                && update.pipeline_id.is_none_or(|wanted| wanted == it.id)
        })
    }

    /// The row that is still pending or running for this user, or else a new one.
    fn active_row(&self, pipeline: &Pipeline, reference: &str, user: &User, name: &str) -> Job {
        let active = self.jobs_of(pipeline.id).find(|it| {
            it.kind == JobKind::External
                && matches!(it.status, Status::Pending | Status::Running)
                && (it.reference.as_str(), it.name.as_str()) == (reference, name)
                && it.user_id == user.id
        });
        active
            .cloned()
            .unwrap_or_else(|| self.new_job(pipeline, user, JobKind::External, name, reference))
    }

    fn check_row(&self, job: &Job) -> Result<(), Error> {
        let too_long = || format!("is too long (maximum is {TEXT_MAX} characters)");
        let (mut name, mut target_url) = (Vec::new(), Vec::new());
        if let Some(url) = &job.target_url {
            match url.split_once("://") {
                Some(("http" | "https", host)) if !host.is_empty() && !url.contains(' ') => {}
                Some(("http" | "https", _)) | None => {
                    target_url.push("must be a valid URL".to_owned());
                }
                Some(_) => {
                    target_url.push("is blocked: Only allowed schemes are http, https".to_owned());
                }
            }
            if url.chars().count() > TEXT_MAX {
                target_url.push(too_long());
            }
        }
        if job.name.chars().count() > TEXT_MAX {
            name.push(too_long());
        }
        let mut jobs = self.jobs_of(job.pipeline_id);
        if jobs.any(|it| it.name == job.name && it.kind == JobKind::Build) {
            name.push("has already been taken".to_owned());
        }
        let mut message = serde_json::Map::new();
        for (field, problems) in [("name", name), ("target_url", target_url)] {
            if !problems.is_empty() {
                message.insert(field.to_owned(), json!(problems));
            }
        }
        if message.is_empty() { Ok(()) } else { Err(Error::Refused(message.into())) }
    }
}

/// Moves the row to the wanted state, or says which event was not possible.
fn transition(job: &mut Job, wanted: Status) -> Result<(), Error> {
    use Status::{Canceled, Created, Failed, Pending, Running, Skipped, Success};
    let now = Timestamp::now();
    // A new row asked to run is enqueued first; a failing enqueue goes unnoticed there.
    if (wanted, job.status) == (Running, Created) {
        job.set_status(Pending, now);
    }
    let (event, from): (_, &[Status]) = match wanted {
        Created | Pending => ("enqueue", &[Created]),
        Running => ("run", &[Pending]),
        Success => ("success", &[Created, Pending, Running]),
        Failed => ("drop", &[Created, Pending, Running]),
        Canceled => ("cancel", &[Created, Pending, Running]),
        Skipped => ("skip", &[Created, Pending]),
    };
    if from.contains(&job.status) {
        job.set_status(wanted, now);
        return Ok(());
    }
    let reason = format!("Status cannot transition via \"{event}\"");
    let state = job.status.name();
    let text = format!("Cannot transition status via :{event} from :{state} (Reason(s): {reason})");
    Err(Error::Refused(text.into()))
}
