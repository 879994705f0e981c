//! Merge requests, as far as a report needs them.

use branchline_contract::CommitSha;
use jiff::Timestamp;
use serde::Deserialize;

use crate::error::Error;
use crate::http::Client;
use crate::note::User;

/// A merge request as GitLab tells it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct MergeRequest {
    /// Number within the project.
    pub iid: u64,
    /// Project that it would merge into.
    pub project_id: u64,
    /// `opened`, `closed`, `locked` or `merged`.
    pub state: String,
    /// Branch it would merge.
    pub source_branch: String,
    /// Branch it would merge into.
    pub target_branch: String,
    /// Newest commit of the source branch.
    pub sha: Option<String>,
    /// Who opened it.
    #[serde(default)]
    pub author: Option<User>,
    /// Who merged it.
    #[serde(default)]
    pub merge_user: Option<User>,
    /// The commit that merged it, unless the branch was only moved on.
    #[serde(default)]
    pub merge_commit_sha: Option<String>,
    /// Its changes as one commit, where they were squashed.
    #[serde(default)]
    pub squash_commit_sha: Option<String>,
}

/// What a merge request contains since a push.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Version {
    /// Newest commit of the source branch.
    pub head_commit_sha: String,
    /// When it was pushed.
    pub created_at: Timestamp,
}

/// Somebody's approval of a merge request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Approval {
    /// Who.
    pub user: User,
    /// When; old versions of GitLab do not tell.
    #[serde(default)]
    pub approved_at: Option<Timestamp>,
}

impl Client {
    /// The merge requests that contain a commit; at most 100.
    pub async fn merge_requests_of_commit(
        &self,
        project_id: u64,
        sha: &CommitSha,
    ) -> Result<Vec<MergeRequest>, Error> {
        let path = format!("projects/{project_id}/repository/commits/{sha}/merge_requests");
        let query = [("per_page", "100".to_owned())];
        self.get("list the merge requests of a commit", &path, &query).await?.json()
    }

    /// One merge request.
    pub async fn merge_request(&self, project_id: u64, iid: u64) -> Result<MergeRequest, Error> {
        let path = format!("projects/{project_id}/merge_requests/{iid}");
        self.get("read a merge request", &path, &[]).await?.json()
    }

    /// Who approved a merge request, whichever version of it.
    pub async fn approvals(&self, project_id: u64, iid: u64) -> Result<Vec<Approval>, Error> {
        #[derive(Deserialize)]
        struct Approvals {
            approved_by: Vec<Approval>,
        }
        let path = format!("projects/{project_id}/merge_requests/{iid}/approvals");
        let found = self.get("read the approvals of a merge request", &path, &[]).await?;
        Ok(found.json::<Approvals>()?.approved_by)
    }

    /// The newest versions of a merge request, the newest first; at most 100.
    pub async fn versions(&self, project_id: u64, iid: u64) -> Result<Vec<Version>, Error> {
        let path = format!("projects/{project_id}/merge_requests/{iid}/versions");
        let query = [("per_page", "100".to_owned())];
        self.get("list the versions of a merge request", &path, &query).await?.json()
    }
}
