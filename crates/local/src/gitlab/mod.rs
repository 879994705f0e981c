//! GitLab: the projects, pipelines, statuses and merge requests that the roles see.
//!
//! The API is GitLab's REST API v4, as far as it is served here; what is not is a
//! 404. The methods of [`GitLab`] stand for what people and runners do with it:
//! push, open a merge request, run a CI job. Beside the API it is an OIDC
//! issuer, whose tokens say which job somebody is.

mod api;
mod approval;
mod commit_status;
mod error;
mod merge_request;
mod note;
mod oidc;
mod pipeline;
mod project;
mod repository;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod user;
mod variables;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use jiff::SignedDuration;

pub use self::error::Error;
pub use self::user::AccessLevel;
pub use self::variables::Variables;
pub use crate::signer::Signer;

use self::api::RateLimit;
use self::pipeline::{JobKind, Source, Status};
use self::repository::Changes;
use self::state::State;
use self::user::{BOT, Kind, PERSON, User};

/// Bytes of a job's log.
const TRACE_MAX: usize = 16 << 20;

/// A GitLab instance; clones share it.
#[derive(Clone)]
pub struct GitLab {
    // Held for the length of one request; its writes are small files.
    state: Arc<Mutex<State>>,
    rate_limit: Arc<Mutex<RateLimit>>,
}

/// What makes a pipeline start.
#[derive(Clone, Copy, Debug)]
pub enum Trigger<'a> {
    /// A push to this branch: its newest commit.
    Push(&'a str),
    /// A pushed tag.
    Tag(&'a str),
    /// An open merge request, by its iid.
    MergeRequest(u64),
}

/// A CI job that a runner has just picked up.
#[derive(Clone, Debug)]
pub struct CiJob {
    /// The job's id.
    pub id: u64,
    /// The pipeline's id.
    pub pipeline_id: u64,
    /// The commit that the job works on.
    pub sha: String,
    /// What GitLab predefines in the job's environment.
    pub variables: Variables,
}

/// How a CI job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// The script exited with 0.
    Success,
    /// The script exited with anything else.
    Failed,
    /// Someone cancelled the job.
    Canceled,
}

impl GitLab {
    /// Opens the instance in a directory, or in memory.
    pub fn open(dir: Option<&Path>) -> std::io::Result<Self> {
        let state = State::open(dir).map_err(|error| match error {
            Error::Store(error) => error,
            other => std::io::Error::other(other),
        })?;
        Ok(Self {
            state: Arc::new(Mutex::new(state)),
            rate_limit: Arc::new(Mutex::new(RateLimit::default())),
        })
    }

    /// The API, below `/api/v4`.
    pub fn router(&self) -> Router {
        api::router(self.clone())
    }

    /// Sets the URL under which this instance is reached (`external_url` in
    /// GitLab's own configuration), without a trailing slash.
    pub fn set_external_url(&self, url: &str) {
        url.trim_end_matches('/').clone_into(&mut self.lock().external_url);
    }

    /// Sets how many requests a user has in a minute.
    pub fn set_rate_limit(&self, per_minute: u32) {
        self.lock_rate_limit().per_minute = per_minute;
    }

    /// The token of the bot that Branchline's roles act as, a Maintainer.
    pub fn token(&self) -> String {
        self.lock().users[&BOT].token.clone()
    }

    /// Gives that bot another token. The one before is refused from then on.
    pub fn rotate_token(&self) -> Result<String, Error> {
        self.lock().rotate_token(BOT)
    }

    /// Adds a user who has this role in every project, and returns a token.
    pub fn create_user(&self, username: &str, level: AccessLevel) -> Result<String, Error> {
        self.lock().add_user(username, username, level, Kind::Human)
    }

    /// Adds such a user with a token for these scopes only, and returns the token.
    pub fn create_token(
        &self,
        username: &str,
        level: AccessLevel,
        scopes: &[&str],
    ) -> Result<String, Error> {
        let mut state = self.lock();
        let token = state.add_user(username, username, level, Kind::Human)?;
        let user = state.user_by_token(&token).cloned();
        let mut user = user.ok_or(Error::NotFound("User"))?;
        user.scopes = scopes.iter().map(|it| (*it).to_owned()).collect();
        state.users.put(user.id, user)?;
        Ok(token)
    }

    /// Creates a project (`group/name`) with a first commit on its protected
    /// default branch, and returns the project's id.
    pub fn create_project(
        &self,
        path: &str,
        default_branch: &str,
        files: &[(&str, &[u8])],
    ) -> Result<u64, Error> {
        let id = self.lock().create_project(path, default_branch)?;
        self.commit(id, default_branch, "Initial commit", files)?;
        Ok(id)
    }

    /// Adds or replaces files on a branch, which starts at the default branch if
    /// it is new, and returns the commit's sha.
    pub fn commit(
        &self,
        project_id: u64,
        branch: &str,
        message: &str,
        files: &[(&str, &[u8])],
    ) -> Result<String, Error> {
        let mut state = self.lock();
        let person = state.person()?;
        let start = state.project(project_id)?.default_branch.clone();
        let file = |(path, content): &(&str, &[u8])| ((*path).to_owned(), Some(content.to_vec()));
        let changes = files.iter().map(file).collect::<Changes>();
        state.commit(project_id, branch, Some(&start), &person, message, changes)
    }

    /// Protects a branch: only Maintainers push to it and set statuses there.
    pub fn protect_branch(&self, project_id: u64, branch: &str) -> Result<(), Error> {
        self.lock().protect_branch(project_id, branch, true)
    }

    /// Leaves it to every Developer.
    pub fn unprotect_branch(&self, project_id: u64, branch: &str) -> Result<(), Error> {
        self.lock().protect_branch(project_id, branch, false)
    }

    /// Tags a commit.
    pub fn tag(&self, project_id: u64, name: &str, sha: &str) -> Result<(), Error> {
        self.lock().tag(project_id, name, sha)
    }

    /// Opens a merge request and returns its iid.
    pub fn open_merge_request(
        &self,
        project_id: u64,
        source: &str,
        target: &str,
        title: &str,
    ) -> Result<u64, Error> {
        let mut state = self.lock();
        let person = state.person()?;
        state.open_merge_request(project_id, &person, source, target, title, "")
    }

    /// Closes an open merge request.
    pub fn close_merge_request(&self, project_id: u64, iid: u64) -> Result<(), Error> {
        let mut state = self.lock();
        let person = state.person()?;
        state.close_merge_request(project_id, iid, &person)
    }

    /// Approves a merge request, as the user of that name.
    pub fn approve(&self, project_id: u64, iid: u64, username: &str) -> Result<(), Error> {
        let mut state = self.lock();
        let user = state.users.values().find(|it| it.username == username).cloned();
        state.approve(project_id, iid, &user.ok_or(Error::NotFound("User"))?)
    }

    /// Merges an open merge request and returns the merge commit's sha.
    pub fn merge(&self, project_id: u64, iid: u64) -> Result<String, Error> {
        let mut state = self.lock();
        let person = state.person()?;
        state.merge(project_id, iid, &person)
    }

    /// Starts a pipeline with one running job in it.
    pub fn start_pipeline(
        &self,
        project_id: u64,
        trigger: Trigger<'_>,
        job_name: &str,
    ) -> Result<CiJob, Error> {
        let mut state = self.lock();
        let person = state.person()?;
        let project = state.project(project_id)?;
        let (sha, reference, iid) = match trigger {
            Trigger::Push(branch) => {
                let tip = project.branches.get(branch).ok_or(Error::NotFound("Branch"))?;
                (tip.sha.clone(), branch.to_owned(), None)
            }
            Trigger::Tag(tag) => {
                let sha = project.tags.get(tag).ok_or(Error::NotFound("Tag"))?;
                (sha.clone(), tag.to_owned(), None)
            }
            Trigger::MergeRequest(iid) => {
                let merge_request = state.merge_request(project_id, iid)?;
                (state.diff(merge_request).head, merge_request.ref_path(), Some(iid))
            }
        };
        let source = iid.map_or(Source::Push, |_| Source::MergeRequestEvent);
        let pipeline = state.create_pipeline(project_id, &person, source, &sha, &reference, iid)?;
        state.start_job(&pipeline, &person, job_name)
    }

    /// Runs a job again in its pipeline, as someone pressing retry does.
    pub fn retry_job(&self, job_id: u64) -> Result<CiJob, Error> {
        let mut state = self.lock();
        let person = state.person()?;
        let job = state.jobs.get(&job_id).ok_or(Error::NotFound("Job"))?.clone();
        let pipeline = state.pipeline(job.project_id, job.pipeline_id)?.clone();
        state.start_job(&pipeline, &person, &job.name)
    }

    /// An ID token for a job, as GitLab puts one into the job's environment where the commit's
    /// `.gitlab-ci.yml` has `id_tokens: {NAME: {aud: AUDIENCE}}`.
    pub fn id_token(&self, job_id: u64, audience: &str) -> Result<String, Error> {
        self.lock().id_token(job_id, &audience.into())
    }

    /// What signs ID tokens now, for tests whose CI jobs were never started here.
    pub fn signer(&self) -> Result<Signer, Error> {
        self.lock().signer()
    }

    /// Replaces the key that signs ID tokens; those before it stay published.
    pub fn rotate_key(&self) -> Result<(), Error> {
        self.lock().rotate_key()
    }

    /// Ends a running job with the rest of its log.
    pub fn finish_job(&self, job_id: u64, end: JobEnd, trace: &str) -> Result<(), Error> {
        let mut state = self.lock();
        let job = state.jobs.get(&job_id).filter(|it| it.kind == JobKind::Build);
        let mut job = job.ok_or(Error::NotFound("Job"))?.clone();
        let status = match end {
            JobEnd::Success => Status::Success,
            JobEnd::Failed => Status::Failed,
            JobEnd::Canceled => Status::Canceled,
        };
        job.set_status(status, state.now());
        append(&mut job.trace, trace);
        state.put_job(job)
    }

    /// Adds to the log of a running job, as it is.
    pub fn append_trace(&self, job_id: u64, text: &str) -> Result<(), Error> {
        let mut state = self.lock();
        let job = state.jobs.get(&job_id).filter(|it| it.kind == JobKind::Build);
        let mut job = job.ok_or(Error::NotFound("Job"))?.clone();
        append(&mut job.trace, text);
        state.put_job(job)
    }

    /// Adds a line that a job printed, as a runner does where `FF_TIMESTAMPS` is set: behind the
    /// time, the number of the stream and whether it is stdout.
    pub fn print(&self, job_id: u64, line: &str) -> Result<(), Error> {
        let time = self.lock().now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        self.append_trace(job_id, &format!("{time} 00O {line}\n"))
    }

    /// From now on the clocks of GitLab and its runners differ so much from this machine's, as far
    /// as CI jobs and their logs tell.
    pub fn set_clock(&self, ahead: SignedDuration) {
        self.lock().clock = ahead;
    }

    /// Writes a commit's files into a directory, as the runner does before a job.
    pub fn checkout(&self, project_id: u64, sha: &str, dir: &Path) -> Result<(), Error> {
        self.lock().checkout(project_id, sha, dir)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding the lock")
    }

    fn lock_rate_limit(&self) -> MutexGuard<'_, RateLimit> {
        self.rate_limit.lock().expect("nobody panics while holding the lock")
    }
}

/// What is longer than GitLab takes is cut off, as it does.
fn append(trace: &mut String, text: &str) {
    let left = TRACE_MAX.saturating_sub(trace.len()).min(text.len());
    let end = (0..=left).rev().find(|it| text.is_char_boundary(*it)).unwrap_or_default();
    trace.push_str(&text[..end]);
}

impl State {
    fn person(&self) -> Result<User, Error> {
        self.user(PERSON).cloned()
    }

    fn start_job(
        &mut self,
        pipeline: &pipeline::Pipeline,
        user: &User,
        name: &str,
    ) -> Result<CiJob, Error> {
        let mut job = self.new_job(pipeline, user, JobKind::Build, name, &pipeline.reference);
        job.set_status(Status::Running, self.now());
        self.put_job(job.clone())?;
        let mut variables = self.variables(pipeline, &job)?;
        variables.extend(self.id_token_variables(&job)?);
        Ok(CiJob { id: job.id, pipeline_id: pipeline.id, sha: job.sha, variables })
    }
}
