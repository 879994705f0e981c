//! Finds runs: by the listing by day, or by a walk through the whole ledger.

use std::cmp::Reverse;
use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context as _;
use branchline_contract::{RunId, RunName};
use branchline_gcp::Config;
use branchline_gcp::storage::Storage;
use branchline_ledger::{Error, FactName, History, Listed, Queue, Store, Trail};
use branchline_service::telemetry::chain;
use futures::{Stream, StreamExt as _, TryStreamExt as _, future, stream};
use jiff::Timestamp;
use jiff::civil::Date;

use super::timeline::asked_at;
use crate::terminal::plain;

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
pub(super) fn sha(text: &str) -> Result<String, &'static str> {
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
#[derive(Clone)]
pub(super) struct Catalogue {
    pub(super) store: Store,
    trail: Trail,
    queue: Option<Queue>,
}

/// A run that is not shown.
#[derive(Debug)]
pub(super) struct Unread {
    /// It is on record and does not make a run, and never will. Otherwise nothing of it is there yet.
    pub(super) is_broken: bool,
    /// The same for people.
    pub(super) message: String,
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

    /// The runs that are listed under a day and may be among those, newest first.
    pub(super) async fn of_day(&self, day: Date, which: &Which) -> anyhow::Result<Vec<Listed>> {
        let mut listed = self.queue()?.of_day(day).await?;
        listed.retain(|it| which.may_be(it.project_id));
        listed.sort_by_key(|it| Reverse(it.at));
        Ok(listed)
    }

    /// The runs that may be among those and have an attempt that is not announced to its end, however
    /// old it is, newest first; with the newest such attempt of each.
    pub(super) async fn unfinished(&self, which: &Which) -> anyhow::Result<Vec<(Listed, u32)>> {
        let (entries, _strangers) = self.queue()?.list().await?;
        let mut found: Vec<_> = entries
            .into_iter()
            .filter(|it| which.may_be(it.project_id))
            .map(|it| {
                let (at, attempt) = (it.ticket.time(), it.ticket.attempt);
                (Listed { run: it.ticket.run, project_id: it.project_id, at }, attempt)
            })
            .collect();
        found.sort_by(|(one, a), (other, b)| (&one.run, Reverse(a)).cmp(&(&other.run, Reverse(b))));
        found.dedup_by(|(one, _), (other, _)| one.run == other.run);
        found.sort_by_key(|(it, _)| Reverse(it.at));
        Ok(found)
    }

    fn queue(&self) -> anyhow::Result<&Queue> {
        self.queue.as_ref().context("there is no bucket of the queue")
    }

    /// Every run of which something was written in that time, from a walk through the ledger; with
    /// the time of its newest fact.
    pub(super) fn all<'a>(
        &'a self,
        which: &'a Which,
        since: Timestamp,
        until: Option<Timestamp>,
    ) -> impl Stream<Item = anyhow::Result<Listed>> + 'a {
        let runs = match which.project {
            Some(Project::Id(id)) => self.trail.runs_of(id).left_stream(),
            Some(Project::Path(_)) | None => self.trail.runs().right_stream(),
        };
        let runs = runs.map_err(anyhow::Error::from);
        runs.try_filter_map(move |objects| {
            let created = |at: Option<Timestamp>| at.is_none_or(|it| it >= since);
            let late = objects.last().is_some_and(|it| created(it.created));
            let early = objects
                .first()
                .is_some_and(|it| until.is_none_or(|until| it.created.is_none_or(|at| at < until)));
            let name = objects.first().and_then(|it| FactName::parse(&it.name));
            let name = name.filter(|it| late && early && which.may_be(it.project_id));
            let at = objects.last().and_then(|it| it.created);
            let run = name.map(|FactName { project_id, run, .. }| Listed { run, project_id, at });
            future::ready(Ok(run))
        })
    }

    /// Reads runs, some at once, in their order. Nobody is told here of what cannot be shown.
    pub(super) fn read(
        &self,
        runs: Vec<Listed>,
    ) -> impl Stream<Item = anyhow::Result<(Listed, Result<History, Unread>)>> {
        stream::iter(runs).map(|it| self.one(it)).buffered(AT_ONCE)
    }

    async fn one(&self, it: Listed) -> anyhow::Result<(Listed, Result<History, Unread>)> {
        let run = &it.run;
        let read = match self.store.load(it.project_id, run).await {
            Ok(Some(history)) => Ok(history),
            Ok(None) => {
                let message =
                    format!("{run} is listed, and its ledger is empty: was it just asked for?");
                Err(Unread { is_broken: false, message })
            }
            // Whoever may not read one run may read none, and a dead service answers for no other.
            Err(error @ Error::Storage(_)) => return Err(error.into()),
            Err(error) => {
                let message = format!("error: {}", plain(&chain(&error)));
                Err(Unread { is_broken: true, message })
            }
        };
        Ok((it, read))
    }
}

/// When somebody asked for the newest attempt of those that were asked for in that time.
pub(super) fn asked_within(
    history: &History,
    since: Timestamp,
    until: Option<Timestamp>,
) -> Option<Timestamp> {
    let within = |it: &Timestamp| *it >= since && until.is_none_or(|until| *it < until);
    asked_at(&history.entries).filter(within).max()
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
