//! Calls to others, counted at the doors: once for each call, its repeats by the client included.

use std::time::Duration;

use branchline_gcp::{Class as GcpClass, Observer as GcpObserver};
use branchline_gitlab::{Class as GitlabClass, Observer as GitlabObserver};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Counters, Histograms, Metrics, label, register};

/// From an answer in the same region to a client that repeats for half a minute.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// How a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    NotFound,
    Conflict,
    Refused,
    Permission,
    Quota,
    Transient,
}

impl Failure {
    const ALL: [Self; 6] = [
        Self::NotFound,
        Self::Conflict,
        Self::Refused,
        Self::Permission,
        Self::Quota,
        Self::Transient,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Permission => "permission",
            Self::Quota => "quota",
            Self::Transient => "transient",
        }
    }
}

impl From<GcpClass> for Failure {
    fn from(class: GcpClass) -> Self {
        match class {
            GcpClass::NotFound => Self::NotFound,
            GcpClass::Conflict => Self::Conflict,
            GcpClass::Refused => Self::Refused,
            GcpClass::Permission => Self::Permission,
            GcpClass::Quota => Self::Quota,
            GcpClass::Transient => Self::Transient,
        }
    }
}

impl From<GitlabClass> for Failure {
    fn from(class: GitlabClass) -> Self {
        match class {
            GitlabClass::NotFound => Self::NotFound,
            GitlabClass::Refused => Self::Refused,
            GitlabClass::Permission => Self::Permission,
            GitlabClass::Transient => Self::Transient,
        }
    }
}

/// One door's families.
#[derive(Clone)]
pub(super) struct Door {
    calls: Counters<2>,
    duration: Histograms<1>,
}

impl Door {
    /// One that nobody is shown.
    pub(super) fn unseen() -> Self {
        let duration: fn() -> Histogram = || Histogram::new(BUCKETS);
        Self { calls: Counters::default(), duration: Histograms::new_with_constructor(duration) }
    }

    pub(super) fn new(to: &mut Registry, name: &str, what: &str) -> Self {
        let it = Self::unseen();
        register(
            to,
            &format!("{name}s"),
            &format!("Number of {what}, by operation and result"),
            &it.calls,
        );
        let help = format!("Duration of {what}, repeats included");
        register(to, &format!("{name}_duration_seconds"), &help, &it.duration);
        it
    }

    /// An operation that is met for the first time gets a line for every result: a rate needs to
    /// have seen no failure before it sees one.
    pub(super) fn ended(&self, operation: &'static str, failure: Option<Failure>, took: Duration) {
        let of = |result| [label("operation", operation), label("result", result)];
        if self.duration.get(&[label("operation", operation)]).is_none() {
            self.calls.get_or_create(&of("ok")).inc_by(0);
            for it in Failure::ALL {
                self.calls.get_or_create(&of(it.as_str())).inc_by(0);
            }
        }
        self.calls.get_or_create(&of(failure.map_or("ok", Failure::as_str))).inc();
        self.duration.get_or_create(&[label("operation", operation)]).observe(took.as_secs_f64());
    }

    fn google(&self) -> GcpObserver {
        let door = self.clone();
        GcpObserver::new(move |it| door.ended(it.operation, it.failure.map(Into::into), it.took))
    }
}

impl Metrics {
    /// Counts calls to Cloud Storage.
    pub fn storage(&self) -> GcpObserver {
        self.0.storage.google()
    }

    /// Counts what is published.
    pub fn publishes(&self) -> GcpObserver {
        self.0.publishes.google()
    }

    /// Counts requests to Vertex AI.
    pub fn vertex(&self) -> GcpObserver {
        self.0.vertex.google()
    }

    /// Counts calls to GitLab.
    pub fn gitlab(&self) -> GitlabObserver {
        let door = self.0.gitlab.clone();
        GitlabObserver::new(move |it| door.ended(it.call, it.failure.map(Into::into), it.took))
    }
}
