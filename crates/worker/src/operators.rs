//! Who may ask the leader for something: Google accounts by name, each proven by an ID token.

use std::collections::BTreeSet;

use branchline_contract::IdToken;
use branchline_gitlab::signing_keys::{Issuer, Misconfigured, SigningKeys, Unproven};
use jiff::Timestamp;
use serde::Deserialize;

/// `operators` of the worker's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roster {
    /// E-mail addresses of people and service accounts.
    pub members: BTreeSet<String>,
    /// Audiences of their ID tokens, of which each names one.
    pub audiences: Vec<String>,
    /// Who signs these.
    #[serde(default = "Issuer::google")]
    pub issuer: Issuer,
}

/// Tells operators from others.
#[derive(Debug)]
pub struct Operators {
    keys: SigningKeys,
    members: BTreeSet<String>,
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
        let members = config.members.iter().map(|it| it.to_ascii_lowercase()).collect();
        Ok(Self { keys, members })
    }

    /// The address of whoever made a request at that time, as Google writes it.
    pub(crate) async fn identify(
        &self,
        token: Option<&IdToken>,
        asked: Timestamp,
    ) -> Result<String, Error> {
        let token = token.ok_or(Error::Anonymous)?;
        let account = self.keys.identify(&token.0, asked).await?;
        if !self.members.contains(&account.email.to_ascii_lowercase()) {
            return Err(Error::Stranger(account.email));
        }
        Ok(account.email)
    }
}
