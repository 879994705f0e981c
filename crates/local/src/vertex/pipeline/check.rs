//! Checks of a plan: placeholders that mean something, tasks in an order that exists.

use std::collections::{BTreeMap, BTreeSet};

use super::super::validate::Findings;
use super::placeholder::Placeholder;
use super::plan::{Source, Task};
use super::spec::{DagSpec, Definitions};

/// Every placeholder of the task's command stands for something.
pub(super) fn check_placeholders(
    path: &str,
    task: &Task,
    inputs: &Definitions,
    findings: &mut Findings,
) {
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
pub(super) fn check_order(dag: &DagSpec, tasks: &[Task], findings: &mut Findings) {
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
