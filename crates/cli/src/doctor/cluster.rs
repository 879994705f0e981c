//! The side of worker and notifier: what their account may do, how their subscription is set, what
//! Pub/Sub needs to move dead letters, which APIs are on, and whether the regions are there.

use std::collections::BTreeSet;

use branchline_contract::{JobKind, Region};
use branchline_gcp::iam::{Caller, Iam, Refusal, Resource};
use branchline_gcp::vertex::{Jobs as _, Vertex};
use branchline_gcp::{Class, Config as Google};
use futures::future::join_all;
use serde_json::Value;

use super::finding::Finding;
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
    /// How IAM names its account.
    pub member: &'a str,
}

/// As whom questions are asked.
pub(crate) struct Callers {
    /// Whoever runs this, who may see more than the role.
    pub own: Caller,
    /// The role's account, which alone is told what it may do.
    pub role: Caller,
}

/// Probes a role.
pub(crate) async fn probe(iam: &Iam, callers: &Callers, role: &Role<'_>) -> Vec<Finding> {
    let (lacks, settings, agent) = futures::join!(
        grants::missing(iam, &callers.role, role.grants, &role.things, role.member),
        subscription(iam, &callers.own, role),
        service_agent(iam, &callers.own, role),
    );
    lacks.into_iter().chain(settings).chain(agent).collect()
}

/// How the subscription is set. Who may not look at it is told so.
async fn subscription(iam: &Iam, caller: &Caller, role: &Role<'_>) -> Vec<Finding> {
    let name = role.subscription;
    match iam.subscription(caller, name).await {
        Ok(it) => settings(role, &it),
        // That there is none is found with its permissions.
        Err(Refusal::Said { status: 403 | 404, .. }) => Vec::new(),
        Err(error) => {
            vec![Finding::unknown(
                "subscription",
                format!("{name} could not be read"),
                error.to_string(),
            )]
        }
    }
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
    let project = role.subscription.split('/').nth(1).unwrap_or_default();
    let Ok(number) = iam.project_number(caller, project).await else {
        // Who may not see the project could not see its bindings either.
        return Vec::new();
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
            let bindings = iam.bindings(caller, &resource).await.ok()?;
            let has = bindings.iter().any(|(role, member)| *role == grant.role && *member == agent);
            (!has).then(|| {
                Finding::wrong(
                    "service-agent",
                    format!("Pub/Sub itself lacks {} on {resource}", grant.role),
                    "it moves no dead letters, and counts no deliveries",
                    grants::bind(&resource, &grant.role, &agent),
                )
            })
        }
    });
    join_all(looks).await.into_iter().flatten().collect()
}

/// The APIs that are needed, in the project of the subscription and those that train.
pub(crate) async fn apis(
    iam: &Iam,
    caller: &Caller,
    projects: &BTreeSet<(String, &str)>,
) -> Vec<Finding> {
    let looks = projects.iter().map(|(project, service)| async move {
        match iam.is_enabled(caller, project, service).await {
            Ok(false) => Some(Finding::wrong(
                "api",
                format!("the API {service} is disabled in project {project}"),
                "every call to it is refused",
                format!("gcloud services enable {service} --project={project}"),
            )),
            // Who may not look finds out by the calls themselves.
            Ok(true) | Err(_) => None,
        }
    });
    join_all(looks).await.into_iter().flatten().collect()
}

/// Whether Vertex AI answers in every region, in every project that trains.
pub(crate) async fn regions(
    google: &Google,
    projects: &[String],
    regions: &BTreeSet<Region>,
) -> Vec<Finding> {
    let Ok(vertex) = Vertex::connect(google).await else { return Vec::new() };
    let vertex = &vertex;
    let pairs = projects.iter().flat_map(|project| regions.iter().map(move |it| (project, it)));
    let looks = pairs.map(|(project, region)| async move {
        let list = vertex.list(JobKind::CustomJob, project, region.as_str(), "", None);
        let listed = tokio::time::timeout(std::time::Duration::from_millis(2_500), list).await;
        let error = match listed {
            Ok(Ok(_)) => return None,
            Ok(Err(error)) => error,
            Err(_) => {
                let what = format!("Vertex AI in {region} did not answer in time");
                return Some(Finding::unknown("region", what, "2.5 s"));
            }
        };
        let text = branchline_service::telemetry::chain(&error);
        match error.class() {
            // Found with the permissions, and with the APIs.
            Class::Permission => None,
            Class::Refused | Class::NotFound | Class::Conflict => Some(wrong_region(region, text)),
            Class::Transient | Class::Quota if text.contains("dns") => {
                Some(wrong_region(region, text))
            }
            Class::Transient | Class::Quota => Some(Finding::unknown(
                "region",
                format!("Vertex AI in {region} was not reached"),
                text,
            )),
        }
    });
    join_all(looks).await.into_iter().flatten().collect()
}

fn wrong_region(region: &Region, why: String) -> Finding {
    Finding::wrong(
        "region",
        format!("there is no Vertex AI in {region}"),
        why,
        "# in worker.yaml, a region of https://cloud.google.com/vertex-ai/docs/general/locations\nregions: [europe-west4]",
    )
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
            member: "",
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
