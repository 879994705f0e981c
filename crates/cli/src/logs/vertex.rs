//! The entries of one job in Cloud Logging, each once, however often and however late they are listed.

use std::collections::HashMap;

use branchline_contract::JobKind;
use branchline_gcp::logging::{self, LogEntry, Logging};
use branchline_gcp::vertex::Vertex;
use branchline_gcp::{Config, Error};
use jiff::{SignedDuration, Timestamp};

use super::story::Job;

/// 1,000 entries each.
const PAGES_MAX: usize = 100;
/// How far the clock of a training machine may be behind and its entries still be found.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_hours(1);
/// Entries may be listed in another order than they were received in, within this time.
const RECEIVED_SLACK: SignedDuration = SignedDuration::from_mins(2);

/// Cloud Logging, and Vertex AI, which tells what a job consists of.
pub(super) type Doors = (Logging, Vertex);

/// The doors, built when they are needed.
pub(super) async fn doors<'a>(
    doors: &'a mut Option<Doors>,
    google: &Config,
) -> Result<&'a Doors, Error> {
    if doors.is_none() {
        *doors = Some((Logging::connect(google).await?, Vertex::connect(google).await?));
    }
    Ok(doors.as_ref().expect("they were just built"))
}

/// How far a job's entries have been read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Ids and times of entries, and when they were received: an id is unique among those of one
    /// time.
    seen: HashMap<(String, Option<Timestamp>), Option<Timestamp>>,
    received: Option<Timestamp>,
    /// There is more than is ever read.
    pub(super) cut: bool,
}

impl Reading {
    /// The entries that are new since the last look, and not older than `since`.
    pub(super) async fn look(
        &mut self,
        (logging, vertex): &Doors,
        of: &Job,
        since: Option<Timestamp>,
    ) -> Result<Vec<LogEntry>, Error> {
        let custom_jobs = match of.kind {
            JobKind::CustomJob => Vec::new(),
            JobKind::PipelineJob | JobKind::HyperparameterTuningJob | JobKind::TrainingPipeline => {
                vertex.custom_jobs(of.kind, &of.name).await?
            }
        };
        let earlier = |it: Timestamp, by| it.saturating_sub(by).unwrap_or(it);
        let written = since.map_or(of.intended.1, |it| it.max(of.intended.1));
        let received = self.received.map(|it| earlier(it, RECEIVED_SLACK));
        let mut entries = Vec::new();
        for filter in logging::of_jobs(of.kind, &of.name, &custom_jobs) {
            let filter = logging::since(&filter, Some(earlier(written, CLOCK_SLACK)), received);
            let mut token = None;
            for page in 1.. {
                let listed = logging.list(of.project.as_str(), &filter, token).await?;
                entries.extend(listed.entries);
                token = listed.next;
                self.cut |= page == PAGES_MAX && token.is_some();
                if token.is_none() || page == PAGES_MAX {
                    break;
                }
            }
        }
        // Only now: what a failure keeps from being told is new again at the next look.
        entries.retain(|it| self.is_new(it));
        self.forget();
        Ok(entries)
    }

    fn is_new(&mut self, entry: &LogEntry) -> bool {
        self.received = self.received.max(entry.received);
        self.seen.insert((entry.insert_id.clone(), entry.time), entry.received).is_none()
    }

    /// What no later list can hold.
    fn forget(&mut self) {
        if let Some(newest) = self.received {
            let least = newest.saturating_sub(RECEIVED_SLACK * 2).unwrap_or(newest);
            self.seen.retain(|_, it| it.is_none_or(|it| it >= least));
        }
    }
}
