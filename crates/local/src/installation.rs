//! What an installation of Branchline needs in Google Cloud, made in the local
//! stack: the topics, subscriptions, buckets and accounts that a real one has.

use std::collections::BTreeMap;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    DeadLetterPolicy, RetryPolicy, Subscription,
};
use serde_json::{Value, json};

use crate::iam::{self, Resource};
use crate::pubsub;
use crate::stack::Stack;
use crate::storage;

/// Google Cloud project of the example.
pub const PROJECT: &str = "demo-project";
/// Bucket of artifacts.
pub const ARTIFACTS: &str = "demo-artifacts";
/// Bucket of the run ledger.
pub const LEDGER: &str = "demo-ledger";
/// Bucket of queue and lease.
pub const QUEUE: &str = "demo-queue";
/// Bucket of requests from outside.
pub const REQUESTS: &str = "demo-requests";
/// Bucket of output directories.
pub const OUTPUT: &str = "demo-output";
/// Bucket of copies of verified inputs.
pub const STAGING: &str = "demo-staging";
/// Bucket of the archive of dead letters.
pub const DEAD_LETTERS: &str = "demo-dead-letters";

/// Deliveries before Pub/Sub itself gives a message up; the roles give up by then.
const DELIVERIES_MAX: i32 = 100;
const ACK_SECS: i32 = 60;
const BACKOFF_SECS: (i64, i64) = (10, 600);

/// Why something could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A bucket.
    #[error("creating the bucket {0}")]
    Bucket(&'static str, #[source] storage::Error),
    /// A topic or subscription.
    #[error("creating {0}")]
    PubSub(String, #[source] pubsub::Error),
    /// What is to be granted cannot be read.
    #[error("reading what is granted")]
    Grants(#[from] serde_saphyr::Error),
    /// It is granted on something that an installation does not have.
    #[error("an installation has no {0}")]
    Unknown(String),
    /// A role.
    #[error("granting {0}")]
    Role(String, #[source] iam::Error),
}

/// As `deploy/grants.yaml` has it.
#[derive(serde::Deserialize)]
struct Grant {
    on: String,
    role: String,
}

/// Full name of a topic.
pub fn topic(project: &str, id: &str) -> String {
    format!("projects/{project}/topics/{id}")
}

/// Full name of a subscription.
pub fn subscription(project: &str, id: &str) -> String {
    format!("projects/{project}/subscriptions/{id}")
}

/// What a worker is told of this installation, as its file has it, with more keys or others.
pub fn worker(more: Value) -> Value {
    let names = json!({
        "subscription": subscription(PROJECT, "artifact-ready-worker"),
        "dead_letter_topic": topic(PROJECT, "dead-letters"),
        "dead_letter_subscription": subscription(PROJECT, "dead-letters-archive"),
        "dead_letter_bucket": DEAD_LETTERS,
        "artifact_topic": topic(PROJECT, "artifact-ready"),
        "run_event_topic": topic(PROJECT, "run-events"),
        "ledger_bucket": LEDGER,
        "queue_bucket": QUEUE,
        "request_bucket": REQUESTS,
        "output_bucket": OUTPUT,
        "regions": ["europe-west4"],
    });
    with(names, more)
}

/// The same for a notifier.
pub fn notifier(more: Value) -> Value {
    let names = json!({
        "subscription": subscription(PROJECT, "run-events-notifier"),
        "dead_letter_topic": topic(PROJECT, "dead-letters"),
        "ledger_bucket": LEDGER,
    });
    with(names, more)
}

fn with(mut keys: Value, more: Value) -> Value {
    if let (Value::Object(keys), Value::Object(more)) = (&mut keys, more) {
        keys.extend(more);
    }
    keys
}

/// Makes everything that is not there yet, as it is not after a restart.
pub fn create(stack: &Stack, project: &str) -> Result<(), Error> {
    stack.iam.create_project(project);
    for bucket in [ARTIFACTS, LEDGER, QUEUE, REQUESTS, OUTPUT, STAGING, DEAD_LETTERS] {
        match stack.storage.create_bucket(bucket) {
            Ok(_) | Err(storage::Error::BucketExists) => {}
            Err(error) => return Err(Error::Bucket(bucket, error)),
        }
    }
    for id in ["artifact-ready", "run-events", "dead-letters"] {
        let name = topic(project, id);
        made(name.clone(), stack.pubsub.create_topic(&name))?;
    }
    for (id, of, ordered, dead_letters) in [
        ("artifact-ready-worker", "artifact-ready", false, true),
        ("run-events-notifier", "run-events", true, true),
        // Without a subscription a dead letter is lost.
        ("dead-letters-archive", "dead-letters", false, false),
    ] {
        let name = subscription(project, id);
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let spec = Subscription {
            name: name.clone(),
            topic: topic(project, of),
            ack_deadline_seconds: ACK_SECS,
            enable_message_ordering: ordered,
            retry_policy: Some(RetryPolicy {
                minimum_backoff: seconds(BACKOFF_SECS.0),
                maximum_backoff: seconds(BACKOFF_SECS.1),
            }),
            dead_letter_policy: dead_letters.then(|| DeadLetterPolicy {
                dead_letter_topic: topic(project, "dead-letters"),
                max_delivery_attempts: DELIVERIES_MAX,
            }),
            ..Subscription::default()
        };
        made(name, stack.pubsub.create_subscription(spec))?;
    }
    Ok(())
}

/// Makes an account for each part of an installation and gives it the roles that `grants`, the
/// text of `deploy/grants.yaml`, has for it. Jobs train as the account `trainer`.
pub fn grant(stack: &Stack, project: &str, grants: &str, trainer: &str) -> Result<(), Error> {
    let number = stack.iam.create_project(project);
    let parts: BTreeMap<String, Vec<Grant>> = serde_saphyr::from_str(grants)?;
    for (part, grants) in parts {
        let (account, subscriptions) = match part.as_str() {
            // It moves the dead letters of both.
            "service_agent" => (
                format!("service-{number}@gcp-sa-pubsub.iam.gserviceaccount.com"),
                &["artifact-ready-worker", "run-events-notifier"][..],
            ),
            "notifier" => {
                (stack.iam.create_service_account(project, &part), &["run-events-notifier"][..])
            }
            _ => (stack.iam.create_service_account(project, &part), &["artifact-ready-worker"][..]),
        };
        for Grant { on, role } in grants {
            let resources = match on.as_str() {
                "subscription" => {
                    subscriptions.iter().map(|it| Resource::subscription(project, it)).collect()
                }
                "artifact_topic" => vec![Resource::topic(project, "artifact-ready")],
                "run_event_topic" => vec![Resource::topic(project, "run-events")],
                "dead_letter_topic" => vec![Resource::topic(project, "dead-letters")],
                "dead_letter_subscription" => {
                    vec![Resource::subscription(project, "dead-letters-archive")]
                }
                "dead_letter_bucket" => vec![Resource::bucket(DEAD_LETTERS)],
                "artifact_bucket" => vec![Resource::bucket(ARTIFACTS)],
                "ledger_bucket" => vec![Resource::bucket(LEDGER)],
                "queue_bucket" => vec![Resource::bucket(QUEUE)],
                "request_bucket" => vec![Resource::bucket(REQUESTS)],
                "output_bucket" => vec![Resource::bucket(OUTPUT)],
                "staging_bucket" => vec![Resource::bucket(STAGING)],
                "training_project" => vec![Resource::project(project)],
                "training_account" => vec![Resource::account(trainer)],
                _ => return Err(Error::Unknown(on)),
            };
            for resource in resources {
                let bound = stack.iam.bind(&resource, &role, &format!("serviceAccount:{account}"));
                bound.map_err(|error| Error::Role(role.clone(), error))?;
            }
        }
    }
    Ok(())
}

fn made(name: String, result: Result<(), pubsub::Error>) -> Result<(), Error> {
    match result {
        Ok(()) | Err(pubsub::Error::AlreadyExists(_)) => Ok(()),
        Err(error) => Err(Error::PubSub(name, error)),
    }
}
