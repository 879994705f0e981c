//! `branchline.artifact.ready.v1`: a CI job asks for a run.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::{Artifact, DirectoryUri};
use crate::origin::{Gitlab, Vertex};
use crate::run_id::RunName;
use crate::text::Invalid;
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
    /// Attempts that the run may have in all before a failure for want of quota is its end.
    #[serde(default, skip_serializing_if = "is_default")]
    pub attempts_max: AttemptsMax,
    /// GitLab's ID token for Branchline's audience. Never stored or logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_token: Option<IdToken>,
}

impl ArtifactReady {
    /// The `ce-type` of its messages.
    pub const EVENT_TYPE: &'static str = "branchline.artifact.ready.v1";
    /// More objects than this are not one request.
    pub const ARTIFACTS_MAX: usize = 1_000;

    /// An object that lies outside its directory, or shares its name with one of another
    /// directory or of none: what the name stands for would be a matter of order.
    pub(crate) fn stray_object(&self) -> Option<&Artifact> {
        let mut directories = BTreeMap::new();
        self.artifacts.iter().find(|it| {
            let below = |directory: &DirectoryUri| it.uri.as_str().starts_with(directory.as_str());
            match directories.insert(it.name.as_str(), &it.directory) {
                Some(other) if *other != it.directory || other.is_none() => true,
                Some(_) | None => !it.directory.as_ref().is_none_or(below),
            }
        })
    }
}

/// A number of attempts; one unless somebody wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(into = "u32", try_from = "u32")]
#[schemars(with = "u32", extend("minimum" = 1, "maximum" = Self::MOST))]
pub struct AttemptsMax(u32);

impl AttemptsMax {
    /// The most that anybody gets.
    pub const MOST: u32 = 5;

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for AttemptsMax {
    fn default() -> Self {
        Self(1)
    }
}

impl From<AttemptsMax> for u32 {
    fn from(it: AttemptsMax) -> Self {
        it.0
    }
}

impl TryFrom<u32> for AttemptsMax {
    type Error = Invalid;
    fn try_from(number: u32) -> Result<Self, Invalid> {
        match number {
            1..=Self::MOST => Ok(Self(number)),
            _ => Err(Invalid::new(&number.to_string(), "a number of attempts from 1 to 5")),
        }
    }
}

fn is_default<T: Default + PartialEq>(it: &T) -> bool {
    *it == T::default()
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
