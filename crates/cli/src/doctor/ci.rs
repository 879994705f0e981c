//! The CI job's side: its two ID tokens, the credential file, what the identity provider makes of
//! the token, and what the account that comes out of it may do.

use std::path::PathBuf;

use branchline_gcp::iam::{Caller, Iam, Provider, Refusal, Resource};
use branchline_policy::federation;
use jiff::Timestamp;

use super::credentials::{self, Credentials};
use super::finding::Finding;
use super::grants::{self, Grants, Member, Things};
use super::job_token::{age, audience, clock, decode, is_fork, text, time, wanted};
use super::pool::ProviderName;
use super::provider::{flag, of_provider, of_text, unreachable};
use super::whoami;

const OURS: &str = "BRANCHLINE_ID_TOKEN";
const THEIRS: &str = "the token in credential_source.file";
const BY_PROJECT: &str = "attribute.project_id";
const BECOME: &str = "roles/iam.workloadIdentityUser";

/// What the job has.
pub(crate) struct Job {
    /// Its token for Branchline.
    pub token: Option<String>,
    /// The audience of that.
    pub audience: String,
    /// Its credential file.
    pub credentials: Option<PathBuf>,
    /// The provider as gcloud describes it, where Google does not let us ask.
    pub provider: Option<Provider>,
    /// The command that looks again, with the provider.
    pub again: String,
    /// What is said of a key that the libraries would find without being told.
    pub key_file: Option<Finding>,
    /// What it publishes to and writes.
    pub things: Things,
}

/// Probes every hop, up to the first of each kind that bars the way.
pub(crate) async fn probe(iam: &Iam, job: &Job, now: Timestamp) -> Vec<Finding> {
    let mut found = ours(job, now);
    match own_account(iam, job, now).await {
        Ok((caller, member)) => {
            found.extend(
                grants::missing(iam, &caller, &caller, &Grants::read().ci, &job.things, &member)
                    .await,
            );
        }
        Err(more) => found.extend(more),
    }
    if found.iter().all(|it| it.check != "clock") {
        found.extend(clock(iam.ahead()));
    }
    found
}

/// The token that goes along with messages.
fn ours(job: &Job, now: Timestamp) -> Vec<Finding> {
    let Some(token) = &job.token else {
        return vec![Finding::wrong(
            "token",
            format!("{OURS} is not set"),
            "no worker takes a request without it",
            wanted(OURS, &job.audience),
        )];
    };
    let Some(claims) = decode(token) else {
        return vec![Finding::wrong(
            "token",
            format!("{OURS} is no token"),
            "GitLab sets it where a job asks for it by id_tokens, and nowhere else",
            wanted(OURS, &job.audience),
        )];
    };
    audience(OURS, &claims, &job.audience).into_iter().chain(time(OURS, &claims, now)).collect()
}

/// Becomes whom the credential file says, and tells how IAM names that.
async fn own_account(
    iam: &Iam,
    job: &Job,
    now: Timestamp,
) -> Result<(Caller, Member), Vec<Finding>> {
    let Some(path) = &job.credentials else {
        return match &job.key_file {
            Some(finding) => Err(vec![finding.clone()]),
            None => machine(iam).await,
        };
    };
    let shown = job.provider.as_ref().map(|it| it.name.as_str()).filter(|it| !it.is_empty());
    let read = credentials::read(iam, path, shown).map_err(|it| vec![it])?;
    let caller = match iam.exchange(&read.audience, &read.token).await {
        Ok(caller) => caller,
        Err(refusal) => return Err(refused(job, &read, &refusal, now)),
    };
    let Some(email) = &read.account else {
        return Ok((caller, federated(job.provider.as_ref(), &read)));
    };
    match iam.impersonate(&caller, email).await {
        Ok(caller) => Ok((caller, Ok(format!("serviceAccount:{email}")))),
        Err(refusal) => Err(vec![not_impersonated(job, &read, email, &refusal)]),
    }
}

/// The runner's own account, as in a pod with Workload Identity: then no token is exchanged.
async fn machine(iam: &Iam) -> Result<(Caller, Member), Vec<Finding>> {
    match iam.own().await {
        Ok(caller) => Ok((caller, whoami(iam).await)),
        Err(_) => Err(vec![credentials::none()]),
    }
}

/// How IAM names a job that becomes no service account: all jobs of its project, where the provider
/// maps that, or else this one.
fn federated(provider: Option<&Provider>, read: &Credentials) -> Member {
    if is_fork(&read.claims) {
        return Err("a fork's pipeline, to which nothing should be granted");
    }
    let provider = provider.ok_or("--provider shows me how IAM names it")?;
    let mapped = federation::map(&provider.mapping, &read.claims);
    let value = |name: &str| mapped.get(name).and_then(|it| it.clone().ok());
    let name = &read.provider;
    match (of_project(provider), value(BY_PROJECT), value("google.subject")) {
        (Some(true), Some(id), _) => Ok(name.attribute("project_id", &id)),
        (_, _, Some(subject)) => Ok(name.principal(&subject)),
        _ => Err("whose name cannot be evaluated here"),
    }
}

/// Whether the provider maps the project's id to the attribute of that name; nothing where it maps
/// nothing to it.
fn of_project(provider: &Provider) -> Option<bool> {
    let (_, cel) = provider.mapping.iter().find(|(name, _)| name == BY_PROJECT)?;
    Some(matches!(cel.as_str(), "assertion.project_id" | "assertion.job_project_id"))
}

/// Why the Security Token Service refused, from what it says and from what is known without it.
fn refused(job: &Job, read: &Credentials, refusal: &Refusal, now: Timestamp) -> Vec<Finding> {
    let Refusal::Said { message, .. } = refusal else {
        return vec![Finding::unknown("exchange", "Google was not reached", refusal.to_string())];
    };
    let Credentials { provider: name, claims, write, .. } = read;
    let late = time(THEIRS, claims, now).or_else(|| age(THEIRS, claims, now));
    let mut found: Vec<_> = late.into_iter().collect();
    found.extend(job.provider.iter().flat_map(|it| of_provider(it, name, claims, message)));
    if message.contains("Error connecting to the given credential's issuer") {
        found.push(unreachable(name, text(claims, "iss")));
    }
    // The provider is there and works, so it is not that which is off.
    if found.is_empty() && job.provider.is_some() && message.contains("parameters is invalid") {
        found.push(name.pool_off());
    }
    if found.is_empty() {
        found = of_text(name, claims, message, &look(job, name), write);
    }
    if found.is_empty() {
        let what = "Google does not take the job's token";
        found.push(Finding::wrong("exchange", what, message.clone(), look(job, name)));
    }
    found
}

/// How to find out more.
fn look(job: &Job, name: &ProviderName) -> String {
    let Job { again, provider, .. } = job;
    let why = match provider {
        Some(_) => {
            "# nothing of what --provider shows explains it: is that how the provider is now?"
        }
        None => "# names the cause",
    };
    format!("{why}\n{}\n{again}", name.describe())
}

fn not_impersonated(job: &Job, read: &Credentials, email: &str, refusal: &Refusal) -> Finding {
    let Refusal::Said { status, reason, message } = refusal else {
        return Finding::unknown("impersonation", "Google was not reached", refusal.to_string());
    };
    let resource = Resource::ServiceAccount(email.to_owned());
    if reason == "SERVICE_DISABLED" {
        return grants::disabled(&resource, message);
    }
    if !matches!(status, 403 | 404) {
        return Finding::unknown("impersonation", format!("no token of {email}"), message.clone());
    }
    let (why, fix) = let_in(job.provider.as_ref(), read, &resource);
    let what = format!("the job may not become {email}");
    Finding::wrong("impersonation", what, format!("{message}; {why}"), fix)
}

/// Why a job may not become a service account, and how the jobs of its project are let in.
fn let_in(provider: Option<&Provider>, read: &Credentials, account: &Resource) -> (String, String) {
    let Credentials { provider: name, claims, .. } = read;
    let needs = format!("it needs {BECOME} there");
    let project = text(claims, "project_id");
    if is_fork(claims) {
        let why = "it runs for a fork's merge request".to_owned();
        let fix = "# a fork's pipeline: its project in the token is the fork, which nobody should let \
                   in; run the job in the project itself";
        return (why, fix.to_owned());
    }
    if project.is_empty() {
        return (needs, format!("# there is no project_id in the token, and {BECOME} goes by it"));
    }
    let bind = |value: &str| grants::bind(account, BECOME, &name.attribute("project_id", value));
    let Some(provider) = provider else {
        let fix = format!("# if the provider maps assertion.project_id to {BY_PROJECT}\n");
        return (needs, fix + &bind(project));
    };
    let mapped = federation::map(&provider.mapping, claims).remove(BY_PROJECT);
    match (of_project(provider), mapped) {
        (None, _) | (_, None) => {
            let mut mapping = provider.mapping.clone();
            mapping.push((BY_PROJECT.to_owned(), "assertion.project_id".to_owned()));
            let why = format!("{name} maps nothing to {BY_PROJECT}, so no binding by project fits");
            (why, format!("{}\n{}", name.update(&flag(&mapping)), bind(project)))
        }
        (Some(true), Some(Ok(value))) => (needs, bind(&value)),
        (Some(false), Some(Ok(value))) => {
            let said =
                "# whoever has that value of the attribute is let in, which is no project's id";
            (needs, format!("{said}\n{}", bind(&value)))
        }
        (Some(_), Some(Err(why))) => (needs, format!("# {BY_PROJECT} cannot be evaluated: {why}")),
    }
}

#[cfg(test)]
mod tests;
