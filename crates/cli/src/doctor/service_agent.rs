//! Pub/Sub moves dead letters itself, as an account of its own, which needs roles for it.

use branchline_gcp::iam::{Caller, Iam, Refusal, Resource};
use futures::future::join_all;

use super::cluster::{Role, project_of, unseen};
use super::finding::Finding;
use super::grants::{self, Grant, Grants, On};

const CHECK: &str = "service-agent";
/// Roles of Google's that publish and take messages, beside those for that alone.
const ROLES: [&str; 4] =
    ["roles/pubsub.editor", "roles/pubsub.admin", "roles/editor", "roles/owner"];

/// Whether it has them, on the thing itself or on its project.
pub(super) async fn probe(iam: &Iam, caller: &Caller, role: &Role<'_>) -> Vec<Finding> {
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
        let name = match grant.on {
            On::DeadLetterTopic => role.dead_letter_topic,
            _ => role.subscription,
        };
        has(iam, caller, &agent, grant, name)
    });
    join_all(looks).await.into_iter().flatten().collect()
}

async fn has(
    iam: &Iam,
    caller: &Caller,
    agent: &str,
    Grant { on, role, .. }: &Grant,
    name: &str,
) -> Option<Finding> {
    let resource = match on {
        On::DeadLetterTopic => Resource::Topic(name.to_owned()),
        _ => Resource::Subscription(name.to_owned()),
    };
    let project = Resource::Project(project_of(name).to_owned());
    let looks = [&resource, &project].map(|it| iam.bindings(caller, it));
    let answers = join_all(looks).await;
    // Found with the permissions.
    if matches!(answers[0], Err(Refusal::Said { status: 404, .. })) {
        return None;
    }
    let bound = answers.iter().flatten().flatten().filter(|(_, member)| member == agent);
    let bound: Vec<_> = bound.map(|(role, _)| role.as_str()).collect();
    if bound.iter().any(|it| it == role || ROLES.contains(it)) {
        return None;
    }
    let unknown = format!("whether Pub/Sub itself has {role} on {resource}");
    if let Some(error) = answers.iter().find_map(|it| it.as_ref().err()) {
        return Some(unseen(CHECK, &unknown, error));
    }
    if let Some(own) = bound.iter().find(|it| !it.starts_with("roles/")) {
        let what = format!("{unknown} is not known");
        let why = format!("it has {own}, a role of yours, of which nothing is known here");
        return Some(Finding::unknown(CHECK, what, why));
    }
    Some(Finding::wrong(
        CHECK,
        format!("Pub/Sub itself lacks {role} on {resource}"),
        "it moves no dead letters, and counts no deliveries",
        grants::bind(&resource, role, agent),
    ))
}
