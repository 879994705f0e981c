//! The queue and the listing by day.
//!
//! The queue: one object per attempt that is not announced to its end,
//! `queue/<time>-<run id>-<attempt>`, in the order in which messages came.
//!
//! An entry holds nothing that the ledger does not. Its metadata caches the
//! head of the run, so that the leader learns of new facts from the listing
//! alone, and remembers up to which fact events are published.

use std::collections::BTreeMap;
use std::sync::Arc;

use branchline_contract::{Invalid, RunId};
use branchline_gcp::Error as GcpError;
use branchline_gcp::storage::{Object, Objects};
use bytes::Bytes;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::bucket::Bucket;
use crate::run::Run;

const PREFIX: &str = "queue/";
const DAYS: &str = "by-day/";
const PROJECT_ID: &str = "project-id";
const HEAD: &str = "head";
const PUBLISHED: &str = "published";
/// Contention on one entry is a worker pod and the leader; more is somebody's loop.
const UPDATES_MAX: u32 = 8;

/// The queue in a bucket.
#[derive(Clone)]
pub struct Queue(Bucket);

/// Name of an entry. Orders by time of the message, not by the clock of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    time: String,
    /// The run.
    pub run: RunId,
    /// Its attempt.
    pub attempt: u32,
}

/// One entry as it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its name.
    pub ticket: Ticket,
    /// GitLab project of the run, the other half of its place in the ledger.
    pub project_id: u64,
    /// Position of the newest fact that a worker pod told of.
    pub head: Option<u32>,
    /// Position up to which events are published.
    pub published: Option<u32>,
    generation: i64,
    metageneration: i64,
}

/// A run of which attempts were asked for on a day, as that is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The run.
    pub run: RunId,
    /// Its GitLab project, the other half of its place in the ledger.
    pub project_id: u64,
    /// When the newest of them was listed: none of them was asked for later. Unknown of copies.
    pub at: Option<Timestamp>,
}

impl Ticket {
    /// The entry of an attempt that a message of that time asked for.
    pub fn new(published: Timestamp, run: RunId, attempt: u32) -> Self {
        Self { time: name_of_time(published), run, attempt }
    }

    /// The one entry that counts for the attempt in force of a run.
    pub fn of(run: &Run) -> Self {
        Self::new(run.asked_at, run.id.clone(), run.attempt)
    }

    /// The entry of the attempt behind it, when it is opened without a message: it keeps the time.
    pub fn next(run: &Run) -> Self {
        Self::new(run.asked_at, run.id.clone(), run.attempt + 1)
    }

    fn object(&self) -> String {
        format!("{PREFIX}{}-{}-{}", self.time, self.run, self.attempt)
    }

    /// The time in its name, when the attempt was asked for.
    pub fn time(&self) -> Option<Timestamp> {
        let time = DateTime::strptime("%Y%m%dT%H%M%S%f", &self.time).ok()?;
        time.to_zoned(TimeZone::UTC).ok().as_ref().map(Zoned::timestamp)
    }

    /// `by-day/<date>/<run id>`: finds the runs of a day without reading every ledger. Attempts behind
    /// the first have their number behind a dot, so that each is listed when it is asked for.
    fn day(&self) -> String {
        let (date, run) = (self.time.split('T').next().unwrap_or_default(), &self.run);
        match self.attempt {
            1 => format!("{DAYS}{date}/{run}"),
            attempt => format!("{DAYS}{date}/{run}.{attempt}"),
        }
    }

    fn parse(object: &str) -> Result<Self, Invalid> {
        let read = || {
            let (time, rest) = object.strip_prefix(PREFIX)?.split_once('-')?;
            let (run, attempt) = rest.rsplit_once('-')?;
            let (run, attempt) = (RunId::parse(run).ok()?, attempt.parse().ok()?);
            let ticket = Self { time: time.to_owned(), run, attempt };
            // `02` is a number too, but another object's name.
            (ticket.object() == object).then_some(ticket)
        };
        read()
            .ok_or_else(|| Invalid::new(object, "a queue entry (queue/<time>-<run id>-<attempt>)"))
    }
}

impl Queue {
    /// The queue in that bucket.
    pub const fn new(storage: Arc<dyn Objects>, bucket: String) -> Self {
        Self(Bucket::new(storage, bucket))
    }

    /// Writes an entry, and the run's line in the listing by day, unless they are there.
    pub async fn ensure(&self, ticket: &Ticket, project_id: u64) -> Result<(), GcpError> {
        let metadata = BTreeMap::from([(PROJECT_ID.to_owned(), project_id.to_string())]);
        self.0.create(&ticket.day(), Bytes::new(), metadata.clone()).await?;
        self.0.create(&ticket.object(), Bytes::new(), metadata).await.map(drop)
    }

    /// Tells the leader that the run has facts up to `head`. `false` when the entry is gone.
    pub async fn tell(&self, ticket: &Ticket, head: u32) -> Result<bool, GcpError> {
        let name = ticket.object();
        for _ in 0..UPDATES_MAX {
            let Some(object) = self.0.stat(&name).await? else { return Ok(false) };
            let mut metadata = object.metadata;
            if position(&metadata, HEAD).is_some_and(|it| it >= head) {
                return Ok(true);
            }
            metadata.insert(HEAD.to_owned(), head.to_string());
            if self.0.set_metadata(&name, Some(object.metageneration), metadata).await? {
                return Ok(true);
            }
        }
        // Whoever keeps changing it tells the leader just as well.
        Ok(true)
    }

    /// Tells the leader how far a run has come, and asserts once more that there is an entry for it
    /// to find. `false` when that is gone behind an end: it was announced and removed.
    pub async fn hand_over(&self, run: &Run) -> Result<bool, GcpError> {
        let (ticket, head) = (Ticket::of(run), run.head.sequence);
        if self.tell(&ticket, head).await? {
            return Ok(true);
        }
        if run.ending().is_some() {
            return Ok(false);
        }
        self.ensure(&ticket, run.request.gitlab.project_id).await?;
        self.tell(&ticket, head).await
    }

    /// Moves the cursor of an entry, unless it changed since it was listed: then the next listing will do.
    pub async fn mark_published(&self, entry: &Queued, published: u32) -> Result<(), GcpError> {
        let mut metadata = BTreeMap::from([
            (PROJECT_ID.to_owned(), entry.project_id.to_string()),
            (PUBLISHED.to_owned(), published.to_string()),
        ]);
        if let Some(head) = entry.head.max(Some(published)) {
            metadata.insert(HEAD.to_owned(), head.to_string());
        }
        let version = Some(entry.metageneration);
        self.0.set_metadata(&entry.ticket.object(), version, metadata).await.map(drop)
    }

    /// Removes an entry whose attempt is announced to its end, if it is still the one that was listed.
    pub async fn remove(&self, entry: &Queued) -> Result<(), GcpError> {
        self.0.remove(&entry.ticket.object(), entry.generation).await
    }

    /// The runs of which an attempt was asked for on a day, in UTC, by their ids. Retention may have
    /// removed what is old, and what is no run's line is left out.
    pub async fn of_day(&self, day: Date) -> Result<Vec<Listed>, GcpError> {
        let prefix = format!("{DAYS}{}/", day.strftime("%Y%m%d"));
        let mut found = BTreeMap::<RunId, Listed>::new();
        for object in self.0.list(&prefix, usize::MAX).await? {
            let line = object.name.strip_prefix(&prefix).unwrap_or_default();
            let run = line.split_once('.').map_or(line, |(run, _attempt)| run);
            let project_id = object.metadata.get(PROJECT_ID).and_then(|it| it.parse().ok());
            let (Ok(run), Some(project_id)) = (RunId::parse(run), project_id) else { continue };
            let at = object.created;
            let listed = found.entry(run.clone()).or_insert_with(|| Listed { run, project_id, at });
            listed.at = listed.at.max(at);
        }
        Ok(found.into_values().collect())
    }

    /// Every entry, oldest first. Objects that are no entries are told apart, not lost in silence.
    pub async fn list(&self) -> Result<(Vec<Queued>, Vec<Invalid>), GcpError> {
        let (mut entries, mut strangers) = (Vec::new(), Vec::new());
        for object in self.0.list(PREFIX, usize::MAX).await? {
            match Queued::read(&object) {
                Ok(entry) => entries.push(entry),
                Err(error) => strangers.push(error),
            }
        }
        Ok((entries, strangers))
    }
}

impl Queued {
    fn read(object: &Object) -> Result<Self, Invalid> {
        let project_id = object.metadata.get(PROJECT_ID).and_then(|it| it.parse().ok());
        Ok(Self {
            ticket: Ticket::parse(&object.name)?,
            project_id: project_id.unwrap_or_default(),
            head: position(&object.metadata, HEAD),
            published: position(&object.metadata, PUBLISHED),
            generation: object.generation,
            metageneration: object.metageneration,
        })
    }
}

/// A time in an object's name: names order as times do.
pub(crate) fn name_of_time(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%S%6f").to_string()
}

fn position(metadata: &BTreeMap<String, String>, key: &str) -> Option<u32> {
    metadata.get(key).and_then(|it| it.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_again_by_its_name_and_orders_by_message_time() {
        let run = RunId::parse("iris-small-0123456789abcdef0123").unwrap();
        let early = Ticket::new("2026-11-23T03:04:05.000006Z".parse().unwrap(), run.clone(), 2);
        let late = Ticket::new("2026-11-23T03:04:05.1Z".parse().unwrap(), run, 1);
        assert_eq!(early.object(), "queue/20261123T030405000006-iris-small-0123456789abcdef0123-2");
        assert_eq!(Ticket::parse(&early.object()), Ok(early.clone()));
        assert!(early.object() < late.object());
    }

    #[test]
    fn a_strange_object_is_not_taken_for_an_entry() {
        for name in [
            "queue/",
            "queue/x",
            "queue/2026-iris-1",
            "other/1-iris-0123456789abcdef0123-1",
            "queue/1-iris-0123456789abcdef0123-",
            "queue/1-iris-0123456789abcdef0123-x",
            "queue/1-iris-0123456789abcdef0123-+2",
            "queue/1-iris-0123456789abcdef0123-02",
            "queue/1-iris-0123456789abcdef0123-4294967296",
        ] {
            assert!(Ticket::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn an_entry_s_time_is_the_one_that_it_was_named_by() {
        let run = RunId::parse("iris-0123456789abcdef0123").unwrap();
        for time in ["2026-11-26T15:19:23.000001Z", "2026-01-01T00:00:00Z"] {
            let time = time.parse().unwrap();
            assert_eq!(Ticket::new(time, run.clone(), 1).time(), Some(time));
        }
        let odd = Ticket::parse("queue/yesterday-iris-0123456789abcdef0123-1").unwrap();
        assert_eq!(odd.time(), None);
    }
}
