//! The four kinds of Vertex AI training jobs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What Vertex AI is asked to create. Each kind is a collection of its own there.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// `customJobs`
    CustomJob,
    /// `pipelineJobs`, the only kind whose id the client chooses
    PipelineJob,
    /// `hyperparameterTuningJobs`
    HyperparameterTuningJob,
    /// `trainingPipelines`
    TrainingPipeline,
}

impl JobKind {
    /// Every kind.
    pub const ALL: [Self; 4] =
        [Self::CustomJob, Self::PipelineJob, Self::HyperparameterTuningJob, Self::TrainingPipeline];

    /// The key in `training:` of `branchline.yaml` and in events.
    pub const fn key(self) -> &'static str {
        match self {
            Self::CustomJob => "custom_job",
            Self::PipelineJob => "pipeline_job",
            Self::HyperparameterTuningJob => "hyperparameter_tuning_job",
            Self::TrainingPipeline => "training_pipeline",
        }
    }

    /// The collection in Vertex AI's resource names.
    pub const fn collection(self) -> &'static str {
        match self {
            Self::CustomJob => "customJobs",
            Self::PipelineJob => "pipelineJobs",
            Self::HyperparameterTuningJob => "hyperparameterTuningJobs",
            Self::TrainingPipeline => "trainingPipelines",
        }
    }
}
