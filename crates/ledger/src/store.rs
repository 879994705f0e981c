//! The ledger in Cloud Storage: `runs/<GitLab project id>/<run id>/000000.json`
//! and onwards. The position is the name, so that of two writers one learns it.

use std::collections::BTreeMap;
use std::sync::Arc;

use branchline_contract::{LedgerHead, RunEvent, RunId, TraceParent};
use branchline_gcp::storage::Objects;
use branchline_gcp::{Class, Error as GcpError};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use crate::bucket::Bucket;
use crate::fact::{Body, DecodeError, Entry, Fact};
use crate::name::{FactName, directory};
use crate::run::{FoldError, Run};

/// Facts are small; a larger object is not one.
pub(crate) const FACT_BYTES_MAX: u64 = 8 << 20;
/// More facts than any run can have.
pub(crate) const FACTS_MAX: usize = 10_000;
pub(crate) const READS_AT_ONCE: usize = 16;

/// Reads and appends facts.
#[derive(Clone)]
pub struct Store {
    bucket: Bucket,
    clock: Clock,
}

/// The time on the wall. What it says is written down for people; nothing is decided by it.
pub type Clock = fn() -> Timestamp;

/// A run as it was read: its fold, and the events that its facts ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The fold.
    pub run: Run,
    /// Every event, oldest first.
    pub events: Vec<RunEvent>,
    /// The facts themselves.
    pub entries: Vec<Entry>,
}

/// Who writes a fact, and why.
#[derive(Clone, Copy, Debug)]
pub struct Author<'a> {
    /// Who.
    pub actor: &'a str,
    /// Why, such as a message id.
    pub cause: &'a str,
    /// The trace of what made it write. A fact that takes in a request keeps it.
    pub trace: Option<TraceParent>,
}

/// What became of an append.
#[derive(Debug)]
pub enum Appended {
    /// The fact stands at its position.
    Written(Box<Entry>),
    /// Somebody else's fact stands there: fold again and decide again.
    Taken,
}

/// A ledger that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Cloud Storage did not do it.
    #[error(transparent)]
    Storage(#[from] GcpError),
    /// An object under the run is not a fact.
    #[error("reading the fact {object}")]
    Decode {
        /// The object.
        object: String,
        /// Why it is not one.
        source: DecodeError,
    },
    /// The facts do not make a run.
    #[error("folding the facts of {run}")]
    Fold {
        /// The run.
        run: RunId,
        /// Where they break.
        source: FoldError,
    },
    /// A run with more facts than any run has.
    #[error("{0} has more than {FACTS_MAX} facts")]
    TooMany(RunId),
}

impl Error {
    /// What the failure asks for. A ledger that does not fold stays so until an operator looks.
    pub fn class(&self) -> Class {
        match self {
            Self::Storage(source) => source.class(),
            // A newer version knows it, and one is being rolled out.
            Self::Decode { source: DecodeError::UnknownKind(_), .. } => Class::Transient,
            Self::Decode { .. } | Self::Fold { .. } | Self::TooMany(_) => Class::Refused,
        }
    }
}

impl Store {
    /// The ledger in that bucket.
    pub const fn new(storage: Arc<dyn Objects>, bucket: String, clock: Clock) -> Self {
        Self { bucket: Bucket::new(storage, bucket), clock }
    }

    /// Reads the whole history of a run; `None` when nothing was ever requested.
    pub async fn load(&self, project_id: u64, run: &RunId) -> Result<Option<History>, Error> {
        let objects = self.bucket.list(&directory(project_id, run), FACTS_MAX).await?;
        if objects.len() > FACTS_MAX {
            return Err(Error::TooMany(run.clone()));
        }
        if objects.is_empty() {
            return Ok(None);
        }
        let reads: Vec<_> = objects.into_iter().map(|it| self.read(it.name)).collect();
        let entries: Vec<Entry> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        let (folded, events) =
            Run::fold(&entries).map_err(|source| Error::Fold { run: run.clone(), source })?;
        Ok(Some(History { run: folded, events, entries }))
    }

    /// Takes in what was written behind a history: one list, and a read for each new fact. Tells
    /// how many there were.
    pub async fn catch_up(&self, history: &mut History) -> Result<usize, Error> {
        let run = history.run.id.clone();
        let project_id = history.run.request.gitlab.project_id;
        let position = history.run.head.sequence + 1;
        let start = FactName { project_id, run: run.clone(), position }.to_string();
        let directory = directory(project_id, &run);
        let objects = self.bucket.list_from(&directory, Some(&start), FACTS_MAX).await?;
        if history.entries.len() + objects.len() > FACTS_MAX {
            return Err(Error::TooMany(run));
        }
        let reads: Vec<_> = objects.into_iter().map(|it| self.read(it.name)).collect();
        let entries: Vec<Entry> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        let news = entries.len();
        for entry in entries {
            let event = history.run.apply(&entry);
            let event = event.map_err(|source| Error::Fold { run: run.clone(), source })?;
            history.events.extend(event);
            history.entries.push(entry);
        }
        Ok(news)
    }

    /// Writes the first fact of a run.
    pub async fn begin(
        &self,
        project_id: u64,
        run: &RunId,
        body: Body,
        author: Author<'_>,
    ) -> Result<Appended, Error> {
        self.write(project_id, run, None, 1, body, author).await
    }

    /// Writes the fact behind the head of `run`, for its attempt; `Retried` opens the next one.
    pub async fn append(
        &self,
        run: &Run,
        body: Body,
        author: Author<'_>,
    ) -> Result<Appended, Error> {
        let attempt = run.attempt + u32::from(matches!(body, Body::Retried { .. }));
        let project_id = run.request.gitlab.project_id;
        self.write(project_id, &run.id, Some(run.head), attempt, body, author).await
    }

    async fn write(
        &self,
        project_id: u64,
        run: &RunId,
        head: Option<LedgerHead>,
        attempt: u32,
        body: Body,
        author: Author<'_>,
    ) -> Result<Appended, Error> {
        let fact = Fact {
            sequence: head.map_or(0, |it| it.sequence + 1),
            previous: head.map(|it| it.sha256),
            nonce: format!("{:032x}", fastrand::u128(..)),
            time: (self.clock)(),
            actor: author.actor.to_owned(),
            cause: author.cause.to_owned(),
            attempt,
            trace: author.trace.filter(|_| body.takes_in_a_request()),
            body,
        };
        let name = FactName { project_id, run: run.clone(), position: fact.sequence }.to_string();
        let bytes = fact.encode();
        let written = Entry::decode(&bytes).expect("a fact decodes as it was encoded");
        if self.bucket.create(&name, bytes.into(), BTreeMap::new()).await? {
            return Ok(Appended::Written(Box::new(written)));
        }
        // Clients retry by themselves: the fact in our way may be our own.
        let found = self.read(name).await?;
        let ours = found.sha256 == written.sha256;
        Ok(if ours { Appended::Written(Box::new(found)) } else { Appended::Taken })
    }

    async fn read(&self, name: String) -> Result<Entry, Error> {
        let bytes = self.bucket.read(&name, None, FACT_BYTES_MAX).await?;
        Entry::decode(&bytes).map_err(|source| Error::Decode { object: name, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_of_a_newer_version_is_waited_for_and_a_broken_one_is_not() {
        let class = |bytes: &[u8]| {
            let source = Entry::decode(bytes).unwrap_err();
            Error::Decode { object: "o".to_owned(), source }.class()
        };
        assert_eq!(class(br#"{"kind": "teleported", "body": {}}"#), Class::Transient);
        assert_eq!(class(br#"{"kind": "running", "body": {}}"#), Class::Refused);
        assert_eq!(class(b"<html>"), Class::Refused);
    }
}
