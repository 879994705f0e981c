//! Who sent a request, and what they may do: the one place where a service asks.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use serde_json::{Value, json};

use super::Iam;
use super::policy::{Draft, Policy};
use super::principal::Principal;
use super::refusal::Refusal;
use super::resource::Resource;
use super::state::State;

/// Whoever sent a request.
#[derive(Clone)]
pub(crate) struct Caller {
    iam: Iam,
    who: Option<Principal>,
    /// Nothing is asked of anybody.
    free: bool,
}

/// What is done with a resource's policy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PolicyCall {
    /// Tells it.
    Get,
    /// Replaces it by this.
    Set(Value),
    /// Tells which of these permissions the caller has.
    Test(Vec<String>),
}

impl Iam {
    /// Who sent a request, while the services ask; while they do not, anybody will do.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let state = self.lock();
        let who = match bearer(headers) {
            None => None,
            Some(token) => match state.bearer(token) {
                None if state.enforced => return Err(Refusal::InvalidCredentials),
                known => known,
            },
        };
        Ok(Caller { iam: self.clone(), who, free: !state.enforced })
    }

    /// The name of whoever sent a request, where its token tells.
    pub(crate) fn sender(&self, headers: &HeaderMap) -> Option<String> {
        Some(self.lock().bearer(bearer(headers)?)?.name().to_owned())
    }

    /// Whether Pub/Sub's agent in a subscription's project may move messages from there to a
    /// topic. While nobody is asked anything, it may.
    pub(crate) fn agent_may_forward(&self, subscription: &str, topic: &str) -> bool {
        let state = self.lock();
        let from = Resource::Subscription(subscription.to_owned());
        let project = from.project_number().unwrap_or_default();
        let agent = format!("service-{project}@gcp-sa-pubsub.iam.gserviceaccount.com");
        let agent = Some(&Principal::Account(agent));
        let to = Resource::Topic(topic.to_owned());
        !state.enforced
            || state.allows(agent, "pubsub.subscriptions.consume", &from)
                && state.allows(agent, "pubsub.topics.publish", &to)
    }

    /// The same for what is always asked for, as tokens of service accounts are.
    pub(super) fn strict_caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let token = bearer(headers).ok_or(Refusal::MissingCredentials)?;
        let who = self.lock().bearer(token).ok_or(Refusal::InvalidCredentials)?;
        Ok(Caller { iam: self.clone(), who: Some(who), free: false })
    }
}

impl Caller {
    /// Refuses whoever has no token where that is not up to a binding for all users.
    pub(crate) fn known(self) -> Result<Self, Refusal> {
        if self.free || self.who.is_some() { Ok(self) } else { Err(Refusal::MissingCredentials) }
    }

    /// Whether nothing is asked of anybody.
    pub(crate) const fn is_free(&self) -> bool {
        self.free
    }

    /// Refuses whoever lacks a permission.
    pub(crate) fn check(&self, permission: &str, on: &Resource) -> Result<(), Refusal> {
        self.check_in(on.api(), permission, on)
    }

    /// The same for an API that asks about a resource of another one, as about a project.
    pub(super) fn check_in(
        &self,
        api: &'static str,
        permission: &str,
        on: &Resource,
    ) -> Result<(), Refusal> {
        if self.free {
            return Ok(());
        }
        let state = self.iam.lock();
        enabled(&state, api, on)?;
        if state.allows(self.who.as_ref(), permission, on) {
            return Ok(());
        }
        Err(self.denied(api, permission, on))
    }

    /// How the caller is told that it lacks a permission.
    pub(super) fn denied(&self, api: &'static str, permission: &str, on: &Resource) -> Refusal {
        let who = self.who.as_ref().map(|it| it.name().to_owned());
        Refusal::Denied { api, permission: permission.to_owned(), resource: on.clone(), who }
    }

    /// Whether the caller may have a job run as a service account, which has to be there.
    pub(crate) fn may_act_as(&self, email: &str) -> bool {
        let on = Resource::account(email);
        let exists = || {
            let state = self.iam.lock();
            // Every project has this one.
            let is_default = email.ends_with("-compute@developer.gserviceaccount.com");
            let project = on.project_number().is_some_and(|it| state.projects.contains_key(&it));
            state.accounts.contains_key(email) || is_default && project
        };
        self.free || exists() && self.may("iam.serviceAccounts.actAs", &on)
    }

    /// Refuses everybody where an API is disabled.
    pub(crate) fn check_enabled(&self, api: &'static str, on: &Resource) -> Result<(), Refusal> {
        if self.free { Ok(()) } else { enabled(&self.iam.lock(), api, on) }
    }

    /// Whether the caller holds a permission.
    pub(crate) fn may(&self, permission: &str, on: &Resource) -> bool {
        self.check(permission, on).is_ok()
    }

    /// Does something with a policy.
    pub(crate) fn policy(&self, on: &Resource, call: PolicyCall) -> Result<Value, Refusal> {
        match call {
            PolicyCall::Get => {
                self.check(&permission(on, "getIamPolicy"), on)?;
                Ok(self.iam.policy(on).json(on))
            }
            PolicyCall::Set(policy) => {
                self.check(&permission(on, "setIamPolicy"), on)?;
                Ok(self.iam.set_policy(on, &policy)?.json(on))
            }
            PolicyCall::Test(asked) => Ok(self.test(on, &asked)),
        }
    }

    /// Where nothing is asked, whoever says nothing about themselves holds everything.
    fn test(&self, on: &Resource, asked: &[String]) -> Value {
        let state = self.iam.lock();
        let all = self.free && self.who.is_none();
        let held = asked.iter().filter(|it| all || state.allows(self.who.as_ref(), it, on));
        let held: Vec<_> = held.collect();
        let mut answer = json!({});
        if on.is_stored() {
            answer["kind"] = json!("storage#testIamPermissionsResponse");
        }
        if !held.is_empty() {
            answer["permissions"] = json!(held);
        }
        answer
    }
}

impl Iam {
    fn policy(&self, on: &Resource) -> Policy {
        let policy = on.policy_key().and_then(|key| self.lock().policies.get(&key).cloned());
        policy.unwrap_or_default()
    }

    pub(super) fn forget_policy(&self, on: &Resource) {
        if let Some(key) = on.policy_key() {
            self.lock().policies.remove(&key);
        }
    }

    /// Replaces a policy, if it is still the one that the client has read.
    pub(super) fn set_policy(&self, on: &Resource, new: &Value) -> Result<Policy, Refusal> {
        let draft = Draft::read(new)?;
        let mut state = self.lock();
        let unknown = draft.bindings.iter().find(|it| !state.knows_role(&it.role));
        if let Some(binding) = unknown {
            let role = &binding.role;
            return Err(Refusal::Invalid(format!(
                "Role {role} is not supported for this resource."
            )));
        }
        let invalid = || Refusal::Invalid("This resource has no policy.".to_owned());
        let key = on.policy_key().ok_or_else(invalid)?;
        let known = state.policies.get(&key).map(Policy::etag);
        let known = known.unwrap_or_else(|| Policy::default().etag());
        if !draft.etag.is_empty() && draft.etag != known {
            return Err(Refusal::Conflict);
        }
        let mut bindings = draft.bindings;
        bindings.retain(|it| !it.members.is_empty());
        let policy = Policy { bindings, revision: state.next_revision() };
        state.policies.insert(key, policy.clone());
        Ok(policy)
    }
}

fn enabled(state: &State, api: &'static str, on: &Resource) -> Result<(), Refusal> {
    match state.project_of(on) {
        Some(project) if state.is_disabled(api, &project) => {
            Err(Refusal::Disabled { api, project })
        }
        Some(_) | None => Ok(()),
    }
}

/// The permission to do something with a resource's policy.
fn permission(on: &Resource, verb: &str) -> String {
    let of = match on {
        Resource::Project(_) => "resourcemanager.projects",
        Resource::Topic(_) => "pubsub.topics",
        Resource::Subscription(_) => "pubsub.subscriptions",
        Resource::Bucket(_) => "storage.buckets",
        Resource::Object { .. } => "storage.objects",
        Resource::Vertex(_) => "aiplatform.locations",
        Resource::Account(_) => "iam.serviceAccounts",
        Resource::Pool(_) => "iam.workloadIdentityPools",
        Resource::Service(_) => "serviceusage.services",
    };
    format!("{of}.{verb}")
}

/// The token that a request bears.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
