//! The names of a provider of a workload identity pool, and of those whom it lets in.

use std::fmt;

use branchline_gcp::iam::Standing;

use super::finding::Finding;

const HOST: &str = "//iam.googleapis.com/";
const WHERE: &str = "locations/global/workloadIdentityPools";

/// `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProviderName {
    name: String,
    project: String,
    pool: String,
    provider: String,
}

/// A name that is none: what is wrong with it, why, and the one that would do, if it is known.
type Wrong = (String, String, Option<String>);

impl ProviderName {
    /// Reads the `audience` of a credential file. `shown` is the name of the provider that the
    /// doctor was shown, and `anew` makes the command that writes the file for another one.
    pub(crate) fn parse(
        audience: &str,
        shown: Option<&str>,
        anew: impl Fn(&str) -> String,
    ) -> Result<Self, Finding> {
        Self::read(audience).map_err(|(what, why, right)| {
            let fix = match right.as_deref().or(shown) {
                Some(name) => anew(name),
                None => "# write the file anew, for the full name of a provider: the README shows \
                         how, and --provider shows me which"
                    .to_owned(),
            };
            Finding::wrong("provider-name", what, why, fix)
        })
    }

    fn read(audience: &str) -> Result<Self, Wrong> {
        let file = "the credential file's audience";
        let bare = audience.trim_start_matches("https:").trim_start_matches(HOST);
        let parts: Vec<_> = bare.split('/').collect();
        // What is pasted later is made of these, and the file may be anybody's.
        let plain = |it: &&str| {
            !it.is_empty()
                && it.bytes().all(|it| it.is_ascii_alphanumeric() || b"-.:".contains(&it))
        };
        let ["projects", project, "locations", "global", "workloadIdentityPools", pool, rest @ ..] =
            &parts[..]
        else {
            return Err((
                format!("{file} is not the name of a provider"),
                audience.to_owned(),
                None,
            ));
        };
        if !parts.iter().all(plain) {
            return Err((
                format!("{file} is not the name of a provider"),
                audience.to_owned(),
                None,
            ));
        }
        match rest {
            ["providers", provider] if project.bytes().all(|it| it.is_ascii_digit()) => {
                if audience.strip_prefix(HOST) != Some(bare) {
                    let why = format!("the Security Token Service takes a name only: {HOST}…");
                    let what = format!("{file} does not begin with {HOST}");
                    return Err((what, why, Some(bare.to_owned())));
                }
                Ok(Self {
                    name: bare.to_owned(),
                    project: (*project).to_owned(),
                    pool: (*pool).to_owned(),
                    provider: (*provider).to_owned(),
                })
            }
            ["providers", provider] => {
                let number = format!(
                    "$(gcloud projects describe {project} --format='value(projectNumber)')"
                );
                Err((
                    format!("{file} names the project {project} by its id"),
                    "the Security Token Service knows its number only".to_owned(),
                    Some(format!("projects/{number}/{WHERE}/{pool}/providers/{provider}")),
                ))
            }
            [] => Err((
                format!("{file} names the pool {pool} and no provider of it"),
                "tokens are exchanged at a provider".to_owned(),
                None,
            )),
            _ => Err((format!("{file} is not the name of a provider"), audience.to_owned(), None)),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.name
    }

    /// The pool's own name.
    pub(crate) fn pool(&self) -> &str {
        self.name.split("/providers/").next().unwrap_or_default()
    }

    /// The audience of a token for it.
    pub(crate) fn audience(&self) -> String {
        format!("https:{HOST}{}", self.name)
    }

    /// One job's account, as IAM names it.
    pub(crate) fn principal(&self, subject: &str) -> String {
        format!("principal:{HOST}{}/subject/{subject}", self.pool())
    }

    /// Everybody who has an attribute of that value.
    pub(crate) fn attribute(&self, name: &str, value: &str) -> String {
        format!("principalSet:{HOST}{}/attribute.{name}/{value}", self.pool())
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
             --workload-identity-pool={pool} --project={project} --format=json >provider.json"
        )
    }

    /// What is wrong with one that takes no token.
    pub(crate) fn off(&self, standing: Standing) -> Option<Finding> {
        let Self { project, pool, provider, .. } = self;
        let (is, change) = match standing {
            Standing::Active => return None,
            Standing::Disabled => ("disabled", self.update("--no-disabled")),
            Standing::Deleted => (
                "deleted",
                format!(
                    "gcloud iam workload-identity-pools providers undelete {provider} \
                     --location=global --workload-identity-pool={pool} --project={project}"
                ),
            ),
        };
        let fix =
            format!("# only if it is not off on purpose: it lets jobs in again then\n{change}");
        Some(Finding::wrong("provider", format!("{self} is {is}"), "it takes no token", fix))
    }

    /// The same for its pool, which nobody can read in a CI job that was refused.
    pub(crate) fn pool_off(&self) -> Finding {
        let Self { project, pool, .. } = self;
        let on = format!("{pool} --location=global --project={project}");
        let fix = format!(
            "# only if it is not off on purpose: everybody whom its providers let in has access \
             again then\n\
             gcloud iam workload-identity-pools undelete {on}   # if it is deleted\n\
             gcloud iam workload-identity-pools update {on} --no-disabled   # if it is disabled"
        );
        let what = format!("the pool {pool} is disabled or deleted");
        let why = "none of its providers takes a token, and this one is there and works";
        Finding::wrong("pool", what, why, fix)
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the provider {} of pool {}", self.provider, self.pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "projects/7/locations/global/workloadIdentityPools/gitlab/providers/gitlab";

    #[test]
    fn an_audience_is_the_name_of_a_provider_or_told() {
        let host = format!("{HOST}{NAME}");
        assert_eq!(ProviderName::parse(&host, None, str::to_owned).unwrap().as_str(), NAME);
        let by_id = host.replace("projects/7/", "projects/ml/");
        let number = "projects/$(gcloud projects describe ml --format='value(projectNumber)')";
        let pool = host.replace("/providers/gitlab", "");
        let cases = [
            (format!("https:{host}"), "does not begin with", Some(NAME.to_owned())),
            (NAME.to_owned(), "does not begin with", Some(NAME.to_owned())),
            (by_id, "by its id", Some(NAME.replace("projects/7", number))),
            (pool, "names the pool gitlab and no provider", None),
            ("https://gitlab.com".to_owned(), "is not the name of a provider", None),
            (format!("{host};id"), "is not the name of a provider", None),
            (format!("{host}/keys/1"), "is not the name of a provider", None),
        ];
        for (audience, what, right) in cases {
            let found = ProviderName::parse(&audience, None, str::to_owned).unwrap_err();
            assert!(found.what.contains(what), "{audience}: {found:?}");
            let fix = found.fix.unwrap();
            match right {
                Some(right) => assert_eq!(fix, right, "{audience}"),
                None => assert!(fix.starts_with("# "), "{audience}: {fix}"),
            }
            // What was shown is better than nothing.
            let found = ProviderName::parse(&audience, Some(NAME), str::to_owned).unwrap_err();
            assert!(!found.fix.unwrap().starts_with('#'), "{audience}");
        }
    }

    #[test]
    fn what_is_deleted_has_to_be_had_back() {
        let name = ProviderName::parse(&format!("{HOST}{NAME}"), None, str::to_owned).unwrap();
        let fix = |it: Option<Finding>| it.map(|it| it.fix.unwrap());
        assert_eq!(fix(name.off(Standing::Active)), None);
        assert!(fix(name.off(Standing::Disabled)).unwrap().contains(" --no-disabled"));
        assert!(fix(name.off(Standing::Deleted)).unwrap().contains("providers undelete gitlab "));
    }
}
