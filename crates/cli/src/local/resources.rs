//! What an installation needs in Google Cloud, made in the local stack: the
//! same topics, subscriptions and buckets that a real one has.

use std::time::Duration;

use anyhow::Context as _;
use branchline_gcp::pubsub::{Admin, SubscriptionSpec};
use branchline_gcp::{Config, Credentials};
use branchline_local::stack::Stack;

/// Google Cloud project of the example.
pub(crate) const PROJECT: &str = "demo-project";
/// Bucket of artifacts.
pub(crate) const ARTIFACTS: &str = "demo-artifacts";
/// Bucket of the run ledger.
pub(crate) const LEDGER: &str = "demo-ledger";
/// Bucket of queue and lease.
pub(crate) const QUEUE: &str = "demo-queue";
/// Bucket of output directories.
pub(crate) const OUTPUT: &str = "demo-output";

/// Deliveries before Pub/Sub itself gives a message up; the roles give up earlier.
const DELIVERIES_MAX: u8 = 100;
const BACKOFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(10));

/// Where our own clients find the stack.
pub(crate) fn google(stack: &Stack) -> Config {
    let url = |port: u16| Some(format!("http://127.0.0.1:{port}"));
    Config {
        credentials: Credentials::Anonymous,
        pubsub_endpoint: url(stack.ports.pubsub),
        storage_endpoint: url(stack.ports.storage),
        vertex_endpoint: url(stack.ports.vertex),
    }
}

/// Full name of a topic or subscription.
pub(crate) fn name(project: &str, collection: &str, id: &str) -> String {
    format!("projects/{project}/{collection}/{id}")
}

/// Makes everything that is not there yet.
pub(crate) async fn create(stack: &Stack, project: &str) -> anyhow::Result<()> {
    for bucket in [ARTIFACTS, LEDGER, QUEUE, OUTPUT] {
        match stack.storage.create_bucket(bucket) {
            // After a restart it is there already.
            Ok(_) | Err(branchline_local::storage::Error::BucketExists) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("creating the bucket {bucket}"));
            }
        }
    }
    let admin = Admin::connect(&google(stack)).await?;
    let topic = |id: &str| name(project, "topics", id);
    for id in ["artifact-ready", "run-events", "dead-letters"] {
        admin.create_topic(&topic(id)).await?;
    }
    let dead_letters = topic("dead-letters");
    for (id, of, dead_letter, ordering) in [
        ("artifact-ready-worker", "artifact-ready", Some(dead_letters.as_str()), false),
        ("run-events-notifier", "run-events", Some(dead_letters.as_str()), true),
        // Without a subscription a dead letter is lost.
        ("dead-letters-archive", "dead-letters", None, false),
    ] {
        let subscription = name(project, "subscriptions", id);
        let spec = SubscriptionSpec {
            topic: &topic(of),
            ack_deadline: Duration::from_mins(1),
            retry: BACKOFF,
            dead_letter: dead_letter.map(|it| (it, DELIVERIES_MAX)),
            ordering,
        };
        admin.create_subscription(&subscription, spec).await?;
    }
    Ok(())
}
