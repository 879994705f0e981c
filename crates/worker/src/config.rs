//! The worker's configuration file. Strict: a key that is not known is an error.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use branchline_contract::{Installation, ObjectUri, Region};
use branchline_service::Period;
use serde::Deserialize;

use crate::operators::Roster;
use crate::trust::Identity;

/// `worker.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Subscription that carries requests, `projects/P/subscriptions/S`.
    pub subscription: String,
    /// Topic to which Pub/Sub moves what nobody settled, `projects/P/topics/T`.
    pub dead_letter_topic: String,
    /// Subscription to that topic, which the workers empty into the archive.
    pub dead_letter_subscription: String,
    /// Bucket of the archive of dead letters. It may hold anything, so it is no other's.
    pub dead_letter_bucket: String,
    /// Topic that requests are published to, also those that are replayed, `projects/P/topics/T`.
    pub artifact_topic: String,
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
    /// Whose word counts about where a request comes from.
    pub identity: Identity,
    /// File with the policy, by which requests are let in.
    pub policy: PathBuf,
    /// GitLab whose merge request approvals count, `https://HOST`; without it none does.
    #[serde(default)]
    pub gitlab: Option<String>,
    /// Who may ask the leader for something, and proves it. Without it whoever may write to the
    /// bucket of requests is believed, and nobody can approve.
    #[serde(default)]
    pub operators: Option<Roster>,
    /// Regions that a run may name; any other is refused.
    pub regions: BTreeSet<Region>,
    /// Value of the label `branchline-installation` on every job: tells the
    /// jobs of this installation from those of another in the same project.
    #[serde(default = "default_installation")]
    pub installation: Installation,
    /// Whether contents are read and their SHA-256 compared, beside the
    /// checksums that Cloud Storage keeps.
    #[serde(default)]
    pub verify_sha256: bool,
    /// Where verified inputs are copied to before a run trains on them; without it a job reads
    /// what was announced where it lies.
    #[serde(default)]
    pub staging: Option<Staging>,
    /// How requests are consumed.
    #[serde(default)]
    pub consume: branchline_service::consume::Options,
    /// Time without a change after which another pod takes the lease over.
    #[serde(default = "default_lease")]
    pub lease: Period,
    /// Pause between two rounds of the reconciler.
    #[serde(default = "default_tick")]
    pub tick: Period,
    /// Bound of one create call.
    #[serde(default = "default_create_max")]
    pub create_max: Period,
    /// Time after which a list in Vertex AI shows every job that was created.
    #[serde(default = "default_settle")]
    pub settle: Period,
    /// Create calls per minute, project and region, to begin with: more and less
    /// is learned. Vertex AI's default quota is 60.
    #[serde(default = "default_creates_per_minute")]
    pub creates_per_minute: NonZeroU32,
    /// Runs of one GitLab project that may be in Vertex AI at once; any number unless given.
    #[serde(default)]
    pub active_runs_per_project_max: Option<NonZeroU32>,
    /// Longest wait for intake, then for approval, and then in line, before a run expires.
    #[serde(default = "default_wait_max")]
    pub wait_max: Period,
    /// Address of `/livez`, `/readyz` and `/metrics`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Endpoints and credentials; Google's own by default.
    #[serde(default)]
    pub google: branchline_gcp::Config,
}

/// A section of the configuration: copies of what was verified.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Staging {
    /// Bucket of the copies. CI may not write there, and nobody may but the workers.
    pub bucket: String,
}

impl Config {
    /// The bucket of copies, where it is none or has another purpose.
    pub(crate) fn misplaced_staging(&self) -> Option<&str> {
        let bucket = self.staging.as_ref()?.bucket.as_str();
        self.misplaced(bucket, &[&self.dead_letter_bucket])
    }

    /// The bucket of dead letters, where it is none or has another purpose.
    pub(crate) fn misplaced_dead_letters(&self) -> Option<&str> {
        self.misplaced(&self.dead_letter_bucket, &[])
    }

    fn misplaced<'a>(&self, bucket: &'a str, more: &[&String]) -> Option<&'a str> {
        let others =
            [&self.ledger_bucket, &self.queue_bucket, &self.request_bucket, &self.output_bucket];
        let named = ObjectUri::new(bucket, "object").is_ok_and(|it| it.bucket() == bucket);
        let taken = others.iter().chain(more).any(|it| *it == bucket);
        (!named || taken).then_some(bucket)
    }
}

fn default_installation() -> Installation {
    Installation::parse("branchline").expect("it is one")
}

const fn default_lease() -> Period {
    Period::secs(15)
}

const fn default_tick() -> Period {
    Period::secs(1)
}

const fn default_create_max() -> Period {
    Period::secs(60)
}

const fn default_settle() -> Period {
    Period::secs(60)
}

const fn default_wait_max() -> Period {
    Period::secs(72 * 3600)
}

const fn default_creates_per_minute() -> NonZeroU32 {
    NonZeroU32::new(60).expect("60 is not zero")
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 8080))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config(staging: &Value) -> Result<Config, String> {
        let config = json!({
            "subscription": "", "dead_letter_topic": "", "run_event_topic": "",
            "artifact_topic": "", "dead_letter_subscription": "", "dead_letter_bucket": "acme-dead",
            "ledger_bucket": "acme-ledger", "queue_bucket": "acme-queue",
            "request_bucket": "acme-requests", "output_bucket": "acme-output",
            "identity": {"issuers": []}, "policy": "policy.yaml", "regions": [],
            "staging": staging,
        });
        serde_json::from_value(config).map_err(|it| it.to_string())
    }

    #[test]
    fn copies_need_a_bucket_of_their_own() {
        let cases = [
            ("acme-staging", true),
            ("acme-ledger", false),
            ("acme-queue", false),
            ("acme-requests", false),
            ("acme-output", false),
            ("acme-dead", false),
            ("acme-staging/copies", false),
            ("gs://acme-staging", false),
            ("", false),
        ];
        for (bucket, expected) in cases {
            let config = config(&json!({"bucket": bucket})).unwrap();
            assert_eq!(config.misplaced_staging().is_none(), expected, "{bucket}");
        }
        assert!(config(&Value::Null).unwrap().misplaced_staging().is_none());
        let wrong = [(json!({}), "missing field `bucket`"), (json!({"bucket": "b", "x": 1}), "x")];
        for (staging, expected) in wrong {
            let error = config(&staging).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
