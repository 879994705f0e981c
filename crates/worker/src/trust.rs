//! Whom a worker believes, and what it lets in: the keys of GitLab instances, the policy, and
//! those who may approve.

use std::path::PathBuf;
use std::sync::Arc;

use branchline_gitlab::Client;
use branchline_gitlab::signing_keys::{Issuer, Misconfigured, Prove, SigningKeys};
use branchline_policy::Policy;
use secrecy::SecretString;
use serde::Deserialize;

use crate::config::Config;
use crate::operators::Operators;

/// What a policy looks like at least.
pub const MINIMAL_POLICY: &str = "rules:
- name: main-branches
  match: origin.namespace == \"my-group\" && origin.ref_protected == true
  validations:
  - expression: vertex.project == \"my-project\"
    message: jobs run in my-project";

/// `identity` of the worker's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Audience of the ID tokens that CI jobs send: Branchline's own.
    #[serde(default = "default_audience")]
    pub audience: String,
    /// The GitLab instances whose tokens are believed.
    pub issuers: Vec<Issuer>,
}

fn default_audience() -> String {
    "branchline".to_owned()
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Trust {
    /// Tells who approved merge requests.
    pub gitlab: Option<Client>,
    /// Tells whose requests the leader carries out.
    pub operators: Option<Arc<Operators>>,
    /// Tells what an ID token proves.
    pub keys: Arc<dyn Prove>,
    /// Decides who may train.
    pub policy: Arc<Policy>,
}

/// Nobody can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The issuers or the audience cannot be used.
    #[error("identity cannot be used")]
    Identity(#[from] Misconfigured),
    /// Then no message is ever believed.
    #[error("identity has no issuers, so nobody is believed")]
    Nobody,
    /// There is no policy, and without one nothing is let in.
    #[error("the policy {path} cannot be read: {why}; a minimal one is:\n{MINIMAL_POLICY}")]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// It is no policy.
    #[error("the policy {path} cannot be used: {why}")]
    Policy {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        why: branchline_policy::Error,
    },
    /// The operators cannot be told from others.
    #[error("operators cannot be used")]
    Operators(#[source] Misconfigured),
    /// It is asked as somebody.
    #[error(
        "gitlab is set, and there is no token for it: set BRANCHLINE_GITLAB_TOKEN or \
         BRANCHLINE_GITLAB_TOKEN_FILE"
    )]
    NoToken,
    /// The GitLab cannot be asked.
    #[error("gitlab cannot be used")]
    Gitlab(#[from] branchline_gitlab::Error),
    /// What it holds would never be let in.
    #[error("a rule of the policy wants approvals {0}")]
    Approvals(&'static str),
    /// Nobody can tell what it asks.
    #[error("a rule of the policy names merge_requests, and gitlab is not set")]
    MergeRequests,
}

impl Error {
    /// The keys of the configuration that it follows from.
    pub(crate) const fn follows_from(&self) -> &'static [&'static str] {
        match self {
            Self::Identity(_) | Self::Nobody => &["identity"],
            Self::File { .. } | Self::Policy { .. } => &["policy"],
            Self::Operators(_) => &["operators"],
            Self::NoToken | Self::Gitlab(_) => &["gitlab"],
            Self::Approvals(_) => &["policy", "gitlab", "operators"],
            Self::MergeRequests => &["policy", "gitlab"],
        }
    }
}

impl Trust {
    /// Reads the policy. Keys are fetched when a token asks for them. Tells everything that is wrong.
    pub fn load(config: &Config, gitlab_token: Option<SecretString>) -> Result<Self, Vec<Error>> {
        let mut errors = Vec::new();
        let keys = kept(&mut errors, keys(config));
        let policy = kept(&mut errors, policy(config));
        let gitlab = match (&config.gitlab, gitlab_token) {
            (None, _) => Ok(None),
            (Some(address), Some(token)) => {
                Client::new(address, token).map(Some).map_err(Error::from)
            }
            (Some(_), None) => Err(Error::NoToken),
        };
        let gitlab = kept(&mut errors, gitlab);
        let operators = config.operators.as_ref().map(Operators::new).transpose();
        let operators = kept(&mut errors, operators.map_err(Error::Operators));
        if let (Some(policy), Some(operators)) = (&policy, &operators) {
            errors.extend(unanswered(policy, config, operators.as_ref()));
        }
        match (keys, policy, gitlab, operators) {
            (Some(keys), Some(policy), Some(gitlab), Some(operators)) if errors.is_empty() => {
                let (keys, policy) = (Arc::new(keys), Arc::new(policy));
                Ok(Self { keys, policy, gitlab, operators: operators.map(Arc::new) })
            }
            _ => Err(errors),
        }
    }
}

fn kept<T>(errors: &mut Vec<Error>, it: Result<T, Error>) -> Option<T> {
    it.map_err(|error| errors.push(error)).ok()
}

fn keys(config: &Config) -> Result<SigningKeys, Error> {
    let Identity { audience, issuers } = &config.identity;
    if issuers.is_empty() {
        return Err(Error::Nobody);
    }
    Ok(SigningKeys::new(issuers, std::slice::from_ref(audience))?)
}

fn policy(config: &Config) -> Result<Policy, Error> {
    let path = || config.policy.clone();
    let text = std::fs::read_to_string(&config.policy);
    let text = text.map_err(|why| Error::File { path: path(), why })?;
    Policy::parse(&text).map_err(|why| Error::Policy { path: path(), why })
}

/// What a policy asks that nobody is configured to answer.
fn unanswered(policy: &Policy, config: &Config, operators: Option<&Operators>) -> Vec<Error> {
    let wanted = policy.approvals();
    let mut errors = Vec::new();
    if wanted.merge_request > 0 && config.gitlab.is_none() {
        errors.push(Error::Approvals("of merge requests, and gitlab is not set"));
    } else if policy.names_merge_requests() && config.gitlab.is_none() {
        errors.push(Error::MergeRequests);
    }
    if wanted.operators {
        errors.extend(match operators {
            None => Some(Error::Approvals("of operators, and operators is not set")),
            Some(it) if !it.may_approve() => {
                Some(Error::Approvals("of operators, and operators names no user of GitLab"))
            }
            Some(_) => None,
        });
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimal_policy_is_one() {
        Policy::parse(MINIMAL_POLICY).unwrap();
    }
}
