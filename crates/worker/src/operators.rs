//! Who may ask the leader for something: Google accounts by name, each proven by an ID token; and
//! which users of GitLab they are, for nobody approves what they asked for themselves.

use std::collections::BTreeMap;

use branchline_contract::{GitlabHost, IdToken};
use branchline_gitlab::signing_keys::{Issuer, Misconfigured, SigningKeys, Unproven};
use jiff::Timestamp;
use serde::Deserialize;

/// `operators` of the worker's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roster {
    /// E-mail addresses of people and service accounts, each with the id of the same person's user
    /// in every GitLab. Whoever has none there approves none of its runs.
    pub members: Members,
    /// Audiences of their ID tokens, of which each names one.
    pub audiences: Vec<String>,
    /// Who signs these.
    #[serde(default = "Issuer::google")]
    pub issuer: Issuer,
}

type Members = BTreeMap<String, BTreeMap<GitlabHost, u64>>;

/// Tells operators from others.
#[derive(Debug)]
pub struct Operators {
    keys: SigningKeys,
    members: Members,
}

/// Why somebody is not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("it carries no ID token, and operators have to prove who they are")]
    Anonymous,
    #[error(transparent)]
    Unproven(#[from] Unproven),
    #[error("{0} is not among the operators")]
    Stranger(String),
}

impl Error {
    /// Whether the same token may be good later.
    pub(crate) const fn is_transient(&self) -> bool {
        match self {
            Self::Unproven(Unproven::Transient { .. }) => true,
            Self::Anonymous | Self::Unproven(Unproven::Forgery(_)) | Self::Stranger(_) => false,
        }
    }
}

impl Operators {
    /// Nothing is fetched yet.
    pub(crate) fn new(config: &Roster) -> Result<Self, Misconfigured> {
        let keys = SigningKeys::new(std::slice::from_ref(&config.issuer), &config.audiences)?;
        Ok(Self { keys, members: config.members.clone() })
    }

    /// Whether any of them could approve a run.
    pub(crate) fn may_approve(&self) -> bool {
        self.members.values().any(|it| !it.is_empty())
    }

    /// The users of a GitLab that an operator is.
    pub(crate) fn users(&self, operator: &str, host: &GitlabHost) -> Vec<u64> {
        let users = self.members.iter().filter(|(it, _)| it.eq_ignore_ascii_case(operator));
        users.filter_map(|(_, users)| users.get(host).copied()).collect()
    }

    /// The address of whoever made a request at that time, as Google writes it.
    pub(crate) async fn identify(
        &self,
        token: Option<&IdToken>,
        asked: Timestamp,
    ) -> Result<String, Error> {
        let token = token.ok_or(Error::Anonymous)?;
        let account = self.keys.identify(&token.0, asked).await?;
        if !self.members.keys().any(|it| it.eq_ignore_ascii_case(&account.email)) {
            return Err(Error::Stranger(account.email));
        }
        Ok(account.email)
    }
}
