//! The side of worker and notifier: what their account may do, which APIs are on, and whether the
//! regions are there.

use std::collections::BTreeSet;
use std::time::Duration;

use branchline_contract::{JobKind, Region};
use branchline_gcp::iam::{Caller, Iam, Refusal};
use branchline_gcp::vertex::{Jobs as _, Vertex};
use branchline_gcp::{Class, Config as Google};
use branchline_service::telemetry::chain;
use futures::future::join_all;

use super::finding::{Finding, Level};
use super::grants::{self, Grant, Member, On, Things};
use super::job_token::clock;
use super::{service_agent, subscription, whoami};

/// One role's needs.
pub(crate) struct Role<'a> {
    /// What is granted to it.
    pub grants: &'a [Grant],
    /// Its subscription, `projects/P/subscriptions/S`.
    pub subscription: &'a str,
    /// Where its dead letters go, `projects/P/topics/T`.
    pub dead_letter_topic: &'a str,
    /// Deliveries after which the role itself gives a message up.
    pub attempts_max: u32,
    /// Whether messages of one key have to come in their order.
    pub ordered: bool,
    /// What it works with.
    pub things: Things,
    /// Where its jobs train.
    pub training_projects: &'a [String],
    /// In which regions.
    pub regions: &'a BTreeSet<Region>,
}

/// As whom questions are asked.
struct Callers {
    /// Whoever runs this, who may see more than the role.
    own: Caller,
    /// The role's account, which alone is told what it may do.
    role: Caller,
    /// How IAM names that.
    member: Member,
}

impl Callers {
    /// The role's account is impersonated, unless it is our own.
    async fn find(iam: &Iam, account: Option<&String>) -> Result<Self, Finding> {
        let own = iam.own().await.map_err(|error| {
            let what = "there are no credentials for Google Cloud";
            let fix = "gcloud auth application-default login";
            Finding::wrong("credentials", what, error.to_string(), fix)
        })?;
        let Some(account) = account else {
            let (role, member) = (own.clone(), whoami(iam).await);
            return Ok(Self { own, role, member });
        };
        let member = format!("serviceAccount:{account}");
        match iam.impersonate(&own, account).await {
            Ok(role) => Ok(Self { own, role, member: Ok(member) }),
            Err(error) => {
                let what =
                    format!("{account} could not be impersonated, so nothing is known of it");
                Err(Finding::unknown("impersonation", what, error.to_string()))
            }
        }
    }
}

/// Probes a role.
pub(crate) async fn probe(
    google: &Google,
    account: Option<&String>,
    role: &Role<'_>,
) -> anyhow::Result<Vec<Finding>> {
    let iam = &Iam::new(google)?;
    let callers = match Callers::find(iam, account).await {
        Ok(callers) => callers,
        Err(finding) => return Ok(vec![finding]),
    };
    let Callers { own, role: its, member } = &callers;
    let permissions = async {
        let lost = subscription::dead_letters(iam, own, role).await;
        let mut things = role.things.clone();
        if lost.is_some() {
            // Told with its topic.
            things.remove(&On::DeadLetterSubscription);
        }
        let lacks = grants::missing(iam, own, its, role.grants, &things, member).await;
        lacks.into_iter().chain(lost)
    };
    let (permissions, settings, agent, apis, training) = futures::join!(
        permissions,
        subscription::probe(iam, own, role),
        service_agent::probe(iam, own, role),
        join_all(["pubsub", "storage"].map(|it| api(iam, own, project_of(role.subscription), it))),
        join_all(role.training_projects.iter().map(|it| training(iam, own, google, it, role))),
    );
    let apis = apis.into_iter().flatten().chain(training.into_iter().flatten());
    let found = permissions.chain(settings).chain(agent).chain(apis);
    Ok(found.chain(clock(iam.ahead())).collect())
}

/// Something that may be as it should.
pub(super) fn unseen(check: &'static str, what: &str, why: &Refusal) -> Finding {
    Finding::unknown(check, format!("{what} is not shown to this account"), why.to_string())
}

/// Whether an API is on in a project.
async fn api(iam: &Iam, caller: &Caller, project: &str, name: &str) -> Option<Finding> {
    let service = format!("{name}.googleapis.com");
    match iam.is_enabled(caller, project, &service).await {
        Ok(true) => None,
        Ok(false) => Some(grants::off(&service, project)),
        Err(error) => {
            let what = format!("whether the API {service} is on in project {project}");
            Some(unseen("api", &what, &error))
        }
    }
}

/// Whether Vertex AI is on in a project, and then answers in every region.
async fn training(
    iam: &Iam,
    caller: &Caller,
    google: &Google,
    project: &str,
    role: &Role<'_>,
) -> Vec<Finding> {
    let mut found: Vec<_> = api(iam, caller, project, "aiplatform").await.into_iter().collect();
    if found.iter().all(|it| it.level != Level::Wrong) {
        match Vertex::connect(google).await {
            Ok(vertex) => {
                let looks = role.regions.iter().map(|it| region(&vertex, project, it, iam.left()));
                found.extend(join_all(looks).await.into_iter().flatten());
            }
            Err(error) => {
                let what = format!("Vertex AI in project {project} was not asked");
                found.push(Finding::unknown("region", what, chain(&error)));
            }
        }
    }
    found
}

async fn region(
    vertex: &Vertex,
    project: &str,
    region: &Region,
    left: Duration,
) -> Option<Finding> {
    let unknown = |why: String| {
        let what = format!("whether Vertex AI is in {region} for project {project} is not known");
        Some(Finding::unknown("region", what, why))
    };
    let list = vertex.list(JobKind::CustomJob, project, region.as_str(), "", None);
    let error = match tokio::time::timeout(left, list).await {
        Ok(Ok(_)) => return None,
        Ok(Err(error)) => error,
        Err(_) => return unknown("it did not answer in time".to_owned()),
    };
    let text = chain(&error);
    match error.class() {
        Class::Refused | Class::NotFound | Class::Conflict => Some(wrong_region(region, text)),
        Class::Transient | Class::Quota if text.contains("dns") => Some(wrong_region(region, text)),
        Class::Transient | Class::Quota | Class::Permission => unknown(text),
    }
}

fn wrong_region(region: &Region, why: String) -> Finding {
    Finding::wrong(
        "region",
        format!("there is no Vertex AI in {region}"),
        why,
        "# in worker.yaml, below regions, another one in its place, of \
         https://cloud.google.com/vertex-ai/docs/general/locations",
    )
}

/// The project in the name of a topic or a subscription.
pub(super) fn project_of(name: &str) -> &str {
    name.split('/').nth(1).unwrap_or_default()
}
