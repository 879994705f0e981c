//! The request messages of the API, as far as a user may set them, and the
//! output-only fields that clients send back.

/// The type of a field in the JSON form of protocol buffers.
#[derive(Debug)]
pub(super) enum Type {
    Text,
    Bool,
    Int32,
    Int64,
    Double,
    /// `"3600s"`.
    Duration,
    /// Names in the order of their numbers; clients send either.
    Enum(&'static [&'static str]),
    /// An enum whose value nothing here depends on.
    AnyEnum,
    /// `map<string, string>`.
    Labels,
    /// A struct, a value, or a message that is only kept.
    Any,
    Message(&'static Message),
    List(&'static Type),
    /// Set by the service; what a client sends is ignored.
    OutputOnly,
}

/// A message: its fields by their JSON names.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) fields: &'static [(&'static str, Type)],
}

use Type::{
    Any, AnyEnum, Bool, Double, Duration, Enum, Int32, Int64, Labels, List, Message as Nested,
    OutputOnly, Text,
};

pub(super) static CUSTOM_JOB: Message = Message {
    fields: &[
        ("name", OutputOnly),
        ("displayName", Text),
        ("jobSpec", Nested(&CUSTOM_JOB_SPEC)),
        ("state", OutputOnly),
        ("createTime", OutputOnly),
        ("startTime", OutputOnly),
        ("endTime", OutputOnly),
        ("updateTime", OutputOnly),
        ("error", OutputOnly),
        ("labels", Labels),
        ("encryptionSpec", Nested(&ENCRYPTION_SPEC)),
        ("webAccessUris", OutputOnly),
        ("satisfiesPzs", OutputOnly),
        ("satisfiesPzi", OutputOnly),
    ],
};

pub(super) static CUSTOM_JOB_SPEC: Message = Message {
    fields: &[
        ("persistentResourceId", Text),
        ("workerPoolSpecs", List(&Nested(&WORKER_POOL_SPEC))),
        ("scheduling", Nested(&SCHEDULING)),
        ("serviceAccount", Text),
        ("network", Text),
        ("reservedIpRanges", List(&Text)),
        ("pscInterfaceConfig", Any),
        ("baseOutputDirectory", Nested(&GCS_DESTINATION)),
        ("protectedArtifactLocationId", Text),
        ("tensorboard", Text),
        ("enableWebAccess", Bool),
        ("enableDashboardAccess", Bool),
        ("experiment", Text),
        ("experimentRun", Text),
        ("models", List(&Text)),
    ],
};

static WORKER_POOL_SPEC: Message = Message {
    fields: &[
        ("containerSpec", Nested(&CONTAINER_SPEC)),
        ("pythonPackageSpec", Nested(&PYTHON_PACKAGE_SPEC)),
        ("machineSpec", Nested(&MACHINE_SPEC)),
        ("replicaCount", Int64),
        ("nfsMounts", List(&Any)),
        ("lustreMounts", List(&Any)),
        ("diskSpec", Nested(&DISK_SPEC)),
    ],
};

static CONTAINER_SPEC: Message = Message {
    fields: &[
        ("imageUri", Text),
        ("command", List(&Text)),
        ("args", List(&Text)),
        ("env", List(&Nested(&ENV_VAR))),
    ],
};

static PYTHON_PACKAGE_SPEC: Message = Message {
    fields: &[
        ("executorImageUri", Text),
        ("packageUris", List(&Text)),
        ("pythonModule", Text),
        ("args", List(&Text)),
        ("env", List(&Nested(&ENV_VAR))),
    ],
};

static ENV_VAR: Message = Message { fields: &[("name", Text), ("value", Text)] };

static MACHINE_SPEC: Message = Message {
    fields: &[
        ("machineType", Text),
        ("acceleratorType", AnyEnum),
        ("acceleratorCount", Int32),
        ("gpuPartitionSize", Text),
        ("tpuTopology", Text),
        ("reservationAffinity", Any),
    ],
};

static DISK_SPEC: Message =
    Message { fields: &[("bootDiskType", Text), ("bootDiskSizeGb", Int32)] };

static SCHEDULING: Message = Message {
    fields: &[
        ("timeout", Duration),
        ("restartJobOnWorkerRestart", Bool),
        ("strategy", AnyEnum),
        ("disableRetries", Bool),
        ("maxWaitDuration", Duration),
    ],
};

static GCS_DESTINATION: Message = Message { fields: &[("outputUriPrefix", Text)] };

static ENCRYPTION_SPEC: Message = Message { fields: &[("kmsKeyName", Text)] };

pub(super) static HYPERPARAMETER_TUNING_JOB: Message = Message {
    fields: &[
        ("name", OutputOnly),
        ("displayName", Text),
        ("studySpec", Nested(&STUDY_SPEC)),
        ("maxTrialCount", Int32),
        ("parallelTrialCount", Int32),
        ("maxFailedTrialCount", Int32),
        ("trialJobSpec", Nested(&CUSTOM_JOB_SPEC)),
        ("trials", OutputOnly),
        ("state", OutputOnly),
        ("createTime", OutputOnly),
        ("startTime", OutputOnly),
        ("endTime", OutputOnly),
        ("updateTime", OutputOnly),
        ("error", OutputOnly),
        ("labels", Labels),
        ("encryptionSpec", Nested(&ENCRYPTION_SPEC)),
        ("satisfiesPzs", OutputOnly),
        ("satisfiesPzi", OutputOnly),
    ],
};

static STUDY_SPEC: Message = Message {
    fields: &[
        ("metrics", List(&Nested(&METRIC_SPEC))),
        ("parameters", List(&Nested(&PARAMETER_SPEC))),
        ("algorithm", AnyEnum),
        ("observationNoise", AnyEnum),
        ("measurementSelectionType", AnyEnum),
        ("studyStoppingConfig", Any),
        ("decayCurveStoppingSpec", Any),
        ("medianAutomatedStoppingSpec", Any),
        ("convexAutomatedStoppingSpec", Any),
    ],
};

static METRIC_SPEC: Message = Message {
    fields: &[
        ("metricId", Text),
        ("goal", Enum(&["GOAL_TYPE_UNSPECIFIED", "MAXIMIZE", "MINIMIZE"])),
        ("safetyConfig", Any),
    ],
};

static PARAMETER_SPEC: Message = Message {
    fields: &[
        ("parameterId", Text),
        ("doubleValueSpec", Nested(&DOUBLE_VALUE_SPEC)),
        ("integerValueSpec", Nested(&INTEGER_VALUE_SPEC)),
        ("categoricalValueSpec", Nested(&CATEGORICAL_VALUE_SPEC)),
        ("discreteValueSpec", Nested(&DISCRETE_VALUE_SPEC)),
        (
            "scaleType",
            Enum(&[
                "SCALE_TYPE_UNSPECIFIED",
                "UNIT_LINEAR_SCALE",
                "UNIT_LOG_SCALE",
                "UNIT_REVERSE_LOG_SCALE",
            ]),
        ),
        ("conditionalParameterSpecs", List(&Any)),
    ],
};

static DOUBLE_VALUE_SPEC: Message =
    Message { fields: &[("minValue", Double), ("maxValue", Double), ("defaultValue", Double)] };

static INTEGER_VALUE_SPEC: Message =
    Message { fields: &[("minValue", Int64), ("maxValue", Int64), ("defaultValue", Int64)] };

static CATEGORICAL_VALUE_SPEC: Message =
    Message { fields: &[("values", List(&Text)), ("defaultValue", Text)] };

static DISCRETE_VALUE_SPEC: Message =
    Message { fields: &[("values", List(&Double)), ("defaultValue", Double)] };

pub(super) static TRAINING_PIPELINE: Message = Message {
    fields: &[
        ("name", OutputOnly),
        ("displayName", Text),
        ("inputDataConfig", Any),
        ("trainingTaskDefinition", Text),
        ("trainingTaskInputs", Any),
        ("trainingTaskMetadata", OutputOnly),
        ("modelToUpload", Any),
        ("modelId", Text),
        ("parentModel", Text),
        ("state", OutputOnly),
        ("error", OutputOnly),
        ("createTime", OutputOnly),
        ("startTime", OutputOnly),
        ("endTime", OutputOnly),
        ("updateTime", OutputOnly),
        ("labels", Labels),
        ("encryptionSpec", Nested(&ENCRYPTION_SPEC)),
    ],
};

pub(super) static PIPELINE_JOB: Message = Message {
    fields: &[
        ("name", OutputOnly),
        ("displayName", Text),
        ("createTime", OutputOnly),
        ("startTime", OutputOnly),
        ("endTime", OutputOnly),
        ("updateTime", OutputOnly),
        ("pipelineSpec", Any),
        ("state", OutputOnly),
        ("jobDetail", OutputOnly),
        ("error", OutputOnly),
        ("labels", Labels),
        ("runtimeConfig", Nested(&RUNTIME_CONFIG)),
        ("encryptionSpec", Nested(&ENCRYPTION_SPEC)),
        ("serviceAccount", Text),
        ("network", Text),
        ("reservedIpRanges", List(&Text)),
        ("pscInterfaceConfig", Any),
        ("templateUri", Text),
        ("templateMetadata", OutputOnly),
        ("scheduleName", OutputOnly),
        ("preflightValidations", Bool),
    ],
};

static RUNTIME_CONFIG: Message = Message {
    fields: &[
        ("parameters", Any),
        ("gcsOutputDirectory", Text),
        ("parameterValues", Any),
        (
            "failurePolicy",
            Enum(&[
                "PIPELINE_FAILURE_POLICY_UNSPECIFIED",
                "PIPELINE_FAILURE_POLICY_FAIL_SLOW",
                "PIPELINE_FAILURE_POLICY_FAIL_FAST",
            ]),
        ),
        ("inputArtifacts", Any),
    ],
};
