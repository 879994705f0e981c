//! CI jobs and their logs.

use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::CONTENT_RANGE;
use serde::Deserialize;

use crate::error::Error;
use crate::http::{Call, Client, Part};

/// Bytes of a log that are read at once, far below what an answer may have.
const TRACE_PART: u64 = 8 << 20;

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
    /// What lies behind.
    pub rest: Rest,
}

/// What lies behind a part of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing, by now.
    Nothing,
    /// More, which is to be asked for.
    More,
    /// More, and none of it can be had: GitLab sends all of the log or nothing, and that is too much.
    Unreadable,
}

impl Client {
    /// One CI job.
    pub async fn job(&self, project_id: u64, job_id: u64) -> Result<Job, Error> {
        let path = format!("projects/{project_id}/jobs/{job_id}");
        self.get("read a CI job", &path, &[]).await?.json()
    }

    /// The next part, by now, of a job's log behind so many bytes. Not every GitLab, and not every
    /// proxy before one, gives a part: then it is all of it, from byte 0, as far as it is taken.
    pub async fn trace(&self, project_id: u64, job_id: u64, from: u64) -> Result<Trace, Error> {
        let call = Call {
            name: "read the log of a CI job",
            method: &Method::GET,
            path: &format!("projects/{project_id}/jobs/{job_id}/trace"),
            query: &[],
            body: None,
            part: Some(Part { from, len: TRACE_PART }),
            trace: None,
        };
        let answer = match self.call(call).await {
            Ok(answer) => answer,
            // There is nothing behind that byte.
            Err(Error::Status { status: 416, .. }) => {
                return Ok(Trace { from, bytes: Vec::new(), rest: Rest::Nothing });
            }
            Err(error) => return Err(error),
        };
        let range = answer.headers.get(CONTENT_RANGE).and_then(|it| it.to_str().ok());
        let part = range.and_then(|it| it.strip_prefix("bytes ")?.split_once('/'));
        let start = part.and_then(|(part, _)| part.split('-').next()?.parse().ok());
        let end = start.unwrap_or(0_u64).saturating_add(answer.body.len() as u64);
        let rest = match part {
            _ if answer.cut => Rest::Unreadable,
            // Whoever does not know how long it is says `*`.
            Some((_, total)) if !answer.body.is_empty() => match total.parse::<u64>() {
                Ok(total) if total <= end => Rest::Nothing,
                Ok(_) | Err(_) => Rest::More,
            },
            Some(_) | None => Rest::Nothing,
        };
        Ok(Trace { from: start.unwrap_or(0), bytes: answer.body, rest })
    }
}
