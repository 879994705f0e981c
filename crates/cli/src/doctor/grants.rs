//! What each part of an installation has to be allowed, from `deploy/grants.yaml`, and what of it
//! an account lacks.

use std::collections::BTreeMap;

use branchline_gcp::iam::{Caller, Iam, Refusal, Resource};
use futures::future::join_all;
use serde::Deserialize;

use super::finding::Finding;
use super::quote::quote;

/// What each part of an installation may do.
pub(crate) const GRANTS: &str = include_str!("../../../../deploy/grants.yaml");

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
    DeadLetterSubscription,
    DeadLetterBucket,
    Subscription,
    TrainingProject,
    TrainingAccount,
}

/// How IAM names an account, or why it is not known.
pub(crate) type Member = Result<String, &'static str>;

/// The things of an installation; of some there are several, of others none is named.
pub(crate) type Things = BTreeMap<On, Vec<Resource>>;

impl Grants {
    pub(crate) fn read() -> Self {
        serde_saphyr::from_str(GRANTS).expect("a test reads it")
    }
}

/// A finding for each role that an account, `member`, lacks. `own` is whoever looks, who may see more.
pub(crate) async fn missing(
    iam: &Iam,
    own: &Caller,
    caller: &Caller,
    grants: &[Grant],
    things: &Things,
    member: &Member,
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
        let held = match iam.held(caller, resource, &permissions).await {
            Ok(held) if held.is_empty() && !is_there(iam, own, resource).await => {
                let why = "Pub/Sub knows none of that name";
                return vec![absent(resource, why.to_owned())];
            }
            held => held,
        };
        match held {
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

/// Who may not know takes it to be there.
async fn is_there(iam: &Iam, own: &Caller, resource: &Resource) -> bool {
    match resource {
        Resource::Topic(_) | Resource::Subscription(_) => {
            iam.exists(own, resource).await.unwrap_or(true)
        }
        Resource::Project(_) | Resource::Bucket(_) | Resource::ServiceAccount(_) => true,
    }
}

fn lack(resource: &Resource, grant: &Grant, first: &str, member: &Member) -> Finding {
    let role = &grant.role;
    let (name, fix) = match member {
        Ok(member) => (member.as_str(), bind(resource, role, member)),
        Err(why) => ("the account", format!("# {role} on {resource}, for the account: {why}")),
    };
    let what = format!("{name} lacks {first} on {resource}");
    Finding::wrong("permission", what, format!("it needs {role} there"), fix)
}

fn not_tested(resource: &Resource, error: &Refusal) -> Finding {
    match error {
        Refusal::Said { status: 404, .. } => absent(resource, error.to_string()),
        Refusal::Said { status: 403, reason, message } if reason == "SERVICE_DISABLED" => {
            disabled(resource, message)
        }
        Refusal::Said { .. } | Refusal::Silent(_) | Refusal::Unusable(_) => Finding::unknown(
            "permission",
            format!("permissions on {resource} could not be tested"),
            error.to_string(),
        ),
    }
}

fn absent(resource: &Resource, why: String) -> Finding {
    Finding::wrong("missing", format!("{resource} does not exist"), why, create(resource))
}

/// Google's text names the API, and the project that has to switch it on, by its number. That is the
/// caller's for IAM and Resource Manager, and not the one that is looked at.
pub(crate) fn disabled(resource: &Resource, message: &str) -> Finding {
    let between = |before: &str| {
        let (_, rest) = message.split_once(before)?;
        rest.split(|it: char| !it.is_ascii_alphanumeric() && !"-.:".contains(it)).next()
    };
    let project = match resource {
        // The same by its id, as others tell it.
        Resource::Topic(name) | Resource::Subscription(name) => name.split('/').nth(1),
        Resource::Project(_) | Resource::Bucket(_) | Resource::ServiceAccount(_) => {
            between("?project=")
        }
    };
    match (between("apis/api/"), project) {
        (Some(service), Some(project)) => off(service, project),
        _ => Finding::unknown("api", format!("an API that {resource} needs is disabled"), message),
    }
}

/// An API that nobody can call.
pub(crate) fn off(service: &str, project: &str) -> Finding {
    Finding::wrong(
        "api",
        format!("the API {service} is disabled in project {project}"),
        "every call to it is refused",
        format!("gcloud services enable {} --project={}", quote(service), quote(project)),
    )
}

/// The command that grants a role, to whoever has it on no condition. Pub/Sub knows none, and
/// gcloud asks for one wherever another binding has one.
pub(crate) fn bind(resource: &Resource, role: &str, member: &str) -> String {
    let (what, name, condition) = match resource {
        Resource::Project(id) => ("projects", id.clone(), " --condition=None"),
        Resource::Bucket(name) => ("storage buckets", format!("gs://{name}"), " --condition=None"),
        Resource::Topic(name) => ("pubsub topics", name.clone(), ""),
        Resource::Subscription(name) => ("pubsub subscriptions", name.clone(), ""),
        Resource::ServiceAccount(email) => {
            ("iam service-accounts", email.clone(), " --condition=None")
        }
    };
    format!(
        "gcloud {what} add-iam-policy-binding {} --member={} --role={role}{condition}",
        quote(&name),
        quote(member)
    )
}

fn create(resource: &Resource) -> String {
    match resource {
        Resource::Project(id) => format!("# is {id} the project's id, and not its name?"),
        Resource::Bucket(name) => {
            let bucket = quote(&format!("gs://{name}"));
            format!(
                "# if that is its name; with --location where it is not to be in the US\n\
                 gcloud storage buckets create {bucket} --uniform-bucket-level-access"
            )
        }
        Resource::Topic(name) => format!("gcloud pubsub topics create {}", quote(name)),
        Resource::Subscription(name) => {
            format!("# if that is its name, make {name} as docs/by-hand.md says")
        }
        Resource::ServiceAccount(email) => {
            let (id, rest) = email.split_once('@').unwrap_or((email, ""));
            match rest.strip_suffix(".iam.gserviceaccount.com") {
                Some(project) => format!(
                    "gcloud iam service-accounts create {} --project={}",
                    quote(id),
                    quote(project)
                ),
                None => format!("# is {email} the account's address?"),
            }
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
    fn a_disabled_api_is_named_with_the_project_that_calls_it() {
        let text = "Vertex AI API has not been used in project 42 before or it is disabled. \
                    Enable it by visiting https://console.developers.google.com/apis/api/\
                    aiplatform.googleapis.com/overview?project=42 then retry.";
        let named = [
            (Resource::Project("ml".to_owned()), "42"),
            (Resource::Bucket("b".to_owned()), "42"),
            (Resource::Topic("projects/ml/topics/t".to_owned()), "ml"),
            (Resource::ServiceAccount("w@ml.iam.gserviceaccount.com".to_owned()), "42"),
        ];
        for (resource, project) in named {
            let fix =
                format!("gcloud services enable aiplatform.googleapis.com --project={project}");
            assert_eq!(disabled(&resource, text).fix, Some(fix), "{resource}");
        }
        let bucket = Resource::Bucket("b".to_owned());
        assert_eq!(disabled(&bucket, "it is disabled").fix, None);
    }
}
