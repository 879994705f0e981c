//! The names of a provider of a workload identity pool, and of those whom it lets in.

use std::fmt;

use super::finding::Finding;
use super::quote::quote;

const WHERE: &str = "locations/global/workloadIdentityPools";

/// `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProviderName {
    name: String,
    project: String,
    pool: String,
    provider: String,
}

impl ProviderName {
    /// Reads the `audience` of a credential file, which impersonates that account, if any; what is
    /// wrong with it is a finding.
    pub(crate) fn parse(audience: &str, account: Option<&str>) -> Result<Self, Finding> {
        let account =
            account.map(|it| format!(" --service-account={}", quote(it))).unwrap_or_default();
        let name =
            audience.trim_start_matches("https:").trim_start_matches("//iam.googleapis.com/");
        let parts: Vec<_> = name.split('/').collect();
        // What is pasted later is made of these, and the file may be anybody's.
        let plain = |it: &&str| {
            !it.is_empty()
                && it.bytes().all(|it| it.is_ascii_alphanumeric() || b"-.:".contains(&it))
        };
        let (project, pool, rest) = match &parts[..] {
            [
                "projects",
                project,
                "locations",
                "global",
                "workloadIdentityPools",
                pool,
                rest @ ..,
            ] if parts.iter().all(plain) => (*project, *pool, rest),
            _ => ("NUMBER", "POOL", &["?"][..]),
        };
        let create = |project: &str, provider: &str| {
            format!(
                "gcloud iam workload-identity-pools create-cred-config \
                 projects/{project}/{WHERE}/{pool}/providers/{provider} \
                 --credential-source-file=google-token --output-file=google.json{account}"
            )
        };
        let wrong = |what: String, why: &str, fix: String| {
            Err(Finding::wrong("provider-name", what, why, fix))
        };
        match rest {
            ["providers", provider] if project.bytes().all(|it| it.is_ascii_digit()) => Ok(Self {
                name: name.to_owned(),
                project: project.to_owned(),
                pool: pool.to_owned(),
                provider: (*provider).to_owned(),
            }),
            ["providers", provider] => wrong(
                format!("the credential file's audience names the project {project} by its id"),
                "the Security Token Service knows its number only",
                create(
                    &format!(
                        "$(gcloud projects describe {project} --format='value(projectNumber)')"
                    ),
                    provider,
                ),
            ),
            [] => wrong(
                format!(
                    "the credential file's audience names the pool {pool} and no provider of it"
                ),
                "tokens are exchanged at a provider",
                create(project, "PROVIDER"),
            ),
            _ => wrong(
                "the credential file's audience is not the name of a provider".to_owned(),
                audience,
                create("NUMBER", "PROVIDER"),
            ),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.name
    }

    /// The audience of a token for it.
    pub(crate) fn audience(&self) -> String {
        format!("https://iam.googleapis.com/{}", self.name)
    }

    /// One job's account, as IAM names it.
    pub(crate) fn principal(&self, subject: &str) -> String {
        let Self { project, pool, .. } = self;
        format!(
            "principal://iam.googleapis.com/projects/{project}/{WHERE}/{pool}/subject/{subject}"
        )
    }

    /// Everybody who has an attribute of that value.
    pub(crate) fn attribute(&self, name: &str, value: &str) -> String {
        let Self { project, pool, .. } = self;
        format!(
            "principalSet://iam.googleapis.com/projects/{project}/{WHERE}/{pool}/attribute.{name}/{value}"
        )
    }

    /// The command that changes it.
    pub(crate) fn update(&self, change: &str) -> String {
        let Self { project, pool, provider, .. } = self;
        format!(
            "gcloud iam workload-identity-pools providers update-oidc {provider} --location=global \
             --workload-identity-pool={pool} --project={project} {change}"
        )
    }

    /// The command that shows it, for `--provider`.
    pub(crate) fn describe(&self) -> String {
        let Self { project, pool, provider, .. } = self;
        format!(
            "gcloud iam workload-identity-pools providers describe {provider} --location=global \
             --workload-identity-pool={pool} --project={project} --format=json >provider.json\n\
             branchline doctor ci --provider provider.json   # names the cause"
        )
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the provider {} of pool {}", self.provider, self.pool)
    }
}
