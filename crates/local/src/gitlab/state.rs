//! Everything that this GitLab remembers.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::error::Error;
use super::merge_request::MergeRequest;
use super::note::Note;
use super::pipeline::{Job, Pipeline};
use super::project::Project;
use super::repository::{Blob, Commit};
use super::table::Table;
use super::user::User;
use crate::signer::SigningKey;

pub(super) struct State {
    /// `external_url` of a real GitLab's configuration, without a trailing slash.
    pub(super) external_url: String,
    /// How far the clocks of CI jobs are ahead of this machine's.
    pub(super) clock: SignedDuration,
    pub(super) users: Table<u64, User>,
    pub(super) projects: Table<u64, Project>,
    pub(super) commits: Table<String, Commit>,
    pub(super) blobs: Table<String, Blob>,
    pub(super) merge_requests: Table<u64, MergeRequest>,
    pub(super) notes: Table<u64, Note>,
    pub(super) pipelines: Table<u64, Pipeline>,
    /// CI jobs and external statuses: in GitLab, too, they share one table.
    pub(super) jobs: Table<u64, Job>,
    /// Of ID tokens; the last one signs.
    pub(super) signing_keys: Table<u64, SigningKey>,
}

impl State {
    pub(super) fn open(dir: Option<&Path>) -> Result<Self, Error> {
        let mut state = Self {
            external_url: "http://gitlab.localhost".to_owned(),
            clock: SignedDuration::ZERO,
            users: Table::open(dir, "users")?,
            projects: Table::open(dir, "projects")?,
            commits: Table::open(dir, "commits")?,
            blobs: Table::open(dir, "blobs")?,
            merge_requests: Table::open(dir, "merge_requests")?,
            notes: Table::open(dir, "notes")?,
            pipelines: Table::open(dir, "pipelines")?,
            jobs: Table::open(dir, "jobs")?,
            signing_keys: Table::open(dir, "signing_keys")?,
        };
        state.seed_users()?;
        Ok(state)
    }
}

impl State {
    /// The time, by the clock of CI jobs.
    pub(super) fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        now.checked_add(self.clock).unwrap_or(now)
    }
}

/// A time as GitLab writes it.
pub(super) fn iso(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
