//! Finds runs: by the listing by day, or by a walk through the whole ledger.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context as _;
use branchline_contract::{RunId, RunName};
use branchline_gcp::Config;
use branchline_gcp::storage::Storage;
use branchline_ledger::{FactName, History, Queue, Store, Trail};
use branchline_service::telemetry::chain;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use jiff::civil::Date;

use super::timeline::asked_at;
use crate::publish::plain;

/// Runs that are read at once.
const AT_ONCE: usize = 16;
/// A run id ends in a hyphen and so many digits.
const DIGITS: usize = 20;

/// A GitLab project, by id or path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Project {
    Id(u64),
    Path(String),
}

impl FromStr for Project {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.parse().map_or_else(|_| Self::Path(text.to_owned()), Self::Id))
    }
}

/// Whose runs.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Which {
    /// Only runs of this GitLab project: its path, or its id, which reads less
    #[arg(long, value_name = "PROJECT")]
    pub(super) project: Option<Project>,
    /// Only runs of a commit whose hash begins so
    #[arg(long, value_name = "SHA", value_parser = sha)]
    pub(super) sha: Option<String>,
}

/// The beginning of a hash.
fn sha(text: &str) -> Result<String, &'static str> {
    let text = text.to_ascii_lowercase();
    let is_hash = (4..=64).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_hexdigit());
    if is_hash {
        Ok(text)
    } else {
        Err("it is not a commit's hash, or 4 or more of its first digits")
    }
}

impl Which {
    /// Whether a run can be one of them, as far as its place in the ledger tells.
    fn may_be(&self, project_id: u64) -> bool {
        !matches!(self.project, Some(Project::Id(id)) if id != project_id)
    }

    pub(super) fn is(&self, history: &History) -> bool {
        let gitlab = &history.run.request.gitlab;
        let of_project = match &self.project {
            Some(Project::Id(id)) => gitlab.project_id == *id,
            Some(Project::Path(path)) => gitlab.project_path.as_str() == path,
            None => true,
        };
        of_project && self.sha.as_ref().is_none_or(|it| gitlab.sha.as_str().starts_with(it))
    }
}

/// Whether a run of that id has that name.
pub(super) fn is_named(run: &RunId, name: Option<&RunName>) -> bool {
    let end = run.as_str().len().saturating_sub(DIGITS + 1);
    name.is_none_or(|it| run.as_str().get(..end) == Some(it.as_str()))
}

/// Where runs are on record.
pub(super) struct Catalogue {
    pub(super) store: Store,
    trail: Trail,
    queue: Option<Queue>,
}

/// Why a run is not shown.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is listed, and nothing of it is on record.
    Missing,
    /// It is on record and does not make a run, or cannot be read.
    Broken,
}

impl Catalogue {
    /// The ledger, and the bucket of the listing by day where there is one.
    pub(super) async fn connect(
        ledger: &str,
        queue: Option<&str>,
        google: &Config,
    ) -> anyhow::Result<Self> {
        let storage = Arc::new(Storage::connect(google).await?);
        Ok(Self {
            store: Store::new(storage.clone(), ledger.to_owned(), Timestamp::now),
            trail: Trail::new(storage.clone(), ledger.to_owned()),
            queue: queue.map(|it| Queue::new(storage, it.to_owned())),
        })
    }

    /// A run's history; without its project that is looked for in the ledger.
    pub(super) async fn run(
        &self,
        run: &RunId,
        project_id: Option<u64>,
    ) -> anyhow::Result<Option<History>> {
        let project_id = match project_id {
            Some(it) => Some(it),
            None => self.trail.project_of(run).await?,
        };
        let Some(project_id) = project_id else { return Ok(None) };
        Ok(self.store.load(project_id, run).await?)
    }

    /// The runs that are listed under a day and may be among those, but for what is known already.
    pub(super) async fn of_day(
        &self,
        day: Date,
        which: &Which,
        known: &BTreeSet<RunId>,
    ) -> anyhow::Result<Vec<(RunId, u64)>> {
        let queue = self.queue.as_ref().context("there is no bucket of the queue")?;
        let mut listed = queue.of_day(day).await?;
        listed.retain(|(run, project_id)| !known.contains(run) && which.may_be(*project_id));
        Ok(listed)
    }

    /// Every run of which something was written in that time, from a walk through the ledger.
    pub(super) async fn all(
        &self,
        which: &Which,
        since: Timestamp,
        until: Option<Timestamp>,
    ) -> anyhow::Result<Vec<(RunId, u64)>> {
        let mut found = Vec::new();
        let mut runs = pin!(self.trail.runs());
        while let Some(objects) = runs.try_next().await? {
            let created = |at: Option<Timestamp>| at.is_none_or(|it| it >= since);
            let late = objects.last().is_some_and(|it| created(it.created));
            let early = objects
                .first()
                .is_some_and(|it| until.is_none_or(|until| it.created.is_none_or(|at| at < until)));
            let name = objects.first().and_then(|it| FactName::parse(&it.name));
            if let Some(FactName { project_id, run, .. }) = name.filter(|_| late && early)
                && which.may_be(project_id)
            {
                found.push((run, project_id));
            }
        }
        Ok(found)
    }

    /// Reads runs, some at once. What cannot be shown is told on stderr, and so that it is known how.
    pub(super) async fn read(
        &self,
        runs: Vec<(RunId, u64)>,
    ) -> anyhow::Result<(Vec<History>, Vec<Unread>)> {
        let reads = runs.into_iter().map(|(run, project_id)| async move {
            let read = self.store.load(project_id, &run).await;
            (run, read)
        });
        let mut reads = pin!(stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(AT_ONCE));
        let (mut found, mut unread) = (Vec::new(), Vec::new());
        while let Some((run, read)) = reads.next().await {
            match read {
                Ok(Some(history)) => found.push(history),
                Ok(None) => {
                    eprintln!("{run} is listed, and its ledger is empty: was it just asked for?");
                    unread.push(Unread::Missing);
                }
                // Whoever may not read one run may read none, and a dead service answers for no other.
                Err(error @ branchline_ledger::Error::Storage(_)) => return Err(error.into()),
                Err(error) => {
                    eprintln!("error: {}", plain(&chain(&error)));
                    unread.push(Unread::Broken);
                }
            }
        }
        Ok((found, unread))
    }
}

/// Whether somebody asked for an attempt of the run in that time.
pub(super) fn is_asked_within(
    history: &History,
    since: Timestamp,
    until: Option<Timestamp>,
) -> bool {
    asked_at(&history.entries).any(|it| it >= since && until.is_none_or(|until| it < until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_by_its_id_without_the_digits() {
        let run = RunId::parse("iris-small-0123456789abcdef0123").unwrap();
        for (name, expected) in [("iris-small", true), ("iris", false), ("small", false)] {
            assert_eq!(is_named(&run, Some(&name.parse().unwrap())), expected, "{name}");
        }
        assert!(is_named(&run, None));
    }

    #[test]
    fn a_commit_is_named_by_the_beginning_of_its_hash() {
        assert_eq!(sha("CADEF9").as_deref(), Ok("cadef9"));
        for wrong in ["", "abc", "main", &"a".repeat(65)] {
            assert!(sha(wrong).is_err(), "{wrong}");
        }
    }
}
