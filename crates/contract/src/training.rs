//! The training spec: one of Vertex AI's four kinds, in Vertex AI's own JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::job_kind::JobKind;

/// What is to run, with its placeholders still in it: `{"custom_job": {…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "Vertex AI's own names")]
pub enum Training {
    /// Body of a Vertex AI `CustomJob`.
    CustomJob(Value),
    /// Body of a Vertex AI `PipelineJob`.
    PipelineJob(Value),
    /// Body of a Vertex AI `HyperparameterTuningJob`.
    HyperparameterTuningJob(Value),
    /// Body of a Vertex AI `TrainingPipeline`.
    TrainingPipeline(Value),
}

impl Training {
    /// Puts a body under its kind.
    pub fn new(kind: JobKind, body: Value) -> Self {
        match kind {
            JobKind::CustomJob => Self::CustomJob(body),
            JobKind::PipelineJob => Self::PipelineJob(body),
            JobKind::HyperparameterTuningJob => Self::HyperparameterTuningJob(body),
            JobKind::TrainingPipeline => Self::TrainingPipeline(body),
        }
    }

    /// Which of the four it is.
    pub const fn kind(&self) -> JobKind {
        match self {
            Self::CustomJob(_) => JobKind::CustomJob,
            Self::PipelineJob(_) => JobKind::PipelineJob,
            Self::HyperparameterTuningJob(_) => JobKind::HyperparameterTuningJob,
            Self::TrainingPipeline(_) => JobKind::TrainingPipeline,
        }
    }

    /// The body.
    pub const fn body(&self) -> &Value {
        match self {
            Self::CustomJob(body)
            | Self::PipelineJob(body)
            | Self::HyperparameterTuningJob(body)
            | Self::TrainingPipeline(body) => body,
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        serde_json::json!({ self.kind().key(): self.body() })
    }
}
