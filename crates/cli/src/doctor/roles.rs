//! The worker and the notifier, each by its configuration and as its account.

use std::collections::BTreeSet;
use std::path::Path;

use branchline_gcp::iam::{Iam, Resource};
use branchline_gitlab::signing_keys::SigningKeys;
use branchline_gitlab::{AccessLevel, Client};
use branchline_service::config::load;
use jiff::Timestamp;

use super::cluster::Callers;
use super::finding::Finding;
use super::grants::{Grants, On, Things};
use super::{Common, Jobs, cluster, gitlab};
use crate::env::Environment;
use crate::roles::gitlab_token;

pub(super) async fn worker(
    path: &Path,
    jobs: &Jobs,
    account: Option<&String>,
    common: &Common,
    environment: &Environment,
    now: Timestamp,
) -> anyhow::Result<Vec<Finding>> {
    let config: branchline_worker::Config = load(path)?;
    let (things, training_project) = (things(&config, jobs), &jobs.training_project);
    let mut found = Vec::new();
    let keys =
        SigningKeys::new(&config.identity.issuers, std::slice::from_ref(&config.identity.audience));
    let issuers = async {
        match &keys {
            Ok(keys) => gitlab::keys(keys).await,
            Err(error) => vec![Finding::wrong(
                "identity",
                "identity cannot be used",
                error.to_string(),
                "# in worker.yaml, identity",
            )],
        }
    };
    let token = async {
        match (&config.gitlab, gitlab_token(environment)) {
            (Some(address), Ok(Some(token))) => match Client::new(address, token) {
                Ok(client) => {
                    let least = AccessLevel::REPORTER;
                    gitlab::token(&client, common.gitlab_project, "read_api", least, now).await
                }
                Err(_) => Vec::new(),
            },
            _ => Vec::new(),
        }
    };
    let google = async {
        let iam = Iam::new(&config.google)?;
        let (callers, member) = match who(&iam, account).await {
            Ok(who) => who,
            Err(finding) => return anyhow::Ok(vec![finding]),
        };
        let grants = Grants::read().worker;
        let role = cluster::Role {
            grants: &grants,
            subscription: &config.subscription,
            dead_letter_topic: &config.dead_letter_topic,
            attempts_max: config.consume.attempts_max.get(),
            ordered: false,
            things,
            member: &member,
        };
        let mut apis = needed(&config.subscription);
        apis.extend(training_project.iter().map(|it| (it.clone(), "aiplatform.googleapis.com")));
        let (own, apis, regions) = futures::join!(
            cluster::probe(&iam, &callers, &role),
            cluster::apis(&iam, &callers.own, &apis),
            cluster::regions(&config.google, training_project, &config.regions),
        );
        Ok(own.into_iter().chain(apis).chain(regions).collect::<Vec<_>>())
    };
    let (issuers, token, google) = futures::join!(issuers, token, google);
    found.extend(issuers);
    found.extend(token);
    found.extend(google?);
    Ok(found)
}

/// What a worker works with.
fn things(config: &branchline_worker::Config, jobs: &Jobs) -> Things {
    let mut things = Things::new();
    for (on, bucket) in [
        (On::LedgerBucket, &config.ledger_bucket),
        (On::QueueBucket, &config.queue_bucket),
        (On::RequestBucket, &config.request_bucket),
        (On::OutputBucket, &config.output_bucket),
    ] {
        things.insert(on, vec![Resource::Bucket(bucket.clone())]);
    }
    let staging = config.staging.iter().map(|it| Resource::Bucket(it.bucket.clone()));
    things.insert(On::StagingBucket, staging.collect());
    things.insert(On::Subscription, vec![Resource::Subscription(config.subscription.clone())]);
    things.insert(On::DeadLetterTopic, vec![Resource::Topic(config.dead_letter_topic.clone())]);
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
    let token = async {
        let Some(token) = gitlab_token(environment)? else {
            let fix = "export BRANCHLINE_GITLAB_TOKEN_FILE=/run/secrets/gitlab";
            let what = "there is no token for GitLab";
            return anyhow::Ok(vec![Finding::wrong(
                "gitlab-token",
                what,
                "nothing is reported",
                fix,
            )]);
        };
        let client = Client::new(&config.gitlab, token)?;
        let least = AccessLevel::DEVELOPER;
        Ok(gitlab::token(&client, common.gitlab_project, "api", least, now).await)
    };
    let google = async {
        let iam = Iam::new(&config.google)?;
        let (callers, member) = match who(&iam, account).await {
            Ok(who) => who,
            Err(finding) => return anyhow::Ok(vec![finding]),
        };
        let grants = Grants::read().notifier;
        let role = cluster::Role {
            grants: &grants,
            subscription: &config.subscription,
            dead_letter_topic: &config.dead_letter_topic,
            attempts_max: config.consume.attempts_max.get(),
            ordered: true,
            things,
            member: &member,
        };
        let apis = needed(&config.subscription);
        let (own, apis) = futures::join!(
            cluster::probe(&iam, &callers, &role),
            cluster::apis(&iam, &callers.own, &apis),
        );
        Ok(own.into_iter().chain(apis).collect::<Vec<_>>())
    };
    let (token, google) = futures::join!(token, google);
    Ok(token?.into_iter().chain(google?).collect())
}

/// APIs that an installation needs where its subscriptions are.
fn needed(subscription: &str) -> BTreeSet<(String, &'static str)> {
    let project = subscription.split('/').nth(1).unwrap_or_default().to_owned();
    ["pubsub.googleapis.com", "storage.googleapis.com"].map(|it| (project.clone(), it)).into()
}

/// As whom the questions are asked, and how IAM names the role's account.
async fn who(iam: &Iam, account: Option<&String>) -> Result<(Callers, String), Finding> {
    let own = iam.own().await.map_err(|error| {
        let what = "there are no credentials for Google Cloud";
        let fix = "gcloud auth application-default login";
        Finding::wrong("credentials", what, error.to_string(), fix)
    })?;
    let Some(account) = account else {
        let role = own.clone();
        return Ok((Callers { own, role }, "MEMBER".to_owned()));
    };
    let member = format!("serviceAccount:{account}");
    match iam.impersonate(&own, account).await {
        Ok(role) => Ok((Callers { own, role }, member)),
        Err(error) => {
            let what = format!("{account} could not be impersonated, so nothing is known of it");
            Err(Finding::unknown("impersonation", what, error.to_string()))
        }
    }
}
