//! Whom a worker believes, and what it lets in: the keys of GitLab instances, and the policy.

use std::path::PathBuf;
use std::sync::Arc;

use branchline_gitlab::signing_keys::{Issuer, Misconfigured, Prove, SigningKeys};
use branchline_policy::Policy;
use serde::Deserialize;

use crate::config::Config;

/// What a policy looks like at least.
const MINIMAL: &str = "rules:
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
    #[error("the policy {path} cannot be read: {why}; a minimal one is:\n{MINIMAL}")]
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
}

impl Trust {
    /// Reads the policy. Keys are fetched when a token asks for them.
    pub fn load(config: &Config) -> Result<Self, Error> {
        if config.identity.issuers.is_empty() {
            return Err(Error::Nobody);
        }
        let keys = SigningKeys::new(&config.identity.issuers, &config.identity.audience)?;
        let path = || config.policy.clone();
        let text = std::fs::read_to_string(&config.policy)
            .map_err(|why| Error::File { path: path(), why })?;
        let policy = Policy::parse(&text).map_err(|why| Error::Policy { path: path(), why })?;
        Ok(Self { keys: Arc::new(keys), policy: Arc::new(policy) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimal_policy_is_one() {
        Policy::parse(MINIMAL).unwrap();
    }
}
