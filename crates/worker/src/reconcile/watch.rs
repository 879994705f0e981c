//! The lists of live jobs: what each shows of the runs, and what else is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use branchline_contract::{Installation, JobKind};
use branchline_gcp::vertex::Job;
use branchline_gcp::{Class, Error as GcpError};
use branchline_ledger::{Place, Queued, State};
use branchline_service::telemetry::chain;
use futures::{StreamExt as _, stream};
use tokio::time::Instant;
use tracing::warn;

use super::leader::{AT_ONCE, Leader};
use super::rights;
use super::step::Sighting;
use super::surplus::Judged;
use crate::job_body;

/// A create call can still reach Vertex AI when nobody waits for it any more.
/// So long after the last run a place is listed in every round.
const LATE: Duration = Duration::from_mins(15);
/// And so often from then on.
const IDLE_EVERY: Duration = Duration::from_secs(30);

/// The places where jobs may be.
#[derive(Default)]
pub(super) struct Watched {
    /// Whether those of earlier leaders are among them.
    complete: bool,
    pub(super) places: BTreeMap<Place, Seen>,
}

/// When a place was in use and looked at, and what was found out there.
#[derive(Default)]
pub(super) struct Seen {
    active: Option<Instant>,
    listed: Option<Instant>,
    pub(super) judged: BTreeMap<String, Judged>,
}

impl Seen {
    fn is_due(&self, now: Instant) -> bool {
        !self.is_idle(now) || self.listed.is_none_or(|it| now >= it + IDLE_EVERY)
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.active.is_none_or(|it| now >= it + LATE)
    }
}

/// The jobs that a list of one place shows, by name.
type Live = BTreeMap<String, Job>;

impl Leader {
    /// Lists the live jobs of every place where runs are or may have left some.
    pub(super) async fn watch(&mut self, entries: &[Queued]) -> Result<(), GcpError> {
        let now = Instant::now();
        self.places(now).await?;
        for it in self.runs.values_mut() {
            it.memory.job = Sighting::None;
        }
        let mut due = Vec::new();
        for (place, seen) in self.watched.places.iter_mut().filter(|(_, it)| it.is_due(now)) {
            seen.listed = Some(now);
            due.push(place.clone());
        }
        let lists: Vec<_> = due.into_iter().map(|place| self.live(place)).collect();
        let lists: Vec<_> = stream::iter(lists).buffered(AT_ONCE).collect().await;
        let queued = entries.iter().map(|it| it.ticket.run.as_str()).collect();
        for (place, live) in lists {
            match live {
                Ok(live) => {
                    self.sight(&place, &live);
                    self.cancel_surplus(&place, live, &queued).await;
                }
                Err(error) => {
                    warn!(error = chain(&error), "jobs not listed");
                    let seen = self.watched.places.get(&place);
                    let idle = seen.is_some_and(|it| it.is_idle(now));
                    // Nothing of ours can be there, or nobody can look: the next run asks again.
                    if idle && matches!(error.class(), Class::Permission | Class::NotFound) {
                        self.watched.places.remove(&place);
                    } else {
                        rights::denied_there(&self.health, &error);
                    }
                }
            }
        }
        Ok(())
    }

    /// What is known of a place in this round.
    pub(super) fn seen(&mut self, place: &Place) -> &mut Seen {
        self.watched.places.entry(place.clone()).or_default()
    }

    /// Remembers every place where a call may have made a job. A run passes no round
    /// by on its way from the first call without a definite answer to its end.
    async fn places(&mut self, now: Instant) -> Result<(), GcpError> {
        if !self.watched.complete {
            for place in self.ledger.places.list().await? {
                self.watched.places.entry(place).or_default();
            }
            self.watched.complete = true;
        }
        let active: BTreeSet<Place> = self
            .runs
            .values()
            .filter(|it| may_have_jobs(&it.run.state))
            .map(|it| (it.run.request.vertex.clone(), it.run.request.training.kind()))
            .collect();
        for place in active {
            if !self.watched.places.contains_key(&place) {
                self.ledger.places.add(&place).await?;
            }
            self.seen(&place).active = Some(now);
        }
        Ok(())
    }

    fn sight(&mut self, place: &Place, live: &Live) {
        for it in self.runs.values_mut() {
            let request = &it.run.request;
            let here = request.vertex == place.0 && request.training.kind() == place.1;
            if here && matches!(it.run.state, State::Submitted | State::Running) {
                let job = it.run.job.as_ref().and_then(|job| live.get(job));
                if job.is_some() {
                    it.memory.missing_since = None;
                }
                it.memory.job =
                    job.map_or(Sighting::NotListed, |it| Sighting::Live(it.state.clone()));
            }
        }
    }

    async fn live(&self, place: Place) -> (Place, Result<Live, GcpError>) {
        let live = self.list_live(&place).await;
        (place, live)
    }

    async fn list_live(&self, (domain, kind): &Place) -> Result<Live, GcpError> {
        let filter = live_filter(*kind, &self.settings.installation);
        let (project, region) = (domain.project.as_str(), domain.region.as_str());
        let mut live = Live::new();
        let mut token = None;
        loop {
            let page = self.vertex.list(*kind, project, region, &filter, token).await?;
            self.step();
            live.extend(page.jobs.into_iter().map(|job| (job.name.clone(), job)));
            token = page.next;
            if token.is_none() {
                return Ok(live);
            }
        }
    }
}

/// Whether it has a job, or a create call of it may have made one.
const fn may_have_jobs(state: &State) -> bool {
    match state {
        State::Intended | State::Submitted | State::Running => true,
        State::Requested
        | State::Stalled(_)
        | State::Verified
        | State::Held(_)
        | State::Admitted
        | State::Finished(_) => false,
    }
}

/// Vertex AI's own filter for the live jobs of this installation.
fn live_filter(kind: JobKind, installation: &Installation) -> String {
    let (prefix, states): (_, &[&str]) = match kind {
        JobKind::CustomJob | JobKind::HyperparameterTuningJob => {
            ("JOB_STATE", &["QUEUED", "PENDING", "RUNNING", "PAUSED", "UPDATING", "CANCELLING"])
        }
        JobKind::PipelineJob | JobKind::TrainingPipeline => {
            ("PIPELINE_STATE", &["QUEUED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"])
        }
    };
    let states: Vec<String> = states.iter().map(|it| format!("state=\"{prefix}_{it}\"")).collect();
    format!(
        "labels.{}=\"{installation}\" AND ({})",
        job_body::LABEL_INSTALLATION,
        states.join(" OR ")
    )
}
