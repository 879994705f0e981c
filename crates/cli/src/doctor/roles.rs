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
use super::gitlab::Wants;
use super::grants::{Grants, On, Things};
use super::quote::quote;
use super::{Common, Jobs, cluster, gitlab, key_file};
use crate::env::Environment;
use crate::roles::{TokenError, gitlab_token, reporting_token};

/// What the worker asks of GitLab.
const READS: Wants =
    Wants { scope: "read_api", least: AccessLevel::REPORTER, sets_statuses: false };
/// What the notifier does there.
pub(crate) const REPORTS: Wants =
    Wants { scope: "api", least: AccessLevel::DEVELOPER, sets_statuses: true };
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
    let mut config: branchline_worker::Config = load(path)?;
    if let Some(policy) = &jobs.policy {
        config.policy.clone_from(policy);
    }
    let gitlab = async {
        let started = match gitlab_token(environment) {
            Ok(token) => branchline_worker::check(&config, token),
            Err(error) => return vec![not_started("worker", path, &error)],
        };
        let trust = match started {
            Ok(trust) => trust,
            Err(all) => return all.iter().map(|it| not_started("worker", path, it)).collect(),
        };
        let (issuers, audience) = (&config.identity.issuers, &config.identity.audience);
        let keys = SigningKeys::new(issuers, std::slice::from_ref(audience));
        let mut found =
            gitlab::keys(&keys.expect("those of the trust are the same"), issuers).await;
        if let Some(client) = &trust.gitlab {
            found.extend(gitlab::token(client, common.gitlab_project, &READS, now).await);
        }
        found
    };
    let role = cluster::Role {
        grants: &Grants::read().worker,
        subscription: &config.subscription,
        dead_letter_topic: &config.dead_letter_topic,
        attempts_max: config.consume.attempts_max.get(),
        ordered: false,
        things: with_jobs(of_worker(&config), jobs),
        training_projects: &jobs.training_project,
        regions: &config.regions,
    };
    let google = google(&config.google, environment, account, &role);
    let (gitlab, google) = futures::join!(in_time(gitlab), google);
    Ok(gitlab.into_iter().chain(google?).collect())
}

/// What Google says to the role, if it starts at all with the credentials that are here.
async fn google(
    config: &branchline_gcp::Config,
    environment: &Environment,
    account: Option<&String>,
    role: &cluster::Role<'_>,
) -> anyhow::Result<Vec<Finding>> {
    match key_file(environment, config) {
        // Those of whoever impersonates it are not the role's.
        Some(finding) if account.is_none() => Ok(vec![finding]),
        Some(_) | None => cluster::probe(config, account, role).await,
    }
}

/// Why the role itself would not start.
fn not_started(role: &str, path: &Path, error: &(dyn std::error::Error + 'static)) -> Finding {
    let shown = path.display().to_string();
    let token =
        "# set BRANCHLINE_GITLAB_TOKEN, or BRANCHLINE_GITLAB_TOKEN_FILE to a file that holds it";
    let fix = match error.downcast_ref() {
        Some(branchline_worker::Error::Trust(TrustError::File { path, .. })) => {
            format!("cat >{} <<'EOF'\n{MINIMAL_POLICY}\nEOF", quote(&path.display().to_string()))
        }
        Some(branchline_worker::Error::Trust(TrustError::NoToken)) => token.to_owned(),
        _ if error.is::<TokenError>() => token.to_owned(),
        _ => format!("# change {shown}, and what it names"),
    };
    Finding::wrong("config", format!("a {role} with {shown} does not start"), chain(error), fix)
}

async fn in_time(look: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    tokio::time::timeout(TIME_MAX, look)
        .await
        .unwrap_or_else(|_| vec![gitlab::silent("GitLab", "no answer within 2.5 s".to_owned())])
}

/// What a worker works with, by its configuration.
pub(crate) fn of_worker(config: &branchline_worker::Config) -> Things {
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
    things
}

/// The same with what only its jobs and their policy name.
fn with_jobs(mut things: Things, jobs: &Jobs) -> Things {
    let Jobs { artifact_bucket, training_project, training_account, .. } = jobs;
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
    let gitlab = async {
        let client = match reporting_token(environment) {
            Ok(token) => Client::new(&config.gitlab, token),
            Err(error) => return vec![not_started("notifier", path, &error)],
        };
        match &client {
            Ok(client) => gitlab::token(client, common.gitlab_project, &REPORTS, now).await,
            Err(error) => vec![not_started("notifier", path, error)],
        }
    };
    let role = cluster::Role {
        grants: &Grants::read().notifier,
        subscription: &config.subscription,
        dead_letter_topic: &config.dead_letter_topic,
        attempts_max: config.consume.attempts_max.get(),
        ordered: true,
        things: of_notifier(&config),
        training_projects: &[],
        regions: &BTreeSet::new(),
    };
    let google = google(&config.google, environment, account, &role);
    let (gitlab, google) = futures::join!(in_time(gitlab), google);
    Ok(gitlab.into_iter().chain(google?).collect())
}

/// What is wrong with both together: a worker that names operators takes requests from nobody else.
pub(super) fn both(
    worker: &Path,
    notifier: &Path,
    account: Option<&String>,
) -> anyhow::Result<Option<Finding>> {
    let told: branchline_worker::Config = load(worker)?;
    let config: branchline_notifier::Config = load(notifier)?;
    let (Some(roster), Some(asks)) = (told.operators, config.merge_requests) else {
        return Ok(None);
    };
    let (worker, notifier) = (worker.display(), notifier.display());
    let stranger = account.filter(|it| !roster.members.contains_key(*it));
    let (why, fix) = match (&asks.audience, stranger) {
        (None, _) => (
            format!("{worker} names operators, and {notifier} has no merge_requests.audience"),
            format!("# add merge_requests.audience to {notifier}, one of {:?}", roster.audiences),
        ),
        (Some(it), _) if !roster.audiences.contains(it) => (
            format!("{worker} does not have the audience {it} among those of operators"),
            format!("# add it to operators.audiences of {worker}"),
        ),
        (Some(_), Some(account)) => (
            format!("{worker} does not have {account} among the operators"),
            format!("# add {account}: {{}} to operators.members of {worker}"),
        ),
        (Some(_), None) => return Ok(None),
    };
    let what = "a merge request that is closed does not end its run, for the notifier's request is refused";
    Ok(Some(Finding::wrong("operators", what, why, fix)))
}

/// What a notifier works with, by its configuration.
pub(crate) fn of_notifier(config: &branchline_notifier::Config) -> Things {
    let mut things = Things::new();
    things.insert(On::Subscription, vec![Resource::Subscription(config.subscription.clone())]);
    things.insert(On::DeadLetterTopic, vec![Resource::Topic(config.dead_letter_topic.clone())]);
    things.insert(On::LedgerBucket, vec![Resource::Bucket(config.ledger_bucket.clone())]);
    if let Some(it) = &config.merge_requests {
        things.insert(On::QueueBucket, vec![Resource::Bucket(it.queue_bucket.clone())]);
        things.insert(On::RequestBucket, vec![Resource::Bucket(it.request_bucket.clone())]);
    }
    things
}
