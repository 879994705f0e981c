//! The side of worker and notifier: what their account may do, how their subscription is set, what
//! Pub/Sub needs to move dead letters, which APIs are on, and whether the regions are there.

use std::collections::BTreeSet;
use std::time::Duration;

use branchline_contract::{JobKind, Region};
use branchline_gcp::iam::{Caller, Iam, Refusal, Resource};
use branchline_gcp::vertex::{Jobs as _, Vertex};
use branchline_gcp::{Class, Config as Google};
use branchline_service::telemetry::chain;
use futures::future::join_all;
use serde_json::Value;

use super::finding::{Finding, Level};
use super::grants::{self, Grant, Grants, On, Things};

/// Below it a message comes again while it is being handled.
const ACK_SECS_MIN: u64 = 30;

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
    member: String,
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
            let role = own.clone();
            return Ok(Self { own, role, member: "MEMBER".to_owned() });
        };
        let member = format!("serviceAccount:{account}");
        match iam.impersonate(&own, account).await {
            Ok(role) => Ok(Self { own, role, member }),
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
    let (lacks, settings, agent, apis, training) = futures::join!(
        grants::missing(iam, own, its, role.grants, &role.things, member),
        subscription(iam, own, role),
        service_agent(iam, own, role),
        join_all(["pubsub", "storage"].map(|it| api(iam, own, project_of(role.subscription), it))),
        join_all(role.training_projects.iter().map(|it| training(iam, own, google, it, role))),
    );
    let apis = apis.into_iter().flatten().chain(training.into_iter().flatten());
    Ok(lacks.into_iter().chain(settings).chain(agent).chain(apis).collect())
}

/// How the subscription is set.
async fn subscription(iam: &Iam, caller: &Caller, role: &Role<'_>) -> Vec<Finding> {
    let name = role.subscription;
    match iam.subscription(caller, name).await {
        Ok(it) => settings(role, &it),
        // Found with its permissions.
        Err(Refusal::Said { status: 404, .. }) => Vec::new(),
        Err(error) => vec![unseen("subscription", &format!("how {name} is set"), &error)],
    }
}

/// Something that may be as it should.
fn unseen(check: &'static str, what: &str, why: &Refusal) -> Finding {
    Finding::unknown(check, format!("{what} is not shown to this account"), why.to_string())
}

/// Pure: what is wrong with a subscription.
fn settings(role: &Role<'_>, it: &Value) -> Vec<Finding> {
    let name = role.subscription;
    let mut found = Vec::new();
    let mut wrong = |what: String, why: &str, change: String| {
        let fix = format!("gcloud pubsub subscriptions update {name} {change}");
        found.push(Finding::wrong("subscription", what, why, fix));
    };
    let (topic, attempts) = (role.dead_letter_topic, role.attempts_max);
    let dead_letters = format!("--dead-letter-topic={topic} --max-delivery-attempts={attempts}");
    let policy = &it["deadLetterPolicy"];
    if policy["deadLetterTopic"].as_str() != Some(topic) {
        let what = format!("{name} has no dead-letter policy for {topic}");
        let why = "a message that kills its worker comes back for ever";
        wrong(what, why, dead_letters);
    } else if policy["maxDeliveryAttempts"].as_u64() != Some(attempts.into()) {
        let theirs = &policy["maxDeliveryAttempts"];
        let what =
            format!("{name} gives up after {theirs} deliveries, and the role after {attempts}");
        let why = "whoever is first drops the message without the other's reason";
        wrong(what, why, dead_letters);
    }
    if it["retryPolicy"]["maximumBackoff"].is_null() {
        let what = format!("{name} has no retry policy");
        let why = "a message that fails comes back at once, and its attempts are gone in seconds";
        wrong(what, why, "--min-retry-delay=10s --max-retry-delay=600s".to_owned());
    }
    // None at all is Pub/Sub's default of 31 days; one without a ttl is never.
    if it["expirationPolicy"]["ttl"].is_string() {
        let what = format!(
            "{name} is deleted when nobody uses it for {}",
            text(&it["expirationPolicy"]["ttl"])
        );
        let why = "everything in it is lost then";
        wrong(what, why, "--expiration-period=never".to_owned());
    }
    if it["ackDeadlineSeconds"].as_u64().unwrap_or(10) < ACK_SECS_MIN {
        let what = format!("{name} has an ack deadline of {} s", it["ackDeadlineSeconds"]);
        let why = "a pause of a pod makes its messages come again";
        wrong(what, why, "--ack-deadline=60".to_owned());
    }
    if role.ordered && it["enableMessageOrdering"] != true {
        let what = format!("{name} does not keep the order of events");
        let fix = format!(
            "# ordering is set when a subscription is made\n\
             gcloud pubsub subscriptions delete {name}\n\
             gcloud pubsub subscriptions create {name} --topic={} --enable-message-ordering \
             --ack-deadline=60 --expiration-period=never --min-retry-delay=10s \
             --max-retry-delay=600s {dead}",
            text(&it["topic"]),
            dead = format_args!("--dead-letter-topic={topic} --max-delivery-attempts={attempts}"),
        );
        let why = "two notifiers could write two notes";
        found.push(Finding::wrong("subscription", what, why, fix));
    }
    found
}

/// Pub/Sub moves dead letters itself, as an account of its own.
async fn service_agent(iam: &Iam, caller: &Caller, role: &Role<'_>) -> Vec<Finding> {
    const CHECK: &str = "service-agent";
    let project = project_of(role.subscription);
    let number = match iam.project_number(caller, project).await {
        Ok(number) => number,
        Err(error) => {
            return vec![unseen(CHECK, &format!("the number of project {project}"), &error)];
        }
    };
    let agent = format!("serviceAccount:service-{number}@gcp-sa-pubsub.iam.gserviceaccount.com");
    let grants = Grants::read().service_agent;
    let looks = grants.iter().map(|grant| {
        let resource = match grant.on {
            On::DeadLetterTopic => Resource::Topic(role.dead_letter_topic.to_owned()),
            _ => Resource::Subscription(role.subscription.to_owned()),
        };
        let (agent, grant) = (agent.clone(), grant.clone());
        async move {
            let bindings = match iam.bindings(caller, &resource).await {
                Ok(bindings) => bindings,
                // Found with the permissions.
                Err(Refusal::Said { status: 404, .. }) => return None,
                Err(error) => {
                    let what = format!("whether Pub/Sub itself has {} on {resource}", grant.role);
                    return Some(unseen(CHECK, &what, &error));
                }
            };
            let has = bindings.iter().any(|(role, member)| *role == grant.role && *member == agent);
            (!has).then(|| {
                Finding::wrong(
                    CHECK,
                    format!("Pub/Sub itself lacks {} on {resource}", grant.role),
                    "it moves no dead letters, and counts no deliveries",
                    grants::bind(&resource, &grant.role, &agent),
                )
            })
        }
    });
    join_all(looks).await.into_iter().flatten().collect()
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
        "# in worker.yaml, a region of https://cloud.google.com/vertex-ai/docs/general/locations\nregions: [europe-west4]",
    )
}

fn project_of(subscription: &str) -> &str {
    subscription.split('/').nth(1).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_subscription_is_set_as_the_readme_says_or_told() {
        let good = json!({
            "topic": "projects/p/topics/t",
            "ackDeadlineSeconds": 60,
            "enableMessageOrdering": true,
            "expirationPolicy": {},
            "retryPolicy": {"minimumBackoff": "10s", "maximumBackoff": "600s"},
            "deadLetterPolicy": {"deadLetterTopic": "projects/p/topics/d", "maxDeliveryAttempts": 100},
        });
        let role = Role {
            grants: &[],
            subscription: "projects/p/subscriptions/s",
            dead_letter_topic: "projects/p/topics/d",
            attempts_max: 100,
            ordered: true,
            things: Things::new(),
            training_projects: &[],
            regions: &BTreeSet::new(),
        };
        assert_eq!(settings(&role, &good), []);
        let cases = [
            ("/deadLetterPolicy", json!(null), "--dead-letter-topic=projects/p/topics/d"),
            ("/deadLetterPolicy/maxDeliveryAttempts", json!(5), "--max-delivery-attempts=100"),
            ("/retryPolicy", json!(null), "--min-retry-delay=10s"),
            ("/expirationPolicy", json!({"ttl": "2678400s"}), "--expiration-period=never"),
            ("/ackDeadlineSeconds", json!(10), "--ack-deadline=60"),
            ("/enableMessageOrdering", json!(false), "--enable-message-ordering"),
        ];
        for (place, value, fix) in cases {
            let mut bad = good.clone();
            *bad.pointer_mut(place).unwrap() = value;
            let found = settings(&role, &bad);
            let [one] = &found[..] else { panic!("{place}: {found:?}") };
            assert!(one.fix.as_ref().unwrap().contains(fix), "{place}: {one:?}");
        }
    }
}
