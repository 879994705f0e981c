//! One fact in the life of a run, as it is stored: immutable, created once,
//! chained to the fact before it.

use branchline_contract::{Artifact, ArtifactReady, Sha256, TraceParent};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::grounds::{Approval, Grounds};
use crate::state::Ending;

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
    /// The trace of the message that asked, where that message told one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceParent>,
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
    Finished(Ending),
    /// A new attempt begins: behind an end, because a CI job or an operator asked for it, behind a
    /// stall, because another CI job did, or instead of an end.
    Retried {
        /// What a CI job announced, if one asked: the same inputs, pinned anew, and where
        /// it stands in GitLab.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<Box<ArtifactReady>>,
        /// Why the attempt before does not count, when nobody asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// What an operator asked, if one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operator: Option<Box<Reopened>>,
        /// When Pub/Sub took the message in, or Cloud Storage the operator's request; names the
        /// queue entry.
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
            Self::Finished(_) => "finished",
            Self::Retried { .. } => "retried",
            Self::Stalled { .. } => "stalled",
        }
    }

    /// Whether it is what a CI job's message asked for.
    pub(crate) const fn takes_in_a_request(&self) -> bool {
        matches!(
            self,
            Self::Requested { .. }
                | Self::Duplicate { .. }
                | Self::Retried { request: Some(_), .. }
        )
    }
}

/// An operator's word that a run which has ended is to be tried once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reopened {
    /// The request that this answers.
    pub request: String,
    /// Whose it was.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    /// What lets the attempt in, or holds it: the policy's word anew, on what was proven when the
    /// one before was let in.
    pub grounds: Box<Grounds>,
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
