//! Google's identity side: who somebody is, and what they may do.
//!
//! One port has Security Token Service, IAM with its credentials API, Cloud Resource Manager,
//! Service Usage, the keys of Google's ID tokens, and the metadata server of a virtual machine.
//! `caller` is where the other services ask whether a request is allowed; they do so after
//! [`Iam::enforce`] only. Everything is in memory.

mod accounts;
mod api;
mod caller;
mod cel;
mod credentials;
mod exchange;
mod gate;
mod google;
pub(crate) mod grpc;
mod issuer;
mod jwt;
mod metadata;
mod policy;
mod principal;
mod projects;
mod provider;
mod refusal;
mod resource;
mod roles;
mod services;
mod state;
mod sts;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;

pub(crate) use self::api::policy_call;
pub(crate) use self::caller::{Caller, PolicyCall};
pub use self::provider::Provider;
pub(crate) use self::refusal::Refusal;
pub use self::resource::Resource;

use self::policy::Condition;
use self::principal::{Principal, is_member};
use self::state::State;

/// How long tokens last that are not asked for over HTTP.
const LIFETIME_SECS: i64 = 3_600;

/// A handle on the identity side; clones share it.
#[derive(Clone, Default)]
pub struct Iam {
    // Held for the length of one decision.
    state: Arc<Mutex<State>>,
}

/// Why something is refused, in the words of Google's APIs.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(Box<Refusal>);

impl Error {
    fn invalid(why: String) -> Self {
        Refusal::Invalid(why).into()
    }

    pub(crate) fn into_refusal(self) -> Refusal {
        *self.0
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self(Box::new(refusal))
    }
}

impl Iam {
    /// Nobody is known yet, and nobody is asked anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// All of its APIs.
    pub fn router(&self) -> Router {
        api::router(self)
    }

    /// Whether the services ask who sent a request, and whether they may. They do not at first.
    pub fn enforce(&self, on: bool) {
        self.lock().enforced = on;
    }

    /// Gives a member (`serviceAccount:…`, `user:…`, `principal://…`, `principalSet://…`,
    /// `allUsers`) a role on a resource.
    pub fn bind(&self, on: &Resource, role: &str, member: &str) -> Result<(), Error> {
        self.bind_with(on, role, member, None)
    }

    /// The same where a condition holds: CEL over `resource.name`, `.type` and `.service`.
    pub fn bind_if(
        &self,
        on: &Resource,
        role: &str,
        member: &str,
        condition: &str,
    ) -> Result<(), Error> {
        let condition = Condition {
            title: "condition".to_owned(),
            description: String::new(),
            expression: condition.to_owned(),
        };
        condition.check()?;
        self.bind_with(on, role, member, Some(condition))
    }

    fn bind_with(
        &self,
        on: &Resource,
        role: &str,
        member: &str,
        condition: Option<Condition>,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        if !state.knows_role(role) {
            return Err(Error::invalid(format!("Role {role} is not supported for this resource.")));
        }
        if !is_member(member) {
            return Err(Error::invalid(format!("'{member}' is no member of a binding.")));
        }
        let key =
            on.policy_key().ok_or_else(|| Error::invalid(format!("{on:?} has no policy.")))?;
        let revision = state.next_revision();
        let policy = state.policies.entry(key).or_default();
        policy.add(role, member, condition);
        policy.revision = revision;
        Ok(())
    }

    /// Takes a role from a member again.
    pub fn unbind(&self, on: &Resource, role: &str, member: &str) {
        let mut state = self.lock();
        let revision = state.next_revision();
        if let Some(policy) = on.policy_key().and_then(|it| state.policies.get_mut(&it)) {
            policy.remove(role, member);
            policy.revision = revision;
        }
    }

    /// Makes or replaces a custom role, `projects/P/roles/R`.
    pub fn put_role(&self, name: &str, permissions: &[&str]) {
        let permissions = permissions.iter().map(|it| (*it).to_owned()).collect();
        self.lock().roles.insert(name.to_owned(), permissions);
    }

    /// An access token of a service account, as a metadata server would give one to it.
    pub fn account_token(&self, email: &str) -> String {
        self.lock().issue(Principal::Account(email.to_owned()), LIFETIME_SECS).0
    }

    /// An access token of a person, as `gcloud auth print-access-token` gives one.
    pub fn user_token(&self, email: &str) -> String {
        self.lock().issue(Principal::User(email.to_owned()), LIFETIME_SECS).0
    }

    /// Ends all access tokens at once, as if their time were over.
    pub fn revoke_tokens(&self) {
        self.lock().revoke();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done by a panic that a request could cause.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Iam {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Iam")
    }
}
