//! The log of one CI job, as GitLab keeps it, read on as it grows.

use branchline_contract::RunId;
use branchline_gitlab::{Client, Error, Rest};
use branchline_service::telemetry::chain;
use jiff::Timestamp;

use super::story::CiJob;
use super::trace::{Reader, TraceLine};
use crate::env::Environment;
use crate::roles::gitlab_token;

/// Bytes of a log that are read. Whoever prints more says nothing that a person reads.
const LOG_MAX: u64 = 256 << 20;

/// How far a log has been read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    client: Option<Client>,
    bytes: u64,
    reader: Option<Reader>,
    /// The line of the publish was read.
    published: bool,
    /// The log is longer than what is read of it.
    pub(super) cut: bool,
    /// Nothing more will come.
    pub(super) ended: bool,
}

/// What is new.
#[derive(Debug)]
pub(super) struct News {
    pub(super) lines: Vec<TraceLine>,
    /// When the job ended, by GitLab's clock.
    pub(super) finished_at: Option<Timestamp>,
    /// The first line behind the publish.
    pub(super) published: Option<usize>,
    /// There is more to read at once.
    pub(super) goes_on: bool,
}

impl Reading {
    /// GitLab, if there is a token for the one that the run comes from.
    pub(super) fn client(
        &mut self,
        environment: &Environment,
        of: &CiJob,
    ) -> Result<Client, String> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let host = &of.gitlab.host;
        let token = gitlab_token(environment).map_err(|it| chain(&it))?;
        let token = token
            .ok_or("set BRANCHLINE_GITLAB_TOKEN or BRANCHLINE_GITLAB_TOKEN_FILE to read it")?;
        let endpoint = environment.get("BRANCHLINE_GITLAB_ENDPOINT").filter(|it| !it.is_empty());
        let endpoint = endpoint.ok_or_else(|| {
            let variable = format!("BRANCHLINE_GITLAB_ENDPOINT=https://{host}");
            format!("the run comes from {host}; if the token is for it, set {variable}")
        })?;
        let client = Client::new(endpoint, token).map_err(|it| chain(&it))?;
        // Who may write facts must not get the tokens of others by naming a host.
        if client.host() != host.as_str() {
            let other = client.host();
            return Err(format!("the run comes from {host}, and the token is for {other}"));
        }
        self.client = Some(client.clone());
        Ok(client)
    }

    /// The lines since the last look, or the first of them.
    pub(super) async fn look(
        &mut self,
        client: &Client,
        of: &CiJob,
        run: &RunId,
    ) -> Result<News, Error> {
        let (project_id, job_id) = (of.gitlab.project_id, of.gitlab.job_id);
        // Before the log: what an ended job has written is all there.
        let job = client.job(project_id, job_id).await?;
        let trace = client.trace(project_id, job_id, self.bytes).await?;
        // Where all of it came, its beginning is known.
        let known = usize::try_from(self.bytes.saturating_sub(trace.from)).unwrap_or(usize::MAX);
        let new = trace.bytes.get(known..).unwrap_or_default();
        self.bytes += new.len() as u64;
        self.cut = trace.rest == Rest::Unreadable || self.bytes >= LOG_MAX;
        // A server that has more and sends nothing of it is not asked for ever.
        let goes_on = trace.rest == Rest::More && !new.is_empty() && !self.cut;
        self.ended = self.cut || (job.finished_at.is_some() && !goes_on);
        let started = job.started_at.unwrap_or(of.asked_at);
        let reader = self.reader.get_or_insert_with(|| Reader::new(started));
        let lines = reader.read(new, self.ended);
        let published = if self.published { Some(0) } else { published(&lines, run) };
        self.published |= published.is_some();
        Ok(News { lines, finished_at: job.finished_at, published, goes_on })
    }
}

/// `publish` prints the run's id once its message is out, and before that, where stderr is as fast
/// as stdout, the message's.
fn published(lines: &[TraceLine], run: &RunId) -> Option<usize> {
    let at = lines.iter().position(|it| it.text.contains(run.as_str()))?;
    let before = lines[..at].iter().rev();
    Some(at - before.take_while(|it| it.text.starts_with("published message ")).count())
}
