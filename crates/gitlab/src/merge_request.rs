//! Merge requests, as far as a report needs them.

use branchline_contract::CommitSha;
use serde::Deserialize;

use crate::error::Error;
use crate::http::Client;

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
}
