//! CI jobs and their logs.

use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::CONTENT_RANGE;
use serde::Deserialize;

use crate::error::Error;
use crate::http::{Call, Client};

/// A CI job as GitLab tells it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Job {
    /// Id within the instance.
    pub id: u64,
    /// Such as `running` or `success`.
    pub status: String,
    /// When a runner began with it, by GitLab's clock.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default)]
    pub finished_at: Option<Timestamp>,
}

/// The log of a CI job from some byte on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The byte that it begins at: the one that was asked for, or 0 where GitLab sends all of it.
    pub from: u64,
    /// What the runner wrote, with its markers and escape sequences. Foreign text.
    pub bytes: Vec<u8>,
}

impl Client {
    /// One CI job.
    pub async fn job(&self, project_id: u64, job_id: u64) -> Result<Job, Error> {
        let path = format!("projects/{project_id}/jobs/{job_id}");
        self.get("read a CI job", &path, &[]).await?.json()
    }

    /// What there is by now of a job's log behind so many bytes. Not every GitLab, and not every
    /// proxy before one, gives a part: then it is all of it, from byte 0.
    pub async fn trace(&self, project_id: u64, job_id: u64, from: u64) -> Result<Trace, Error> {
        let call = Call {
            name: "read the log of a CI job",
            method: &Method::GET,
            path: &format!("projects/{project_id}/jobs/{job_id}/trace"),
            query: &[],
            body: None,
            from_byte: (from > 0).then_some(from),
            trace: None,
        };
        let answer = match self.call(call).await {
            Ok(answer) => answer,
            // There is nothing behind that byte.
            Err(Error::Status { status: 416, .. }) => return Ok(Trace { from, bytes: Vec::new() }),
            Err(error) => return Err(error),
        };
        let range = answer.headers.get(CONTENT_RANGE).and_then(|it| it.to_str().ok());
        let start = range.and_then(|it| it.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
        Ok(Trace { from: start.unwrap_or(0), bytes: answer.body })
    }
}
