//! What the policy said of a request, on what grounds, and the approvals that it wants. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What is known of whoever asks, by which a policy decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven {
    /// Texts, by GitLab's names of the claims.
    pub claims: BTreeMap<String, String>,
    /// The groups among these, which are a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups_direct: Option<Vec<String>>,
}

/// What a decision rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grounds {
    /// What the policy said.
    pub decided: Decided,
    /// What the ID token of the CI job proved, by GitLab's names of the claims. Never the token.
    pub claims: BTreeMap<String, String>,
    /// The groups among these, which are a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups_direct: Option<Vec<String>>,
    /// SHA-256 of the policy, in hex.
    pub policy: String,
    /// Its rules that matched.
    pub rules: Vec<String>,
    /// What has to be approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Wanted>,
    /// The merge requests of the commit, where the policy asks for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge_requests: Option<Vec<MergeRequest>>,
}

/// A merge request as GitLab told it when the policy decided, with login names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeRequest {
    /// Number within the project.
    pub iid: u64,
    /// `opened` or `merged`.
    pub state: String,
    /// Branch it would merge into, or did.
    pub target_branch: String,
    /// Who opened it.
    pub author: Option<String>,
    /// Who merged it.
    pub merged_by: Option<String>,
    /// Whose approvals count.
    pub approved_by: Vec<String>,
}

/// The approvals that a run waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Approvals of its merge request, at least.
    pub merge_request: u32,
    /// Whether an operator has to approve.
    pub operator: bool,
}

/// A kind of approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// Those of the merge request, as many as are wanted.
    MergeRequest,
    /// An operator's.
    Operator,
}

impl Wanted {
    /// Nothing more.
    pub const NOTHING: Self = Self { merge_request: 0, operator: false };

    /// What is wanted once that is given.
    #[must_use]
    pub const fn without(self, given: Approval) -> Self {
        match given {
            Approval::MergeRequest => Self { merge_request: 0, ..self },
            Approval::Operator => Self { operator: false, ..self },
        }
    }
}

/// What to do about it, for people.
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let people = match self.merge_request {
            0 => None,
            1 => Some("an approval of its merge request".to_owned()),
            many => Some(format!("{many} approvals of its merge request")),
        };
        let operator = self.operator.then(|| "an operator's approval (runs approve)".to_owned());
        let wanted: Vec<_> = people.into_iter().chain(operator).collect();
        write!(f, "it wants {}", wanted.join(" and "))
    }
}

/// What a policy says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decided {
    /// It may train.
    Allowed,
    /// It may, once it is approved.
    NeedsApproval,
    /// It may not.
    Denied,
}

impl Decided {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::NeedsApproval => "needs-approval",
            Self::Denied => "denied",
        }
    }
}

impl Grounds {
    /// What was known of whoever asked.
    pub fn proven(&self) -> Proven {
        Proven { claims: self.claims.clone(), groups_direct: self.groups_direct.clone() }
    }
}

/// In a few words, for people.
impl fmt::Display for Grounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = self.claims.get("user_login").or_else(|| self.claims.get("operator"));
        let login = login.map_or("?", String::as_str);
        write!(f, "{login} asked; policy rules: {}", self.rules.join(", "))
    }
}
