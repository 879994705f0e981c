//! The four kinds of jobs and the states they go through.

use super::schema::{self, Message};

/// One collection of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    CustomJob,
    HyperparameterTuningJob,
    TrainingPipeline,
    PipelineJob,
}

impl Kind {
    pub(super) const ALL: [Self; 4] =
        [Self::CustomJob, Self::HyperparameterTuningJob, Self::TrainingPipeline, Self::PipelineJob];

    /// The collection's name in URLs and resource names.
    pub(super) const fn collection(self) -> &'static str {
        match self {
            Self::CustomJob => "customJobs",
            Self::HyperparameterTuningJob => "hyperparameterTuningJobs",
            Self::TrainingPipeline => "trainingPipelines",
            Self::PipelineJob => "pipelineJobs",
        }
    }

    /// The field that holds the resource in a create request: error paths start with it.
    pub(super) const fn field(self) -> &'static str {
        match self {
            Self::CustomJob => "custom_job",
            Self::HyperparameterTuningJob => "hyperparameter_tuning_job",
            Self::TrainingPipeline => "training_pipeline",
            Self::PipelineJob => "pipeline_job",
        }
    }

    /// The resource's message.
    pub(super) const fn message(self) -> &'static Message {
        match self {
            Self::CustomJob => &schema::CUSTOM_JOB,
            Self::HyperparameterTuningJob => &schema::HYPERPARAMETER_TUNING_JOB,
            Self::TrainingPipeline => &schema::TRAINING_PIPELINE,
            Self::PipelineJob => &schema::PIPELINE_JOB,
        }
    }

    /// The kind that a resource name belongs to.
    pub(super) fn of(name: &str) -> Option<Self> {
        let collection = name.rsplit('/').nth(1)?;
        Self::ALL.into_iter().find(|kind| kind.collection() == collection)
    }

    const fn state_prefix(self) -> &'static str {
        match self {
            Self::CustomJob | Self::HyperparameterTuningJob => "JOB_STATE_",
            Self::TrainingPipeline | Self::PipelineJob => "PIPELINE_STATE_",
        }
    }

    /// The state as this kind writes it.
    pub(super) fn state_name(self, state: State) -> String {
        format!("{}{}", self.state_prefix(), state.suffix())
    }

    /// Whether its jobs can be in a state.
    pub(super) const fn knows(self, state: State) -> bool {
        match self {
            Self::CustomJob | Self::HyperparameterTuningJob => true,
            Self::TrainingPipeline | Self::PipelineJob => {
                !matches!(state, State::PartiallySucceeded | State::Expired)
            }
        }
    }

    /// The state that a stored resource is in.
    pub(super) fn state_of(self, name: &str) -> Option<State> {
        let suffix = name.strip_prefix(self.state_prefix())?;
        State::ALL.into_iter().find(|state| state.suffix() == suffix)
    }
}

/// A job's state. It only ever moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Queued,
    Paused,
    Pending,
    Running,
    Cancelling,
    Succeeded,
    Failed,
    Cancelled,
    PartiallySucceeded,
    Expired,
}

impl State {
    const ALL: [Self; 10] = [
        Self::Queued,
        Self::Paused,
        Self::Pending,
        Self::Running,
        Self::Cancelling,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::PartiallySucceeded,
        Self::Expired,
    ];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Paused => "PAUSED",
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Cancelling => "CANCELLING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::PartiallySucceeded => "PARTIALLY_SUCCEEDED",
            Self::Expired => "EXPIRED",
        }
    }

    pub(super) const fn is_live(self) -> bool {
        match self {
            Self::Queued | Self::Paused | Self::Pending | Self::Running | Self::Cancelling => true,
            Self::Succeeded
            | Self::Failed
            | Self::Cancelled
            | Self::PartiallySucceeded
            | Self::Expired => false,
        }
    }
}
