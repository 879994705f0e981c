//! What a pipeline job amounts to: containers in dependency order.
//!
//! Nested pipelines, conditions and loops are refused.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::super::store::Resource;
use super::super::validate::{Findings, is_gcs_uri};
use super::check::{check_order, check_placeholders};
use super::spec::{ComponentSpec, Container, Definitions, PipelineSpec, RuntimeConfig, TaskSpec};

/// Tasks of one pipeline.
const TASKS_MAX: usize = 200;

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
    let artifacts = artifacts(&path, task, findings);
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

fn artifacts(
    path: &str,
    task: &TaskSpec,
    findings: &mut Findings,
) -> BTreeMap<String, (String, String)> {
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
    artifacts
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
