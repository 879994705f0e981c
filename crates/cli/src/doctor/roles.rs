//! The worker and the notifier, each by its configuration and as its account.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use branchline_gcp::iam::Resource;
use branchline_gitlab::signing_keys::SigningKeys;
use branchline_gitlab::{AccessLevel, Client};
use branchline_service::config::load;
use branchline_service::telemetry::chain;
use branchline_worker::{MINIMAL_POLICY, TrustError};
use jiff::Timestamp;

use super::finding::Finding;
use super::grants::{Grants, On, Things};
use super::quote::quote;
use super::{Common, Jobs, cluster, gitlab};
use crate::env::Environment;
use crate::roles::gitlab_token;

/// Time for what GitLab is asked.
const TIME_MAX: Duration = Duration::from_millis(2_500);

pub(super) async fn worker(
    path: &Path,
    jobs: &Jobs,
    account: Option<&String>,
    common: &Common,
    environment: &Environment,
    now: Timestamp,
) -> anyhow::Result<Vec<Finding>> {
    let config: branchline_worker::Config = load(path)?;
    let started = gitlab_token(environment).and_then(|token| {
        let identity = &config.identity;
        let keys = SigningKeys::new(&identity.issuers, std::slice::from_ref(&identity.audience));
        Ok((branchline_worker::check(&config, token)?, keys?))
    });
    let gitlab = async {
        let (trust, keys) = match &started {
            Ok(started) => started,
            Err(error) => return vec![not_started(path, error.as_ref())],
        };
        let mut found = gitlab::keys(keys).await;
        if let Some(client) = &trust.gitlab {
            let least = AccessLevel::REPORTER;
            found
                .extend(gitlab::token(client, common.gitlab_project, "read_api", least, now).await);
        }
        found
    };
    let role = cluster::Role {
        grants: &Grants::read().worker,
        subscription: &config.subscription,
        dead_letter_topic: &config.dead_letter_topic,
        attempts_max: config.consume.attempts_max.get(),
        ordered: false,
        things: things(&config, jobs),
        training_projects: &jobs.training_project,
        regions: &config.regions,
    };
    let google = cluster::probe(&config.google, account, &role);
    let (gitlab, google) = futures::join!(in_time(gitlab), google);
    Ok(gitlab.into_iter().chain(google?).collect())
}

/// Why the worker itself would not start.
fn not_started(path: &Path, error: &(dyn std::error::Error + 'static)) -> Finding {
    let shown = path.display().to_string();
    let fix = match error.downcast_ref() {
        Some(branchline_worker::Error::Trust(TrustError::File { path, .. })) => {
            format!("cat >{} <<'EOF'\n{MINIMAL_POLICY}\nEOF", quote(&path.display().to_string()))
        }
        Some(branchline_worker::Error::Trust(TrustError::NoToken)) => {
            "export BRANCHLINE_GITLAB_TOKEN_FILE=/run/secrets/gitlab".to_owned()
        }
        _ => format!("# change {}, and what it names", quote(&shown)),
    };
    Finding::wrong("config", format!("a worker with {shown} does not start"), chain(error), fix)
}

async fn in_time(look: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    tokio::time::timeout(TIME_MAX, look).await.unwrap_or_else(|_| {
        vec![Finding::unknown("gitlab", "GitLab did not answer in time", "2.5 s")]
    })
}

/// What a worker works with.
fn things(config: &branchline_worker::Config, jobs: &Jobs) -> Things {
    let mut things = Things::new();
    for (on, bucket) in [
        (On::LedgerBucket, &config.ledger_bucket),
        (On::QueueBucket, &config.queue_bucket),
        (On::RequestBucket, &config.request_bucket),
        (On::OutputBucket, &config.output_bucket),
        (On::DeadLetterBucket, &config.dead_letter_bucket),
    ] {
        things.insert(on, vec![Resource::Bucket(bucket.clone())]);
    }
    let staging = config.staging.iter().map(|it| Resource::Bucket(it.bucket.clone()));
    things.insert(On::StagingBucket, staging.collect());
    things.insert(On::Subscription, vec![Resource::Subscription(config.subscription.clone())]);
    things.insert(On::DeadLetterTopic, vec![Resource::Topic(config.dead_letter_topic.clone())]);
    let moved = config.dead_letter_subscription.clone();
    things.insert(On::DeadLetterSubscription, vec![Resource::Subscription(moved)]);
    things.insert(On::ArtifactTopic, vec![Resource::Topic(config.artifact_topic.clone())]);
    things.insert(On::RunEventTopic, vec![Resource::Topic(config.run_event_topic.clone())]);
    let Jobs { artifact_bucket, training_project, training_account } = jobs;
    let all =
        |names: &[String], kind: fn(String) -> Resource| names.iter().cloned().map(kind).collect();
    things.insert(On::ArtifactBucket, all(artifact_bucket, Resource::Bucket));
    things.insert(On::TrainingProject, all(training_project, Resource::Project));
    things.insert(On::TrainingAccount, all(training_account, Resource::ServiceAccount));
    things
}

pub(super) async fn notifier(
    path: &Path,
    account: Option<&String>,
    common: &Common,
    environment: &Environment,
    now: Timestamp,
) -> anyhow::Result<Vec<Finding>> {
    let config: branchline_notifier::Config = load(path)?;
    let mut things = Things::new();
    things.insert(On::Subscription, vec![Resource::Subscription(config.subscription.clone())]);
    things.insert(On::DeadLetterTopic, vec![Resource::Topic(config.dead_letter_topic.clone())]);
    things.insert(On::LedgerBucket, vec![Resource::Bucket(config.ledger_bucket.clone())]);
    if let Some(it) = &config.merge_requests {
        things.insert(On::QueueBucket, vec![Resource::Bucket(it.queue_bucket.clone())]);
        things.insert(On::RequestBucket, vec![Resource::Bucket(it.request_bucket.clone())]);
    }
    let token = gitlab_token(environment)?;
    let client = token.map(|token| Client::new(&config.gitlab, token)).transpose()?;
    let gitlab = async {
        let Some(client) = &client else {
            let fix = "export BRANCHLINE_GITLAB_TOKEN_FILE=/run/secrets/gitlab";
            let what = "there is no token for GitLab";
            return vec![Finding::wrong("gitlab-token", what, "nothing is reported", fix)];
        };
        gitlab::token(client, common.gitlab_project, "api", AccessLevel::DEVELOPER, now).await
    };
    let role = cluster::Role {
        grants: &Grants::read().notifier,
        subscription: &config.subscription,
        dead_letter_topic: &config.dead_letter_topic,
        attempts_max: config.consume.attempts_max.get(),
        ordered: true,
        things,
        training_projects: &[],
        regions: &BTreeSet::new(),
    };
    let google = cluster::probe(&config.google, account, &role);
    let (gitlab, google) = futures::join!(in_time(gitlab), google);
    Ok(gitlab.into_iter().chain(google?).collect())
}
