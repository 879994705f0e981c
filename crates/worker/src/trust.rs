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

impl Trust {
    /// Reads the policy. Keys are fetched when a token asks for them.
    pub fn load(config: &Config, gitlab_token: Option<SecretString>) -> Result<Self, Error> {
        if config.identity.issuers.is_empty() {
            return Err(Error::Nobody);
        }
        let keys = SigningKeys::new(
            &config.identity.issuers,
            std::slice::from_ref(&config.identity.audience),
        )?;
        let path = || config.policy.clone();
        let text = std::fs::read_to_string(&config.policy)
            .map_err(|why| Error::File { path: path(), why })?;
        let policy = Policy::parse(&text).map_err(|why| Error::Policy { path: path(), why })?;
        let gitlab = match (&config.gitlab, gitlab_token) {
            (None, _) => None,
            (Some(address), Some(token)) => Some(Client::new(address, token)?),
            (Some(_), None) => return Err(Error::NoToken),
        };
        let operators = config.operators.as_ref().map(Operators::new).transpose();
        let operators = operators.map_err(Error::Operators)?.map(Arc::new);
        let wanted = policy.approvals();
        if wanted.merge_request > 0 && gitlab.is_none() {
            return Err(Error::Approvals("of merge requests, and gitlab is not set"));
        }
        if policy.names_merge_requests() && gitlab.is_none() {
            return Err(Error::MergeRequests);
        }
        if wanted.operators && operators.is_none() {
            return Err(Error::Approvals("of operators, and operators is not set"));
        }
        if wanted.operators && !operators.as_ref().is_some_and(|it| it.may_approve()) {
            return Err(Error::Approvals("of operators, and operators names no user of GitLab"));
        }
        Ok(Self { keys: Arc::new(keys), policy: Arc::new(policy), gitlab, operators })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimal_policy_is_one() {
        Policy::parse(MINIMAL_POLICY).unwrap();
    }
}
