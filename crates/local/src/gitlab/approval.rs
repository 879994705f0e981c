//! Who approved a merge request, and what was pushed to it when.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::merge_request::{MergeRequest, MergeState};
use super::state::State;
use super::user::User;

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Approval {
    pub(super) user_id: u64,
    pub(super) approved_at: Timestamp,
}

/// What a merge request contained after a push.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) head: String,
    pub(super) created_at: Timestamp,
}

impl Version {
    pub(super) fn new(head: String) -> Self {
        Self { head, created_at: Timestamp::now() }
    }
}

impl State {
    /// An approval outlives a push, unless a project is set otherwise, which none is here.
    pub(super) fn approve(&mut self, project_id: u64, iid: u64, user: &User) -> Result<(), Error> {
        let mut approved = self.merge_request(project_id, iid)?.clone();
        if approved.approvals.iter().any(|it| it.user_id == user.id) {
            return Err(Error::Unauthorized); // GitLab's answer to a second one.
        }
        let approval = Approval { user_id: user.id, approved_at: Timestamp::now() };
        approved.approvals.push(approval);
        self.merge_requests.put(approved.id, approved)?;
        Ok(())
    }

    /// Notes what open merge requests of a branch contain after a push.
    pub(super) fn pushed(&mut self, project_id: u64, branch: &str, sha: &str) -> Result<(), Error> {
        let of_branch = |it: &&MergeRequest| {
            it.state == MergeState::Opened
                && (it.project_id, it.source_branch.as_str()) == (project_id, branch)
        };
        let open: Vec<_> = self.merge_requests.values().filter(of_branch).cloned().collect();
        for mut it in open {
            it.versions.push(Version::new(sha.to_owned()));
            self.merge_requests.put(it.id, it)?;
        }
        Ok(())
    }
}
