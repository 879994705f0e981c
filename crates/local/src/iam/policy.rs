//! Policies: who has which role on a resource, as the APIs write them. Pure.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::cel;
use super::principal::{Principal, is_member, means};
use super::refusal::Refusal;
use super::resource::Resource;

/// Bytes of a condition's expression.
const CONDITION_MAX: usize = 4_096;

/// The bindings of one resource.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    pub(super) bindings: Vec<Binding>,
    /// Changes with every change: the etag.
    pub(super) revision: u64,
}

/// Members who have a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Binding {
    pub(super) role: String,
    #[serde(default)]
    pub(super) members: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) condition: Option<Condition>,
}

/// When they have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Condition {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) title: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) description: String,
    pub(super) expression: String,
}

/// A policy as a client sends it; of what is not listed here nothing would come.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Draft {
    pub(super) bindings: Vec<Binding>,
    pub(super) etag: String,
    version: i64,
    kind: String,
    resource_id: String,
}

impl Policy {
    pub(super) fn etag(&self) -> String {
        format!("BwY{:09}=", self.revision)
    }

    /// As the APIs answer it; Cloud Storage adds something of its own.
    pub(super) fn json(&self, on: &Resource) -> Value {
        let conditional = self.bindings.iter().any(|it| it.condition.is_some());
        let version = if conditional { 3 } else { 1 };
        let mut answer = json!({"version": version, "etag": self.etag()});
        if let Resource::Bucket(_) = on {
            answer["kind"] = json!("storage#policy");
            answer["resourceId"] = json!(on.name());
        }
        if !self.bindings.is_empty() {
            answer["bindings"] = json!(self.bindings);
        }
        answer
    }

    /// Adds a member to a binding.
    pub(super) fn add(&mut self, role: &str, member: &str, condition: Option<Condition>) {
        let same = |it: &&mut Binding| it.role == role && it.condition == condition;
        let members = if let Some(binding) = self.bindings.iter_mut().find(same) {
            &mut binding.members
        } else {
            let binding = Binding { role: role.to_owned(), members: Vec::new(), condition };
            self.bindings.push(binding);
            &mut self.bindings.last_mut().expect("one was pushed").members
        };
        if !members.iter().any(|it| it == member) {
            members.push(member.to_owned());
        }
    }

    /// Takes a role from a member, with and without a condition.
    pub(super) fn remove(&mut self, role: &str, member: &str) {
        for binding in self.bindings.iter_mut().filter(|it| it.role == role) {
            binding.members.retain(|it| it != member);
        }
        self.bindings.retain(|it| !it.members.is_empty());
    }
}

impl Draft {
    /// Reads one, and checks all of it but the roles.
    pub(super) fn read(policy: &Value) -> Result<Self, Refusal> {
        let draft = Self::deserialize(policy)
            .map_err(|error| Refusal::Invalid(format!("Invalid JSON payload received. {error}")))?;
        for binding in &draft.bindings {
            if let Some(member) = binding.members.iter().find(|it| !is_member(it)) {
                return Err(Refusal::Invalid(format!(
                    "Invalid argument: '{member}' is no member of a binding."
                )));
            }
            if let Some(condition) = &binding.condition {
                condition.check()?;
                if draft.version != 3 {
                    let message = "Policies with conditions have to be of version 3.";
                    return Err(Refusal::Invalid(message.to_owned()));
                }
            }
        }
        Ok(draft)
    }
}

impl Binding {
    /// Whether it gives the caller its role on a resource.
    pub(super) fn reaches(&self, who: Option<&Principal>, on: &Resource) -> bool {
        let means = self.members.iter().any(|it| means(it, who));
        means && self.condition.as_ref().is_none_or(|it| it.holds(on))
    }
}

impl Condition {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let long = self.expression.len() > CONDITION_MAX;
        if long || cel::check(&self.expression).is_err() {
            return Err(Refusal::Invalid("Condition expression compilation failed.".to_owned()));
        }
        Ok(())
    }

    /// One that cannot be evaluated does not hold.
    fn holds(&self, on: &Resource) -> bool {
        let resource = json!({"name": on.name(), "type": on.kind(), "service": on.api()});
        let value = cel::evaluate(&self.expression, &[("resource", resource)]);
        value.is_ok_and(|it| it == true)
    }
}
