//! A compiled Kubeflow pipeline: what of it is read, and the plan it amounts to.
//!
//! Containers in dependency order are run. Nested pipelines, conditions and loops are refused.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::store::Resource;
use super::super::validate::{Findings, is_gcs_uri};
use super::placeholder::Placeholder;

/// Tasks of one pipeline.
const TASKS_MAX: usize = 200;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PipelineSpec {
    root: ComponentSpec,
    components: BTreeMap<String, ComponentSpec>,
    deployment_spec: DeploymentSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ComponentSpec {
    executor_label: String,
    dag: Option<DagSpec>,
    input_definitions: Definitions,
    output_definitions: Definitions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Definitions {
    parameters: BTreeMap<String, ParameterDefinition>,
    artifacts: BTreeMap<String, ArtifactDefinition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ParameterDefinition {
    parameter_type: String,
    default_value: Option<Value>,
    is_optional: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ArtifactDefinition {
    artifact_type: ArtifactType,
    is_optional: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ArtifactType {
    schema_title: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DagSpec {
    tasks: BTreeMap<String, TaskSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TaskSpec {
    component_ref: ComponentRef,
    dependent_tasks: BTreeSet<String>,
    inputs: Inputs,
    trigger_policy: TriggerPolicy,
    parameter_iterator: Option<Value>,
    artifact_iterator: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ComponentRef {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TriggerPolicy {
    condition: String,
    strategy: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Inputs {
    parameters: BTreeMap<String, ParameterInput>,
    artifacts: BTreeMap<String, ArtifactInput>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ParameterInput {
    component_input_parameter: Option<String>,
    task_output_parameter: Option<TaskOutputParameter>,
    runtime_value: Option<RuntimeValue>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskOutputParameter {
    producer_task: String,
    output_parameter_key: String,
}

#[derive(Debug, Deserialize)]
struct RuntimeValue {
    constant: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ArtifactInput {
    task_output_artifact: Option<TaskOutputArtifact>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskOutputArtifact {
    producer_task: String,
    output_artifact_key: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DeploymentSpec {
    executors: BTreeMap<String, Executor>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Executor {
    container: Option<Container>,
}

/// A container as a pipeline describes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Container {
    pub(super) command: Vec<String>,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<super::super::spec::EnvVar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RuntimeConfig {
    gcs_output_directory: String,
    parameter_values: Map<String, Value>,
    parameters: Map<String, Value>,
    input_artifacts: Map<String, Value>,
    failure_policy: String,
}

/// What is to be run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) tasks: Vec<Task>,
    pub(super) output_directory: String,
    /// Tasks that do not depend on a failed one still run.
    pub(super) fail_slow: bool,
}

/// One container to run, once all of `after` have succeeded.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) name: String,
    pub(super) after: BTreeSet<String>,
    pub(super) container: Container,
    pub(super) parameters: BTreeMap<String, Source>,
    /// Input artifacts: the task and the output that they come from.
    pub(super) artifacts: BTreeMap<String, (String, String)>,
    /// Output parameters and their types.
    pub(super) output_parameters: BTreeMap<String, String>,
    /// Output artifacts and their schemas.
    pub(super) output_artifacts: BTreeMap<String, String>,
}

/// Where the value of an input parameter comes from.
#[derive(Debug)]
pub(super) enum Source {
    Value(Value),
    Output { task: String, key: String },
}

impl Plan {
    /// Reads a job; the plan is complete if nothing was found wrong.
    pub(super) fn of(job: &Resource, findings: &mut Findings) -> Self {
        let mut spec: PipelineSpec = read(job, "pipelineSpec", "pipeline_spec", findings);
        let config: RuntimeConfig = read(job, "runtimeConfig", "runtime_config", findings);
        if !is_gcs_uri(&config.gcs_output_directory) {
            findings.add("runtime_config.gcs_output_directory", "A Cloud Storage URI is required.");
        }
        if !config.parameters.is_empty() {
            findings.add("runtime_config.parameters", "Deprecated: use parameter_values.");
        }
        if !config.input_artifacts.is_empty() {
            findings.add(
                "runtime_config.input_artifacts",
                "The local stack has no metadata store to take artifacts from.",
            );
        }
        let inputs = pipeline_inputs(&spec.root.input_definitions, &config, findings);
        let dag = spec.root.dag.take().unwrap_or_default();
        if dag.tasks.is_empty() || dag.tasks.len() > TASKS_MAX {
            findings.add(
                "pipeline_spec.root.dag.tasks",
                format!("There must be 1 to {TASKS_MAX} tasks."),
            );
        }
        let tasks: Vec<_> = dag
            .tasks
            .iter()
            .filter_map(|(name, task)| plan_task(&spec, name, task, &inputs, findings))
            .collect();
        check_order(&dag, &tasks, findings);
        Self {
            tasks,
            output_directory: config.gcs_output_directory.trim_end_matches('/').to_owned(),
            fail_slow: config.failure_policy != "PIPELINE_FAILURE_POLICY_FAIL_FAST",
        }
    }
}

fn read<T>(job: &Resource, field: &str, path: &str, findings: &mut Findings) -> T
where
    T: Default + for<'de> Deserialize<'de>,
{
    if !job.contains_key(field) {
        findings.required(path);
    }
    super::super::spec::read(job, field).unwrap_or_else(|error| {
        findings.add(path, error.to_string());
        T::default()
    })
}

fn pipeline_inputs(
    definitions: &Definitions,
    config: &RuntimeConfig,
    findings: &mut Findings,
) -> BTreeMap<String, Option<Value>> {
    for name in
        config.parameter_values.keys().filter(|name| !definitions.parameters.contains_key(*name))
    {
        findings.add(
            format!("runtime_config.parameter_values.{name}"),
            format!("The pipeline has no parameter '{name}'."),
        );
    }
    let mut inputs = BTreeMap::new();
    for (name, definition) in &definitions.parameters {
        let value = config.parameter_values.get(name).or(definition.default_value.as_ref());
        if value.is_none() && !definition.is_optional {
            findings.required(format!("runtime_config.parameter_values.{name}"));
        }
        inputs.insert(name.clone(), value.cloned());
    }
    inputs
}

fn plan_task(
    spec: &PipelineSpec,
    name: &str,
    task: &TaskSpec,
    inputs: &BTreeMap<String, Option<Value>>,
    findings: &mut Findings,
) -> Option<Task> {
    let path = format!("pipeline_spec.root.dag.tasks.{name}");
    refuse_control_flow(&path, task, findings);
    let Some(component) = spec.components.get(&task.component_ref.name) else {
        findings.add(
            format!("{path}.component_ref"),
            format!("There is no component '{}'.", task.component_ref.name),
        );
        return None;
    };
    if component.dag.is_some() {
        findings.add(path, "The local stack runs no nested pipelines.");
        return None;
    }
    let executor = spec.deployment_spec.executors.get(&component.executor_label);
    let Some(container) = executor.and_then(|it| it.container.clone()) else {
        findings.add(
            path,
            format!(
                "The local stack runs containers only, and '{}' is none.",
                component.executor_label
            ),
        );
        return None;
    };
    if container.command.first().is_none_or(String::is_empty) {
        findings.add(
            format!(
                "pipeline_spec.deployment_spec.executors.{}.container.command",
                component.executor_label
            ),
            "The local stack pulls no images, so it cannot run one without a command.",
        );
    }
    let parameters = parameters(&path, task, component, inputs, findings);
    let mut artifacts = BTreeMap::new();
    for (input, artifact) in &task.inputs.artifacts {
        match &artifact.task_output_artifact {
            Some(it) => {
                artifacts.insert(
                    input.clone(),
                    (it.producer_task.clone(), it.output_artifact_key.clone()),
                );
            }
            None => findings.add(
                format!("{path}.inputs.artifacts.{input}"),
                "The local stack takes artifacts from tasks only.",
            ),
        }
    }
    let producers = parameters
        .values()
        .filter_map(Source::producer)
        .chain(artifacts.values().map(|(task, _)| task));
    let after = producers.chain(&task.dependent_tasks).cloned().collect();
    let outputs = &component.output_definitions;
    let task = Task {
        name: name.to_owned(),
        after,
        container,
        parameters,
        artifacts,
        output_parameters: outputs
            .parameters
            .iter()
            .map(|(key, it)| (key.clone(), it.parameter_type.clone()))
            .collect(),
        output_artifacts: outputs
            .artifacts
            .iter()
            .map(|(key, it)| (key.clone(), it.artifact_type.schema_title.clone()))
            .collect(),
    };
    check_placeholders(&path, &task, &component.input_definitions, findings);
    Some(task)
}

fn refuse_control_flow(path: &str, task: &TaskSpec, findings: &mut Findings) {
    if !task.trigger_policy.condition.is_empty() {
        findings
            .add(format!("{path}.trigger_policy.condition"), "The local stack has no conditions.");
    }
    if task.trigger_policy.strategy == "ALL_UPSTREAM_TASKS_COMPLETED" {
        findings.add(
            format!("{path}.trigger_policy.strategy"),
            "The local stack has no exit handlers.",
        );
    }
    if task.parameter_iterator.is_some() || task.artifact_iterator.is_some() {
        findings.add(path, "The local stack has no loops.");
    }
}

fn parameters(
    path: &str,
    task: &TaskSpec,
    component: &ComponentSpec,
    inputs: &BTreeMap<String, Option<Value>>,
    findings: &mut Findings,
) -> BTreeMap<String, Source> {
    let defaults = component.input_definitions.parameters.iter();
    let mut parameters: BTreeMap<_, _> = defaults
        .filter_map(|(name, it)| Some((name.clone(), Source::Value(it.default_value.clone()?))))
        .collect();
    for (name, input) in &task.inputs.parameters {
        let constant = input.runtime_value.as_ref().and_then(|it| it.constant.clone());
        let source = match (
            &input.component_input_parameter,
            &input.task_output_parameter,
            constant,
        ) {
            (Some(pipeline_input), None, None) => match inputs.get(pipeline_input) {
                Some(Some(value)) => Source::Value(value.clone()),
                // An optional input without a value leaves the component's default.
                Some(None) => continue,
                None => {
                    findings.add(
                        format!("{path}.inputs.parameters.{name}"),
                        format!("The pipeline has no parameter '{pipeline_input}'."),
                    );
                    continue;
                }
            },
            (None, Some(it), None) => Source::Output {
                task: it.producer_task.clone(),
                key: it.output_parameter_key.clone(),
            },
            (None, None, Some(constant)) => Source::Value(constant),
            _ => {
                findings.add(
                    format!("{path}.inputs.parameters.{name}"),
                    "Exactly one of component_input_parameter, task_output_parameter and runtime_value.constant has to be set.",
                );
                continue;
            }
        };
        parameters.insert(name.clone(), source);
    }
    for (name, definition) in &component.input_definitions.parameters {
        if !definition.is_optional && !parameters.contains_key(name) {
            findings.required(format!("{path}.inputs.parameters.{name}"));
        }
    }
    parameters
}

impl Source {
    fn producer(&self) -> Option<&String> {
        match self {
            Self::Output { task, .. } => Some(task),
            Self::Value(_) => None,
        }
    }
}

fn check_placeholders(path: &str, task: &Task, inputs: &Definitions, findings: &mut Findings) {
    for (name, definition) in &inputs.artifacts {
        if !definition.is_optional && !task.artifacts.contains_key(name) {
            findings.required(format!("{path}.inputs.artifacts.{name}"));
        }
    }
    let container = &task.container;
    let texts = container
        .command
        .iter()
        .chain(&container.args)
        .chain(container.env.iter().map(|it| &it.value));
    for text in texts {
        if text.starts_with("{\"Concat\"") || text.starts_with("{\"IfPresent\"") {
            findings.add(path, format!("The local stack does not evaluate {text}."));
        }
        for placeholder in Placeholder::all(text) {
            let known = match placeholder {
                Ok(Placeholder::InputParameter(name)) => inputs.parameters.contains_key(name),
                Ok(Placeholder::InputArtifact(name, _)) => inputs.artifacts.contains_key(name),
                Ok(Placeholder::OutputParameterFile(name)) => {
                    task.output_parameters.contains_key(name)
                }
                Ok(Placeholder::OutputArtifact(name, _)) => {
                    task.output_artifacts.contains_key(name)
                }
                Ok(
                    Placeholder::ExecutorInput | Placeholder::OutputFile | Placeholder::Pipeline(_),
                ) => true,
                Err(_) => false,
            };
            if !known {
                findings.add(
                    path,
                    format!("The command holds a placeholder that means nothing here: {text}"),
                );
            }
        }
    }
}

/// Every task's predecessors exist, make what is taken from them, and do not wait for it.
fn check_order(dag: &DagSpec, tasks: &[Task], findings: &mut Findings) {
    let by_name: BTreeMap<_, _> = tasks.iter().map(|task| (task.name.as_str(), task)).collect();
    for task in tasks {
        let path = format!("pipeline_spec.root.dag.tasks.{}", task.name);
        for producer in task.after.iter().filter(|it| !dag.tasks.contains_key(*it)) {
            findings.add(&path, format!("There is no task '{producer}'."));
        }
        let parameters = task.parameters.values().filter_map(|source| match source {
            Source::Output { task, key } => Some((task, key)),
            Source::Value(_) => None,
        });
        for (producer, key) in parameters {
            if by_name
                .get(producer.as_str())
                .is_some_and(|it| !it.output_parameters.contains_key(key))
            {
                findings
                    .add(&path, format!("The task '{producer}' has no output parameter '{key}'."));
            }
        }
        for (producer, key) in task.artifacts.values() {
            if by_name
                .get(producer.as_str())
                .is_some_and(|it| !it.output_artifacts.contains_key(key))
            {
                findings
                    .add(&path, format!("The task '{producer}' has no output artifact '{key}'."));
            }
        }
    }
    let mut placed = BTreeSet::new();
    let mut left: Vec<_> = tasks.iter().collect();
    loop {
        let before = left.len();
        left.retain(|task| {
            let ready = task
                .after
                .iter()
                .all(|it| placed.contains(it.as_str()) || !by_name.contains_key(it.as_str()));
            if ready {
                placed.insert(task.name.as_str());
            }
            !ready
        });
        if left.len() == before {
            break;
        }
    }
    for task in left {
        findings.add(
            format!("pipeline_spec.root.dag.tasks.{}", task.name),
            "The task depends on itself.",
        );
    }
}
