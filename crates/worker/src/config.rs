//! The worker's configuration file. Strict: a key that is not known is an error.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use branchline_contract::Region;
use serde::Deserialize;

/// `worker.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Subscription that carries requests, `projects/P/subscriptions/S`.
    pub subscription: String,
    /// Topic for what can never become a run, `projects/P/topics/T`.
    pub dead_letter_topic: String,
    /// Topic for run events, `projects/P/topics/T`.
    pub run_event_topic: String,
    /// Bucket of the run ledger.
    pub ledger_bucket: String,
    /// Bucket of queue, indexes and lease.
    pub queue_bucket: String,
    /// Bucket of requests from outside, in which operators may create and nothing else.
    pub request_bucket: String,
    /// Bucket that `{{ output }}` lies in.
    pub output_bucket: String,
    /// Regions that a run may name; any other is refused.
    pub regions: BTreeSet<Region>,
    /// Value of the label `branchline-installation` on every job: tells the
    /// jobs of this installation from those of another in the same project.
    #[serde(default = "default_installation")]
    pub installation: String,
    /// Whether contents are read and their SHA-256 compared, beside the
    /// checksums that Cloud Storage keeps.
    #[serde(default)]
    pub verify_sha256: bool,
    /// How requests are consumed.
    #[serde(default)]
    pub consume: branchline_service::consume::Options,
    /// Time without a change after which another pod takes the lease over.
    #[serde(default = "default_lease_secs")]
    lease_secs: u64,
    /// Pause between two rounds of the reconciler.
    #[serde(default = "default_tick_millis")]
    tick_millis: u64,
    /// Bound of one create call.
    #[serde(default = "default_create_secs")]
    create_secs: u64,
    /// Time after which a list in Vertex AI shows every job that was created.
    #[serde(default = "default_settle_secs")]
    settle_secs: u64,
    /// Create calls per minute, project and region, to begin with: more and less
    /// is learned. Vertex AI's default quota is 60.
    #[serde(default = "default_creates_per_minute")]
    pub creates_per_minute: NonZeroU32,
    /// Runs of one GitLab project that may be in Vertex AI at once; any number unless given.
    #[serde(default)]
    pub active_runs_per_project_max: Option<NonZeroU32>,
    /// Longest wait in line before a run expires.
    #[serde(default = "default_wait_hours_max")]
    wait_hours_max: u64,
    /// Address of `/livez` and `/readyz`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Endpoints and credentials; Google's own by default.
    #[serde(default)]
    pub google: branchline_gcp::Config,
}

impl Config {
    /// Time without a change after which another pod takes the lease over.
    pub const fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_secs)
    }

    /// Pause between two rounds of the reconciler.
    pub const fn tick(&self) -> Duration {
        Duration::from_millis(self.tick_millis)
    }

    /// Bound of one create call.
    pub const fn create(&self) -> Duration {
        Duration::from_secs(self.create_secs)
    }

    /// Time after which a list in Vertex AI shows every job that was created.
    pub const fn settle(&self) -> Duration {
        Duration::from_secs(self.settle_secs)
    }

    /// Longest wait in line before a run expires.
    pub const fn wait_max(&self) -> Duration {
        Duration::from_secs(self.wait_hours_max * 3600)
    }
}

fn default_installation() -> String {
    "branchline".to_owned()
}
const fn default_lease_secs() -> u64 {
    15
}
const fn default_tick_millis() -> u64 {
    1_000
}
const fn default_create_secs() -> u64 {
    60
}
const fn default_settle_secs() -> u64 {
    60
}
const fn default_creates_per_minute() -> NonZeroU32 {
    NonZeroU32::new(60).expect("60 is not zero")
}
const fn default_wait_hours_max() -> u64 {
    72
}
fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 8080))
}
