//! What each part of an installation has to be allowed, from `deploy/grants.yaml`, and what of it
//! an account lacks.

use std::collections::BTreeMap;

use branchline_gcp::iam::{Caller, Iam, Refusal, Resource};
use futures::future::join_all;
use serde::Deserialize;

use super::finding::Finding;
use super::quote::quote;

const GRANTS: &str = include_str!("../../../../deploy/grants.yaml");

/// Roles by part of an installation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grants {
    pub ci: Vec<Grant>,
    pub worker: Vec<Grant>,
    pub notifier: Vec<Grant>,
    pub service_agent: Vec<Grant>,
}

/// One role on one thing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    pub on: On,
    pub role: String,
    pub permissions: Vec<String>,
}

/// What a role is granted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum On {
    ArtifactTopic,
    ArtifactBucket,
    LedgerBucket,
    QueueBucket,
    RequestBucket,
    OutputBucket,
    StagingBucket,
    RunEventTopic,
    DeadLetterTopic,
    Subscription,
    TrainingProject,
    TrainingAccount,
}

/// The things of an installation; of some there are several, of others none is named.
pub(crate) type Things = BTreeMap<On, Vec<Resource>>;

impl Grants {
    pub(crate) fn read() -> Self {
        serde_saphyr::from_str(GRANTS).expect("a test reads it")
    }
}

/// A finding for each role that an account lacks. `member` is how IAM names the account.
pub(crate) async fn missing(
    iam: &Iam,
    caller: &Caller,
    grants: &[Grant],
    things: &Things,
    member: &str,
) -> Vec<Finding> {
    // One question for each thing, about all that is wanted there.
    let mut wanted: BTreeMap<&Resource, Vec<&Grant>> = BTreeMap::new();
    for grant in grants {
        for resource in things.get(&grant.on).into_iter().flatten() {
            wanted.entry(resource).or_default().push(grant);
        }
    }
    let looks = wanted.into_iter().map(|(resource, grants)| async move {
        let mut permissions: Vec<_> = grants.iter().flat_map(|it| it.permissions.clone()).collect();
        permissions.sort();
        permissions.dedup();
        match iam.held(caller, resource, &permissions).await {
            Ok(held) => grants
                .into_iter()
                .filter_map(|grant| {
                    let lacks: Vec<_> =
                        grant.permissions.iter().filter(|it| !held.contains(*it)).collect();
                    let first = lacks.first()?;
                    Some(lack(resource, grant, first, member))
                })
                .collect(),
            Err(error) => vec![not_tested(resource, &error)],
        }
    });
    join_all(looks).await.into_iter().flatten().collect()
}

fn lack(resource: &Resource, grant: &Grant, first: &str, member: &str) -> Finding {
    Finding::wrong(
        "permission",
        format!("{member} lacks {first} on {resource}"),
        format!("it needs {} there", grant.role),
        bind(resource, &grant.role, member),
    )
}

fn not_tested(resource: &Resource, error: &Refusal) -> Finding {
    match error {
        Refusal::Said { status: 404, .. } => Finding::wrong(
            "missing",
            format!("{resource} does not exist"),
            error.to_string(),
            create(resource),
        ),
        Refusal::Said { status: 403, reason, message } if reason == "SERVICE_DISABLED" => {
            disabled(message)
        }
        Refusal::Said { .. } | Refusal::Silent(_) => Finding::unknown(
            "permission",
            format!("permissions on {resource} could not be tested"),
            error.to_string(),
        ),
    }
}

/// Google's text names project and API.
pub(crate) fn disabled(message: &str) -> Finding {
    let between = |before: &str, after: char| {
        let (_, rest) = message.split_once(before)?;
        rest.split(after).next().map(str::to_owned)
    };
    let service = between("apis/api/", '/').unwrap_or_else(|| "SERVICE".to_owned());
    let project = between("?project=", ' ').unwrap_or_else(|| "PROJECT".to_owned());
    Finding::wrong(
        "api",
        format!("the API {service} is disabled in project {project}"),
        "every call to it is refused",
        format!("gcloud services enable {} --project={}", quote(&service), quote(&project)),
    )
}

/// The command that grants a role.
pub(crate) fn bind(resource: &Resource, role: &str, member: &str) -> String {
    let (what, name) = match resource {
        Resource::Project(id) => ("projects", id.clone()),
        Resource::Bucket(name) => ("storage buckets", format!("gs://{name}")),
        Resource::Topic(name) => ("pubsub topics", name.clone()),
        Resource::Subscription(name) => ("pubsub subscriptions", name.clone()),
        Resource::ServiceAccount(email) => ("iam service-accounts", email.clone()),
    };
    format!(
        "gcloud {what} add-iam-policy-binding {} --member={} --role={role}",
        quote(&name),
        quote(member)
    )
}

fn create(resource: &Resource) -> String {
    match resource {
        Resource::Project(id) => format!("gcloud projects describe {}", quote(id)),
        Resource::Bucket(name) => {
            let bucket = quote(&format!("gs://{name}"));
            format!("gcloud storage buckets create {bucket} --uniform-bucket-level-access")
        }
        Resource::Topic(name) => format!("gcloud pubsub topics create {}", quote(name)),
        Resource::Subscription(name) => {
            format!("gcloud pubsub subscriptions create {} --topic=TOPIC", quote(name))
        }
        Resource::ServiceAccount(email) => {
            let (id, rest) = email.split_once('@').unwrap_or((email, ""));
            let project = rest.split('.').next().unwrap_or_default();
            format!("gcloud iam service-accounts create {} --project={}", quote(id), quote(project))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grants_of_deploy_are_read() {
        let Grants { ci, worker, notifier, service_agent } = Grants::read();
        for part in [ci, worker, notifier, service_agent] {
            assert!(!part.is_empty());
            for Grant { role, permissions, .. } in part {
                assert!(role.starts_with("roles/") && !permissions.is_empty(), "{role}");
            }
        }
    }

    #[test]
    fn a_disabled_api_is_named_with_its_project() {
        let text = "Vertex AI API has not been used in project 42 before or it is disabled. \
                    Enable it by visiting https://console.developers.google.com/apis/api/\
                    aiplatform.googleapis.com/overview?project=42 then retry.";
        let fix = disabled(text).fix.unwrap();
        assert_eq!(fix, "gcloud services enable aiplatform.googleapis.com --project=42");
    }
}
