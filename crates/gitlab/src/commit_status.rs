//! Statuses of a commit.

use branchline_contract::CommitSha;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::http::{Call, Client};
use crate::note::User;

/// State of a commit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusState {
    /// It waits.
    Pending,
    /// It is under way.
    Running,
    /// It ended well.
    Success,
    /// It ended badly.
    Failed,
    /// Somebody ended it.
    Canceled,
    /// One of GitLab's other states, which only its own jobs have.
    #[serde(other)]
    Other,
}

impl StatusState {
    /// Whether GitLab starts a new row instead of changing this one.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Success | Self::Failed | Self::Canceled => true,
            Self::Pending | Self::Running | Self::Other => false,
        }
    }

    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Other => "skipped",
        }
    }
}

/// A status as GitLab tells it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CommitStatus {
    /// Its row.
    pub id: u64,
    /// Where it stands.
    pub status: StatusState,
    /// Shown beside the name.
    pub description: Option<String>,
    /// Where a click leads.
    pub target_url: Option<String>,
    /// Pipeline that it is part of.
    pub pipeline_id: Option<u64>,
    /// Who set it.
    pub author: Option<User>,
}

/// A status to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewStatus {
    /// What it is called.
    pub name: String,
    /// Where it stands.
    pub state: StatusState,
    /// Shown beside the name.
    pub description: String,
    /// Where a click leads.
    pub target_url: Option<String>,
    /// Pipeline to put it in. No ref goes with it: a merge request pipeline's is not a branch.
    pub pipeline_id: Option<u64>,
}

impl Client {
    /// The statuses of that name, newest first, without those that a later one replaced.
    pub async fn commit_statuses(
        &self,
        project_id: u64,
        sha: &CommitSha,
        name: &str,
    ) -> Result<Vec<CommitStatus>, Error> {
        let path = format!("projects/{project_id}/repository/commits/{sha}/statuses");
        let query = [
            ("name", name.to_owned()),
            ("per_page", "100".to_owned()),
            ("order_by", "id".to_owned()),
            ("sort", "desc".to_owned()),
        ];
        self.get("list commit statuses", &path, &query).await?.json()
    }

    /// Sets a status. Not idempotent: the same state again is a 400, and after a
    /// terminal state a new row begins.
    pub async fn set_commit_status(
        &self,
        project_id: u64,
        sha: &CommitSha,
        status: &NewStatus,
    ) -> Result<CommitStatus, Error> {
        let mut body = Map::from_iter([
            ("name".to_owned(), Value::from(status.name.as_str())),
            ("state".to_owned(), status.state.as_str().into()),
            ("description".to_owned(), status.description.as_str().into()),
        ]);
        if let Some(url) = &status.target_url {
            body.insert("target_url".to_owned(), url.as_str().into());
        }
        if let Some(pipeline) = status.pipeline_id {
            body.insert("pipeline_id".to_owned(), pipeline.into());
        }
        let call = Call {
            name: "set a commit status",
            method: &Method::POST,
            path: &format!("projects/{project_id}/statuses/{sha}"),
            query: &[],
            body: Some(&body.into()),
            part: None,
            trace: None,
        };
        self.call(call).await?.json()
    }
}
