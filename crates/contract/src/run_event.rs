//! `branchline.run.*.v1`: what became of a run, told to whoever subscribes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::Sha256;
use crate::job_kind::JobKind;
use crate::origin::{Gitlab, Vertex};
use crate::run_id::{RunId, RunName};
use crate::text::Invalid;
use crate::trace::TraceParent;

/// Where a run stands, as far as the outside is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waits for an approval or an operator.
    Held,
    /// Waits in line for Vertex AI.
    Queued,
    /// Vertex AI owns a job for it.
    Submitted,
    /// The job runs.
    Running,
    /// It ended; there is an outcome.
    Completed,
}

impl Phase {
    /// Every phase, in the order a run meets them.
    pub const ALL: [Self; 5] =
        [Self::Held, Self::Queued, Self::Submitted, Self::Running, Self::Completed];

    /// The `ce-type` of the event.
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::Held => "branchline.run.held.v1",
            Self::Queued => "branchline.run.queued.v1",
            Self::Submitted => "branchline.run.submitted.v1",
            Self::Running => "branchline.run.running.v1",
            Self::Completed => "branchline.run.completed.v1",
        }
    }

    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Queued => "queued",
            Self::Submitted => "submitted",
            Self::Running => "running",
            Self::Completed => "completed",
        }
    }
}

/// How a run ended. There is no sixth way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The job succeeded.
    Succeeded,
    /// The job failed, or Vertex AI refused it.
    Failed,
    /// Somebody cancelled it, or a newer run took its place.
    Cancelled,
    /// It waited or ran longer than allowed.
    Expired,
    /// It was not allowed to train.
    Rejected,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] =
        [Self::Succeeded, Self::Failed, Self::Cancelled, Self::Expired, Self::Rejected];

    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
        }
    }
}

/// One event. Consecutive events of a run carry growing ledger sequences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunEvent {
    /// The run.
    pub run_id: RunId,
    /// Its name in `branchline.yaml`.
    pub run: RunName,
    /// Attempt the event speaks of; the first is 1.
    pub attempt: u32,
    /// Where it stands.
    pub phase: Phase,
    /// Who asked for it.
    pub gitlab: Gitlab,
    /// Where it trains.
    pub vertex: Vertex,
    /// The ledger entry behind the event.
    pub ledger: LedgerHead,
    /// Place in line while queued, where known; the first is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place_in_line: Option<u32>,
    /// The Vertex AI job, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vertex_job: Option<VertexJob>,
    /// How it ended, when completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why it waits, was rejected or failed; plain text, not to be trusted as markup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Metrics of the trained model.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// Where the model lies, a `gs://` prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_uri: Option<String>,
    /// When the run was requested.
    pub requested_at: Timestamp,
    /// When the fact behind the event was written.
    pub recorded_at: Timestamp,
    /// The trace that the run belongs to; an attribute of the message, and not in its data.
    #[serde(skip)]
    pub trace: Option<TraceParent>,
}

/// A position in a run's ledger and the hash of the fact there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerHead {
    /// Position; the first fact is 0.
    pub sequence: u32,
    /// SHA-256 of the fact's bytes.
    pub sha256: Sha256,
}

/// `SEQUENCE:HASH`, as the note shows it and `branchline audit verify --head` takes it.
impl fmt::Display for LedgerHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.sha256)
    }
}

impl FromStr for LedgerHead {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let read = || {
            let (sequence, sha256) = text.split_once(':')?;
            let sha256 = Sha256::try_from(sha256.to_owned()).ok()?;
            Some(Self { sequence: sequence.parse().ok()?, sha256 })
        };
        read().ok_or_else(|| Invalid::new(text, "a position, a colon and 64 lower-case hex digits"))
    }
}

/// A job in Vertex AI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VertexJob {
    /// Resource name.
    pub name: String,
    /// Page in Google's console; empty when the name has another form.
    pub console_url: String,
}

impl VertexJob {
    /// The job of that resource name.
    pub fn new(kind: JobKind, name: String) -> Self {
        let console_url = console_url(kind, &name).unwrap_or_default();
        Self { name, console_url }
    }
}

/// Page of a job, from its `projects/P/locations/R/COLLECTION/ID`.
fn console_url(kind: JobKind, name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('/').collect();
    let ["projects", project, "locations", region, _, id] = parts[..] else {
        return None;
    };
    let base = "https://console.cloud.google.com/vertex-ai";
    Some(match kind {
        JobKind::CustomJob => {
            format!("{base}/locations/{region}/training/{id}/cpu?project={project}")
        }
        JobKind::HyperparameterTuningJob => {
            format!("{base}/training/locations/{region}/studies/{id}?project={project}")
        }
        JobKind::TrainingPipeline => {
            format!("{base}/locations/{region}/training/{id}?project={project}")
        }
        JobKind::PipelineJob => {
            format!("{base}/locations/{region}/pipelines/runs/{id}?project={project}")
        }
    })
}
