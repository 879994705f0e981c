//! The CI job's side: its two ID tokens, the credential file, what the identity provider makes of
//! the token, and what the account that comes out of it may do.

use std::path::PathBuf;

use branchline_gcp::iam::{Caller, Iam, Provider, Refusal, Resource};
use branchline_policy::federation::{self, Claims};
use jiff::Timestamp;
use serde::Deserialize;

use super::finding::Finding;
use super::grants::{self, Grants, Things};
use super::job_token::{audience, decode, text, time, wanted};
use super::pool::ProviderName;
use super::provider::{mapping, of_provider, of_text, unreachable};

const OURS: &str = "BRANCHLINE_ID_TOKEN";
const THEIRS: &str = "the token in credential_source.file";

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
    /// What it publishes to and writes.
    pub things: Things,
}

/// A credential file of the kind `external_account`, as far as it matters.
#[derive(Debug, Deserialize)]
struct Credentials {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    audience: String,
    #[serde(default)]
    service_account_impersonation_url: Option<String>,
    #[serde(default)]
    credential_source: Source,
}

#[derive(Debug, Default, Deserialize)]
struct Source {
    #[serde(default)]
    file: Option<PathBuf>,
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
) -> Result<(Caller, String), Vec<Finding>> {
    let credentials = read(job)?;
    let account = credentials.impersonated();
    let name = ProviderName::parse(&credentials.audience, account.as_deref());
    let name = name.map_err(|it| vec![it])?;
    let (token, claims) = subject_token(&credentials)?;
    let caller = match iam.exchange(&credentials.audience, &token).await {
        Ok(caller) => caller,
        Err(refusal) => return Err(refused(iam, job, &name, &claims, &refusal, now).await),
    };
    let subject = job.provider.as_ref().and_then(|it| subject(it, &claims));
    let principal = name.principal(subject.as_deref().unwrap_or("SUBJECT"));
    let Some(email) = account else { return Ok((caller, principal)) };
    match iam.impersonate(&caller, &email).await {
        Ok(caller) => Ok((caller, format!("serviceAccount:{email}"))),
        Err(refusal) => Err(vec![not_impersonated(job, &name, &claims, &email, &refusal)]),
    }
}

fn read(job: &Job) -> Result<Credentials, Vec<Finding>> {
    let create = "gcloud iam workload-identity-pools create-cred-config \
                  projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER \
                  --credential-source-file=google-token --output-file=google.json\n\
                  # in .gitlab-ci.yml: variables: {GOOGLE_APPLICATION_CREDENTIALS: google.json}";
    let wrong = |what: String, why: &str| vec![Finding::wrong("credentials", what, why, create)];
    let Some(path) = &job.credentials else {
        let what = "GOOGLE_APPLICATION_CREDENTIALS is not set".to_owned();
        return Err(wrong(what, "nothing says how the job's token becomes an account"));
    };
    let shown = path.display();
    let bytes = std::fs::read(path)
        .map_err(|why| wrong(format!("{shown} cannot be read"), &why.to_string()))?;
    let file: Credentials = serde_json::from_slice(&bytes)
        .map_err(|why| wrong(format!("{shown} is no credential file"), &why.to_string()))?;
    match file.kind.as_str() {
        "external_account" => Ok(file),
        "service_account" => Err(wrong(
            format!("{shown} is the key of a service account"),
            "whoever copies it is the account until somebody notices",
        )),
        other => Err(wrong(
            format!("{shown} holds credentials of the kind {other:?}"),
            "a CI job has an ID token, and external_account is what exchanges it",
        )),
    }
}

impl Credentials {
    /// The service account that the job becomes, if any.
    fn impersonated(&self) -> Option<String> {
        let url = self.service_account_impersonation_url.as_ref()?;
        let (_, account) = url.rsplit_once("/serviceAccounts/")?;
        Some(account.strip_suffix(":generateAccessToken").unwrap_or(account).to_owned())
    }
}

fn subject_token(credentials: &Credentials) -> Result<(String, Claims), Vec<Finding>> {
    let write =
        "# in .gitlab-ci.yml, in the job's script\nprintf %s \"$GOOGLE_ID_TOKEN\" >google-token";
    let wrong = |what: String, why: &str| vec![Finding::wrong("credentials", what, why, write)];
    let Some(path) = &credentials.credential_source.file else {
        return Err(vec![Finding::unknown(
            "credentials",
            "the job's token for Google comes from no file",
            "only credential_source.file is looked at here",
        )]);
    };
    let shown = path.display();
    let token = std::fs::read_to_string(path)
        .map_err(|why| wrong(format!("{shown} cannot be read"), &why.to_string()))?;
    if token.trim() != token {
        return Err(wrong(
            format!("{shown} has white space around its token"),
            "Google's clients send the file as it is, with its line feed",
        ));
    }
    let claims = decode(&token)
        .ok_or_else(|| wrong(format!("{shown} holds no token"), "it is what is exchanged"))?;
    Ok((token, claims))
}

/// Why the Security Token Service refused, from what it says and from what is known without it.
async fn refused(
    iam: &Iam,
    job: &Job,
    name: &ProviderName,
    claims: &Claims,
    refusal: &Refusal,
    now: Timestamp,
) -> Vec<Finding> {
    let Refusal::Said { message, .. } = refusal else {
        return vec![Finding::unknown("exchange", "Google was not reached", refusal.to_string())];
    };
    let described = match &job.provider {
        Some(provider) => Ok(provider.clone()),
        None => match iam.own().await {
            Ok(caller) => iam.provider(&caller, name.as_str()).await,
            Err(error) => Err(error),
        },
    };
    let mut found: Vec<_> = time(THEIRS, claims, now).into_iter().collect();
    match described {
        Ok(provider) => found.extend(of_provider(&provider, name, claims)),
        Err(_) if found.is_empty() => found.extend(of_text(name, claims, message)),
        Err(_) => {}
    }
    if message.contains("Error connecting to the given credential's issuer") {
        found.push(unreachable(name, text(claims, "iss")));
    }
    if found.is_empty() {
        let what = "Google does not take the job's token";
        found.push(Finding::wrong("exchange", what, message.clone(), name.describe()));
    }
    found
}

fn subject(provider: &Provider, claims: &Claims) -> Option<String> {
    federation::map(&provider.mapping, claims).remove("google.subject")?.ok()
}

fn not_impersonated(
    job: &Job,
    name: &ProviderName,
    claims: &Claims,
    email: &str,
    refusal: &Refusal,
) -> Finding {
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
    let provider = job.provider.as_ref();
    let by_project = provider
        .is_some_and(|it| it.mapping.iter().any(|(name, _)| name == "attribute.project_id"));
    // Where the mapping is not known, it is taken to have what the README's has.
    let set = name.attribute("project_id", text(claims, "project_id"));
    if let Some(it) = provider.filter(|_| !by_project) {
        return Finding::wrong(
            "impersonation",
            format!("the job may not become {email}"),
            format!(
                "{message}; {name} maps nothing to attribute.project_id, so no binding by project fits"
            ),
            format!(
                "{}\n{}",
                name.update(&mapping(it, "attribute.project_id")),
                grants::bind(&resource, "roles/iam.workloadIdentityUser", &set)
            ),
        );
    }
    Finding::wrong(
        "impersonation",
        format!("the job may not become {email}"),
        format!("{message}; it needs roles/iam.workloadIdentityUser there"),
        grants::bind(&resource, "roles/iam.workloadIdentityUser", &set),
    )
}
