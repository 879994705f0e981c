//! Everything that the identity side remembers, and what follows from it: who holds which
//! permission, and whose a token is.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::policy::Policy;
use super::principal::Principal;
use super::provider::Provider;
use super::resource::Resource;
use super::roles;
use crate::signer::SigningKey;

/// More tokens than this push the oldest out.
const TOKENS_MAX: usize = 100_000;

#[derive(Default)]
pub(super) struct State {
    /// Whether the services ask for permissions.
    pub(super) enforced: bool,
    /// By number.
    pub(super) projects: BTreeMap<String, Project>,
    /// The number of the first project: that of buckets which say nothing else.
    pub(super) first_project: Option<String>,
    /// Projects of buckets, by the bucket's name.
    pub(super) buckets: BTreeMap<String, String>,
    /// By e-mail.
    pub(super) accounts: BTreeMap<String, Account>,
    /// Whether a pool is disabled, by its name with the project's number.
    pub(super) pools: BTreeMap<String, bool>,
    /// By their names with the project's number.
    pub(super) providers: BTreeMap<String, Provider>,
    /// By the keys of resources.
    pub(super) policies: BTreeMap<String, Policy>,
    /// Custom roles.
    pub(super) roles: BTreeMap<String, BTreeSet<String>>,
    /// Of Google as an issuer; the last one signs.
    pub(super) keys: Vec<SigningKey>,
    /// Whom the metadata server on the main port speaks for.
    pub(super) metadata_account: Option<String>,
    tokens: BTreeMap<String, Token>,
    tokens_issued: u64,
    revision: u64,
}

/// A project.
pub(super) struct Project {
    pub(super) id: String,
    pub(super) created: Timestamp,
    /// APIs that were disabled: all that are known here are enabled at first.
    pub(super) disabled: BTreeSet<String>,
}

/// A service account.
pub(super) struct Account {
    /// Its project's number.
    pub(super) project: String,
}

struct Token {
    who: Principal,
    expires: Timestamp,
    /// Which came first.
    number: u64,
}

impl State {
    /// Whether a binding on the resource or on its project gives the caller a permission.
    pub(super) fn allows(&self, who: Option<&Principal>, permission: &str, on: &Resource) -> bool {
        let project = self.project_of(on).map(|it| format!("projects/{it}"));
        let keys = [on.policy_key(), project];
        let policies = keys.iter().flatten().filter_map(|key| self.policies.get(key));
        let mut bindings = policies.flat_map(|it| &it.bindings);
        bindings.any(|it| self.grants(&it.role, permission) && it.reaches(who, on))
    }

    /// Whether a role includes a permission.
    fn grants(&self, role: &str, permission: &str) -> bool {
        match roles::permissions(role) {
            Some(mut all) => all.any(|it| it == permission),
            None => self.roles.get(role).is_some_and(|it| it.contains(permission)),
        }
    }

    /// Whether there is a role of this name.
    pub(super) fn knows_role(&self, role: &str) -> bool {
        roles::permissions(role).is_some() || self.roles.contains_key(role)
    }

    /// The number of a resource's project.
    pub(super) fn project_of(&self, on: &Resource) -> Option<String> {
        match on {
            Resource::Bucket(bucket) | Resource::Object { bucket, .. } => {
                self.buckets.get(bucket).or(self.first_project.as_ref()).cloned()
            }
            Resource::Account(email) => {
                let known = self.accounts.get(email).map(|it| it.project.clone());
                known.or_else(|| on.project_number())
            }
            Resource::Project(_)
            | Resource::Topic(_)
            | Resource::Subscription(_)
            | Resource::Vertex(_)
            | Resource::Pool(_)
            | Resource::Service(_) => on.project_number(),
        }
    }

    /// Whether an API was disabled in the project of this number.
    pub(super) fn is_disabled(&self, api: &str, project: &str) -> bool {
        self.projects.get(project).is_some_and(|it| it.disabled.contains(api))
    }

    /// An access token, and when it is over.
    pub(super) fn issue(&mut self, who: Principal, seconds: i64) -> (String, Timestamp) {
        // Whole seconds: that is how its end is told.
        let now = Timestamp::now().as_second();
        let expires = Timestamp::from_second(now.saturating_add(seconds)).unwrap_or(Timestamp::MAX);
        if self.tokens.len() == TOKENS_MAX
            && let Some(oldest) =
                self.tokens.iter().min_by_key(|(_, it)| it.number).map(|(it, _)| it.clone())
        {
            self.tokens.remove(&oldest);
        }
        let text = format!("ya29.c.{:032x}{:032x}", fastrand::u128(..), fastrand::u128(..));
        self.tokens_issued += 1;
        self.tokens.insert(text.clone(), Token { who, expires, number: self.tokens_issued });
        (text, expires)
    }

    /// Whose a token is, while it holds. A disabled pool takes its tokens along, a disabled
    /// provider does not.
    pub(super) fn bearer(&self, token: &str) -> Option<Principal> {
        let Token { who, expires, .. } = self.tokens.get(token)?;
        let holds = match who {
            Principal::Federated(it) => self.pools.get(&it.pool) == Some(&false),
            Principal::Account(_) | Principal::User(_) => true,
        };
        (holds && Timestamp::now() < *expires).then(|| who.clone())
    }

    /// Ends all tokens at once.
    pub(super) fn revoke(&mut self) {
        self.tokens.clear();
    }

    /// A number for a policy that has just changed.
    pub(super) fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }
}

/// The number by which Google knows an account for good.
pub(super) fn unique_id(email: &str) -> String {
    let digest = Sha256::digest(email);
    let number = digest.iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    format!("1{number:020}")
}

/// So long before now.
pub(super) fn ago(time: SignedDuration) -> i64 {
    Timestamp::now().as_second().saturating_sub(time.as_secs())
}
