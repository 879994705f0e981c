//! One fact in the life of a run, as it is stored: immutable, created once,
//! chained to the fact before it.

use std::collections::BTreeMap;
use std::fmt;

use branchline_contract::{Artifact, ArtifactReady, Outcome, Sha256};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A stored fact. Its position is in the object's name, and here too, so that
/// objects cannot be swapped unnoticed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// Position in the run's ledger; the first is 0.
    pub sequence: u32,
    /// SHA-256 of the bytes of the fact before; none at position 0.
    pub previous: Option<Sha256>,
    /// Random per write: tells one's own bytes from another writer's at the same position.
    pub nonce: String,
    /// When it was written, by the writer's clock. Nothing is decided by it.
    pub time: Timestamp,
    /// Who wrote it or on whose behalf.
    pub actor: String,
    /// What made the writer write it, such as a message id.
    pub cause: String,
    /// Attempt that it belongs to; the first is 1.
    pub attempt: u32,
    /// What happened.
    #[serde(flatten)]
    pub body: Body,
}

/// What happened, by kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body", rename_all = "kebab-case")]
pub enum Body {
    /// A CI job asked for the run. Always the first fact, and only that.
    Requested {
        /// The request, without its token.
        request: Box<ArtifactReady>,
        /// Full digest behind the run id.
        digest: Sha256,
        /// When Pub/Sub took the message in; names the queue entry.
        asked_at: Timestamp,
    },
    /// Every input exists as it was announced.
    Verified {
        /// Whether contents were read and their SHA-256 compared, beside the checksums that Cloud Storage keeps.
        contents_read: bool,
        /// What let it in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grounds: Option<Box<Grounds>>,
        /// Copies of all inputs, where they were staged: what was announced, but for place and generation.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        staged: Vec<Artifact>,
    },
    /// An approval is wanted.
    Held {
        /// What is wanted.
        reason: String,
    },
    /// An approval was given. Where more is wanted, the run is held on.
    Approved {
        /// What kind of approval.
        given: Approval,
        /// Who gave it.
        by: Vec<String>,
        /// Why, in their words, or how it is known.
        reason: String,
    },
    /// It may train; it waits in line.
    Admitted {},
    /// It may not train.
    Rejected {
        /// Every reason, one sentence each.
        reasons: Vec<String>,
        /// What it was decided on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grounds: Option<Box<Grounds>>,
    },
    /// Another CI job announced the same request.
    Duplicate {
        /// That job.
        ci_job: u64,
        /// Its pipeline.
        #[serde(default)]
        pipeline_id: Option<u64>,
    },
    /// One create call is about to be sent.
    Intended(Intent),
    /// Vertex AI definitely refused the call of the last intent.
    Refused {
        /// Nonce of the intent.
        intent: String,
        /// Vertex AI's words.
        message: String,
    },
    /// Vertex AI owns a job for the run.
    Submitted {
        /// Nonce of the intent that created it.
        intent: String,
        /// The job's resource name.
        job: String,
    },
    /// The job was seen running.
    Running {},
    /// Something outside keeps the run from going on.
    Blocked {
        /// What, and what would help.
        reason: String,
        /// The request that paused its domain, where that is what keeps it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pause: Option<String>,
    },
    /// It keeps the run no longer.
    Unblocked {},
    /// Somebody wants the run to end.
    CancelRequested {
        /// Who and why.
        reason: String,
        /// The request that this answers, where one came from outside.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<String>,
    },
    /// A job of the run that does not count was found, and is being cancelled.
    Surplus {
        /// Nonce on it.
        intent: String,
        /// The job's resource name.
        job: String,
    },
    /// The attempt ended.
    Finished {
        /// How.
        outcome: Outcome,
        /// Vertex AI's words, or why there is no job.
        reason: Option<String>,
        /// Metrics of the trained model.
        #[serde(default)]
        metrics: BTreeMap<String, f64>,
        /// Where the model lies.
        model_uri: Option<String>,
    },
    /// A new attempt begins: behind an end or a stall, because a CI job asked for it, or instead of one.
    Retried {
        /// What a CI job announced, if one asked: the same inputs, pinned anew, and where
        /// it stands in GitLab.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<Box<ArtifactReady>>,
        /// Why the attempt before does not count, when nobody asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// When Pub/Sub took the message in; names the queue entry.
        asked_at: Timestamp,
    },
    /// Intake gave up for now; a replay resumes it, and another CI job opens the next attempt.
    Stalled {
        /// What it met last.
        reason: String,
    },
}

impl Body {
    /// Every kind that this version knows.
    const KINDS: [&str; 18] = [
        "requested",
        "verified",
        "held",
        "approved",
        "admitted",
        "rejected",
        "duplicate",
        "intended",
        "refused",
        "submitted",
        "running",
        "blocked",
        "unblocked",
        "cancel-requested",
        "surplus",
        "finished",
        "retried",
        "stalled",
    ];

    /// The kind, as on the wire.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Requested { .. } => "requested",
            Self::Verified { .. } => "verified",
            Self::Held { .. } => "held",
            Self::Approved { .. } => "approved",
            Self::Admitted { .. } => "admitted",
            Self::Rejected { .. } => "rejected",
            Self::Duplicate { .. } => "duplicate",
            Self::Intended(_) => "intended",
            Self::Refused { .. } => "refused",
            Self::Submitted { .. } => "submitted",
            Self::Running { .. } => "running",
            Self::Blocked { .. } => "blocked",
            Self::Unblocked {} => "unblocked",
            Self::CancelRequested { .. } => "cancel-requested",
            Self::Surplus { .. } => "surplus",
            Self::Finished { .. } => "finished",
            Self::Retried { .. } => "retried",
            Self::Stalled { .. } => "stalled",
        }
    }
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

/// In a few words, for people.
impl fmt::Display for Grounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = self.claims.get("user_login").map_or("?", String::as_str);
        write!(f, "{login} asked; policy rules: {}", self.rules.join(", "))
    }
}

/// What has to be known to find the job of a create call whose answer was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Random; the job carries it as the label `branchline-intent`.
    pub nonce: String,
    /// Bound of the whole call, counted from before this fact was written.
    pub duration_ms: u64,
    /// What `{{ output }}` stands for in this intent.
    pub output: String,
}

/// A fact with the digest of the bytes it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The fact.
    pub fact: Fact,
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
}

/// Why bytes are not a fact that can be folded here.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not a fact at all.
    #[error("the fact does not decode")]
    Malformed(#[source] serde_json::Error),
    /// Written by a newer version; the run is left alone.
    #[error("a fact of kind {0:?} was written by a newer version")]
    UnknownKind(String),
}

impl Entry {
    /// Reads the bytes of one fact.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match serde_json::from_slice(bytes) {
            Ok(fact) => Ok(Self { fact, sha256: Sha256::of(bytes) }),
            Err(error) => Err(explain(bytes, error)),
        }
    }
}

impl Fact {
    /// The bytes that are stored and hashed.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a fact is plain data")
    }
}

fn explain(bytes: &[u8], error: serde_json::Error) -> DecodeError {
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
    }
    match serde_json::from_slice::<Kind>(bytes) {
        Ok(Kind { kind }) if !Body::KINDS.contains(&kind.as_str()) => {
            DecodeError::UnknownKind(kind)
        }
        Ok(_) | Err(_) => DecodeError::Malformed(error),
    }
}
