//! `branchline.artifact.ready.v1`: a CI job asks for a run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::Artifact;
use crate::origin::{Gitlab, Vertex};
use crate::run_id::RunName;
use crate::training::Training;

/// The request. Unknown fields are tolerated, so that an older worker reads a newer publisher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArtifactReady {
    /// Name of the run in `branchline.yaml`.
    pub run: RunName,
    /// Inputs, each pinned.
    #[schemars(length(max = Self::ARTIFACTS_MAX))]
    pub artifacts: Vec<Artifact>,
    /// What is to run.
    pub training: Training,
    /// Where it is to run.
    pub vertex: Vertex,
    /// Who asks.
    pub gitlab: Gitlab,
    /// Whether another pipeline of the same commit is other work.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub per_pipeline: bool,
    /// Whether it ends what older pipelines of the same branch and run name have asked for.
    /// What it trains does not depend on that, so it is no part of the run's identity.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub supersede: bool,
    /// GitLab's ID token for Branchline's audience. Never stored or logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_token: Option<IdToken>,
}

impl ArtifactReady {
    /// The `ce-type` of its messages.
    pub const EVENT_TYPE: &'static str = "branchline.artifact.ready.v1";
    /// More objects than this are not one request.
    pub const ARTIFACTS_MAX: usize = 1_000;
}

/// A signed token. It can be sent, but `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct IdToken(pub String);

impl std::fmt::Debug for IdToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdToken(…)")
    }
}
