//! Pipelines and the rows in them: CI jobs and external statuses.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::state::State;
use super::user::User;

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Pipeline {
    pub(super) id: u64,
    pub(super) iid: u64,
    pub(super) project_id: u64,
    pub(super) user_id: u64,
    pub(super) sha: String,
    pub(super) reference: String,
    pub(super) source: Source,
    pub(super) merge_request_iid: Option<u64>,
    pub(super) created_at: Timestamp,
}

/// Where a pipeline comes from, in the words of `CI_PIPELINE_SOURCE`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    Push,
    MergeRequestEvent,
    /// Made by a commit status that found no pipeline to join.
    External,
}

impl Source {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::MergeRequestEvent => "merge_request_event",
            Self::External => "external",
        }
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) project_id: u64,
    pub(super) pipeline_id: u64,
    pub(super) user_id: u64,
    pub(super) kind: JobKind,
    pub(super) name: String,
    pub(super) reference: String,
    pub(super) sha: String,
    pub(super) status: Status,
    pub(super) target_url: Option<String>,
    pub(super) description: Option<String>,
    pub(super) coverage: Option<f64>,
    pub(super) created_at: Timestamp,
    pub(super) started_at: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
    /// A newer row of the same name took this one's place.
    pub(super) retried: bool,
    pub(super) trace: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum JobKind {
    /// Run by a runner.
    Build,
    /// Set from outside through the commit status API.
    External,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Created,
    Pending,
    Running,
    Success,
    Failed,
    Canceled,
    Skipped,
}

impl Status {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Skipped => "skipped",
        }
    }

    /// The states that the commit status API takes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        use Status::{Canceled, Failed, Pending, Running, Skipped, Success};
        let all = [Pending, Running, Success, Failed, Canceled, Skipped];
        all.into_iter().find(|it| it.name() == text)
    }
}

impl Job {
    /// Takes the new state with the times that go with it.
    pub(super) fn set_status(&mut self, status: Status, now: Timestamp) {
        match status {
            Status::Running => self.started_at = Some(now),
            Status::Success | Status::Failed | Status::Canceled => self.finished_at = Some(now),
            Status::Created | Status::Pending | Status::Skipped => {}
        }
        self.status = status;
    }
}

impl State {
    pub(super) fn pipeline(&self, project_id: u64, id: u64) -> Result<&Pipeline, Error> {
        let found = self.pipelines.get(&id).filter(|it| it.project_id == project_id);
        found.ok_or(Error::NotFound("Pipeline"))
    }

    pub(super) fn create_pipeline(
        &mut self,
        project_id: u64,
        user: &User,
        source: Source,
        sha: &str,
        reference: &str,
        merge_request_iid: Option<u64>,
    ) -> Result<Pipeline, Error> {
        let ours = self.pipelines.values().filter(|it| it.project_id == project_id);
        let pipeline = Pipeline {
            id: self.pipelines.next_id(),
            iid: ours.map(|it| it.iid).max().unwrap_or(0) + 1,
            project_id,
            user_id: user.id,
            sha: sha.to_owned(),
            reference: reference.to_owned(),
            source,
            merge_request_iid,
            created_at: Timestamp::now(),
        };
        self.pipelines.put(pipeline.id, pipeline.clone())?;
        Ok(pipeline)
    }

    /// A row that has not been written yet.
    pub(super) fn new_job(
        &self,
        pipeline: &Pipeline,
        user: &User,
        kind: JobKind,
        name: &str,
        reference: &str,
    ) -> Job {
        Job {
            id: self.jobs.next_id(),
            project_id: pipeline.project_id,
            pipeline_id: pipeline.id,
            user_id: user.id,
            kind,
            name: name.to_owned(),
            reference: reference.to_owned(),
            sha: pipeline.sha.clone(),
            status: Status::Created,
            target_url: None,
            description: None,
            coverage: None,
            created_at: self.now(),
            started_at: None,
            finished_at: None,
            retried: false,
            trace: String::new(),
        }
    }

    /// Writes a row; older rows of the same name become retried ones.
    pub(super) fn put_job(&mut self, job: Job) -> Result<(), Error> {
        let older: Vec<Job> = self
            .jobs_of(job.pipeline_id)
            .filter(|it| it.name == job.name && it.id < job.id && !it.retried)
            .cloned()
            .collect();
        self.jobs.put(job.id, job)?;
        for mut older in older {
            older.retried = true;
            self.jobs.put(older.id, older)?;
        }
        Ok(())
    }

    pub(super) fn jobs_of(&self, pipeline_id: u64) -> impl Iterator<Item = &Job> {
        self.jobs.values().filter(move |it| it.pipeline_id == pipeline_id)
    }

    /// A CI job; an external status is not to be had as one.
    pub(super) fn job(&self, project_id: u64, id: u64) -> Result<&Job, Error> {
        let ours = |it: &&Job| it.project_id == project_id && it.kind == JobKind::Build;
        self.jobs.get(&id).filter(ours).ok_or(Error::NotFound("Job"))
    }

    /// A pipeline's state follows from its newest rows.
    pub(super) fn pipeline_status(&self, pipeline: &Pipeline) -> Status {
        use Status::{Canceled, Created, Failed, Pending, Running, Skipped, Success};
        let jobs = self.jobs_of(pipeline.id).filter(|it| !it.retried);
        let all: Vec<Status> = jobs.map(|it| it.status).collect();
        let any = |status| all.contains(&status);
        let only = |status| all.iter().all(|it| *it == status);
        if only(Created) {
            Created
        } else if only(Skipped) {
            Skipped
        } else if all.iter().all(|it| [Created, Pending].contains(it)) {
            Pending
        } else if any(Running) || any(Pending) || any(Created) {
            Running
        } else if any(Failed) {
            Failed
        } else if any(Canceled) {
            Canceled
        } else {
            Success
        }
    }

    /// The newest change to a pipeline or a row in it.
    pub(super) fn pipeline_updated_at(&self, pipeline: &Pipeline) -> Timestamp {
        let of_job = |it: &Job| it.finished_at.or(it.started_at).unwrap_or(it.created_at);
        let newest = self.jobs_of(pipeline.id).map(of_job).max();
        newest.unwrap_or(pipeline.created_at).max(pipeline.created_at)
    }
}
