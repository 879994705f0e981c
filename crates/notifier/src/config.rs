//! The notifier's configuration file. Strict: a key that is not known is an error.

use std::net::SocketAddr;

use branchline_service::Period;
use serde::Deserialize;

/// `notifier.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Subscription that carries run events, `projects/P/subscriptions/S`.
    pub subscription: String,
    /// Topic for what cannot be reported, `projects/P/topics/T`.
    pub dead_letter_topic: String,
    /// Bucket of the run ledger.
    pub ledger_bucket: String,
    /// Address of the GitLab that is reported to, `https://HOST`. Runs of another host are refused.
    pub gitlab: String,
    /// How closed merge requests cancel their runs; without it they do not.
    #[serde(default)]
    pub merge_requests: Option<MergeRequests>,
    /// How run events are consumed.
    #[serde(default)]
    pub consume: branchline_service::consume::Options,
    /// Address of `/livez`, `/readyz` and `/metrics`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Endpoints and credentials; Google's own by default.
    #[serde(default)]
    pub google: branchline_gcp::Config,
}

/// What is needed to learn of closed merge requests and to tell the leader.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeRequests {
    /// Bucket of the queue, which is read.
    pub queue_bucket: String,
    /// Bucket of requests, in which a cancel is created.
    pub request_bucket: String,
    /// Audience of the ID token with which the notifier proves who asks for a cancel, where the
    /// workers' configuration names it among the operators.
    #[serde(default)]
    pub audience: Option<String>,
    /// Pause between two looks at the merge requests of active runs.
    #[serde(default = "default_poll")]
    pub poll: Period,
}

const fn default_poll() -> Period {
    Period::secs(60)
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 8080))
}
