//! A compiled Kubeflow pipeline and its runtime configuration: what of them is read.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::spec::EnvVar;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PipelineSpec {
    pub(super) root: ComponentSpec,
    pub(super) components: BTreeMap<String, ComponentSpec>,
    pub(super) deployment_spec: DeploymentSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ComponentSpec {
    pub(super) executor_label: String,
    pub(super) dag: Option<DagSpec>,
    pub(super) input_definitions: Definitions,
    pub(super) output_definitions: Definitions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Definitions {
    pub(super) parameters: BTreeMap<String, ParameterDefinition>,
    pub(super) artifacts: BTreeMap<String, ArtifactDefinition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ParameterDefinition {
    pub(super) parameter_type: String,
    pub(super) default_value: Option<Value>,
    pub(super) is_optional: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ArtifactDefinition {
    pub(super) artifact_type: ArtifactType,
    pub(super) is_optional: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ArtifactType {
    pub(super) schema_title: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DagSpec {
    pub(super) tasks: BTreeMap<String, TaskSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TaskSpec {
    pub(super) component_ref: ComponentRef,
    pub(super) dependent_tasks: BTreeSet<String>,
    pub(super) inputs: Inputs,
    pub(super) trigger_policy: TriggerPolicy,
    pub(super) parameter_iterator: Option<Value>,
    pub(super) artifact_iterator: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ComponentRef {
    pub(super) name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TriggerPolicy {
    pub(super) condition: String,
    pub(super) strategy: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Inputs {
    pub(super) parameters: BTreeMap<String, ParameterInput>,
    pub(super) artifacts: BTreeMap<String, ArtifactInput>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ParameterInput {
    pub(super) component_input_parameter: Option<String>,
    pub(super) task_output_parameter: Option<TaskOutputParameter>,
    pub(super) runtime_value: Option<RuntimeValue>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskOutputParameter {
    pub(super) producer_task: String,
    pub(super) output_parameter_key: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct RuntimeValue {
    pub(super) constant: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ArtifactInput {
    pub(super) task_output_artifact: Option<TaskOutputArtifact>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskOutputArtifact {
    pub(super) producer_task: String,
    pub(super) output_artifact_key: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DeploymentSpec {
    pub(super) executors: BTreeMap<String, Executor>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Executor {
    pub(super) container: Option<Container>,
}

/// A container as a pipeline describes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Container {
    pub(super) command: Vec<String>,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<EnvVar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RuntimeConfig {
    pub(super) gcs_output_directory: String,
    pub(super) parameter_values: Map<String, Value>,
    pub(super) parameters: Map<String, Value>,
    pub(super) input_artifacts: Map<String, Value>,
    pub(super) failure_policy: String,
}
