//! One task of a pipeline: its executor input, its command, and what it leaves behind.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::super::json::whole;
use super::super::logs::Replica;
use super::super::mount::path_of;
use super::super::place::new_id;
use super::super::process::{self, Exit};
use super::super::run::{Ending, Failure, Run};
use super::placeholder::{Fact, Placeholder, Property, fill};
use super::plan::{Plan, Source, Task};

/// Bytes read of a file that a task writes for the pipeline.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;

/// Vertex's code for a task that did not do what the pipeline needs.
const FAILED_PRECONDITION: i32 = 9;

/// How long a task may take: the real service's default for its jobs.
const TIMEOUT: std::time::Duration = std::time::Duration::from_hours(7 * 24);

/// What a task has made.
#[derive(Clone, Debug, Default)]
pub(super) struct Outputs {
    pub(super) parameters: BTreeMap<String, Value>,
    pub(super) artifacts: BTreeMap<String, Artifact>,
}

/// A file or directory in Storage with what is known about it.
#[derive(Clone, Debug)]
pub(super) struct Artifact {
    pub(super) uri: String,
    pub(super) schema: String,
    pub(super) metadata: Map<String, Value>,
}

impl Artifact {
    /// As the executor input has it.
    fn input(&self, name: &str) -> Value {
        let kind = json!({"schemaTitle": self.schema});
        json!({"artifacts": [{"name": name, "uri": self.uri, "type": kind, "metadata": self.metadata}]})
    }

    /// As the job's details have it.
    fn detail(&self, name: &str) -> Value {
        let (schema, metadata) = (&self.schema, &self.metadata);
        json!({"artifacts": [{"displayName": name, "uri": self.uri, "schemaTitle": schema, "metadata": metadata}]})
    }
}

/// Artifacts as the job's details have them.
pub(super) fn details(artifacts: &BTreeMap<String, Artifact>) -> Value {
    artifacts.iter().map(|(name, it)| (name.clone(), it.detail(name))).collect()
}

/// A task with everything that it is given.
pub(super) struct Execution<'a> {
    run: &'a Run,
    task: &'a Task,
    id: String,
    /// Id of the custom job that it is.
    pub(super) custom_job: String,
    root: String,
    pub(super) parameters: BTreeMap<String, Value>,
    pub(super) artifacts: BTreeMap<String, Artifact>,
    outputs: Outputs,
}

impl<'a> Execution<'a> {
    /// Takes the inputs from the outputs of the tasks before.
    pub(super) fn new(
        run: &'a Run,
        plan: &Plan,
        task: &'a Task,
        id: &str,
        done: &BTreeMap<String, Outputs>,
    ) -> Self {
        let parameters: BTreeMap<_, _> = task
            .parameters
            .iter()
            .filter_map(|(name, source)| {
                let value = match source {
                    Source::Value(value) => value.clone(),
                    Source::Output { task, key } => done.get(task)?.parameters.get(key)?.clone(),
                };
                Some((name.clone(), value))
            })
            .collect();
        let artifacts = task
            .artifacts
            .iter()
            .filter_map(|(name, (task, key))| {
                Some((name.clone(), done.get(task)?.artifacts.get(key)?.clone()))
            })
            .collect();
        let made = task.output_artifacts.iter().map(|(key, schema)| {
            let uri = format!("{}/{}/{id}/{key}", plan.output_directory, run.id());
            (key.clone(), Artifact { uri, schema: schema.clone(), metadata: Map::new() })
        });
        let outputs = Outputs { parameters: BTreeMap::new(), artifacts: made.collect() };
        // Constants may be put together from the task's other inputs.
        let filled = parameters.iter().map(|(name, value)| match value {
            Value::String(text) => {
                let value = fill(text, |placeholder| match placeholder {
                    Placeholder::InputParameter(other) => parameters.get(other).map(text_of),
                    _ => None,
                });
                (name.clone(), Value::from(value))
            }
            other => (name.clone(), whole(other)),
        });
        let (parameters, root) = (filled.collect(), plan.output_directory.clone());
        let (id, custom_job) = (id.to_owned(), new_id());
        Self { run, task, id, custom_job, root, parameters, artifacts, outputs }
    }

    /// Runs the container and reads what it left.
    pub(super) async fn run(mut self) -> Result<Outputs, Ending> {
        let exit = self.start().await.map_err(Ending::Failed)?;
        match self.run.ending(exit, TIMEOUT) {
            Ending::Succeeded => {}
            other => return Err(other),
        }
        self.collect()
            .map_err(|message| Ending::Failed(Failure { code: FAILED_PRECONDITION, message }))?;
        Ok(self.outputs)
    }

    async fn start(&self) -> Result<Exit, Failure> {
        let files = self.task.output_parameters.keys().map(|name| self.parameter_file(name));
        let paths = self
            .outputs
            .artifacts
            .values()
            .filter_map(|it| path_of(&self.run.mount_root(), &it.uri));
        for path in files.chain(paths).chain([self.executor_output()]) {
            let created = path.parent().map_or(Ok(()), std::fs::create_dir_all);
            created
                .map_err(|error| Failure::internal(format!("no directory for outputs: {error}")))?;
        }
        let container = &self.task.container;
        let fill = |text: &String| fill(text, |placeholder| self.value(placeholder));
        let argv = container.command.iter().chain(&container.args).map(fill).collect();
        let env = container.env.iter().map(|it| (it.name.clone(), fill(&it.value))).collect();
        // The real service runs a task as a custom job of one replica, and so its failures read.
        let name = "workerpool0-0".to_owned();
        let replica = Replica { custom_job: self.custom_job.clone(), name };
        let process = self.run.prepare(&self.task.name, replica, argv, env).await?;
        Ok(process::run(vec![process], TIMEOUT, &self.run.stop).await)
    }

    fn value(&self, placeholder: Placeholder<'_>) -> Option<String> {
        match placeholder {
            Placeholder::ExecutorInput => Some(self.executor_input().to_string()),
            Placeholder::InputParameter(name) => self.parameters.get(name).map(text_of),
            Placeholder::InputArtifact(name, property) => {
                self.property(self.artifacts.get(name)?, property)
            }
            Placeholder::OutputArtifact(name, property) => {
                self.property(self.outputs.artifacts.get(name)?, property)
            }
            Placeholder::OutputParameterFile(name) => {
                Some(text_of_path(&self.parameter_file(name)))
            }
            Placeholder::OutputFile => Some(text_of_path(&self.executor_output())),
            Placeholder::Pipeline(fact) => Some(match fact {
                Fact::JobName => self.run.id().to_owned(),
                Fact::JobResourceName => self.run.name.clone(),
                Fact::JobId => crc32c::crc32c(self.run.name.as_bytes()).to_string(),
                Fact::TaskName => self.task.name.clone(),
                Fact::TaskId => self.id.clone(),
                Fact::Root => self.root.clone(),
            }),
        }
    }

    fn property(&self, artifact: &Artifact, property: Property<'_>) -> Option<String> {
        match property {
            Property::Uri => Some(artifact.uri.clone()),
            Property::Path => {
                path_of(&self.run.mount_root(), &artifact.uri).map(|path| text_of_path(&path))
            }
            Property::Metadata(key) => artifact.metadata.get(key).map(text_of),
        }
    }

    fn executor_input(&self) -> Value {
        let artifacts = |artifacts: &BTreeMap<String, Artifact>| -> Value {
            artifacts.iter().map(|(name, it)| (name.clone(), it.input(name))).collect()
        };
        let files = self.task.output_parameters.keys();
        let files: Value = files
            .map(|name| {
                (name.clone(), json!({"outputFile": text_of_path(&self.parameter_file(name))}))
            })
            .collect();
        json!({
            "inputs": {"parameterValues": self.parameters, "artifacts": artifacts(&self.artifacts)},
            "outputs": {
                "parameters": files,
                "artifacts": artifacts(&self.outputs.artifacts),
                "outputFile": text_of_path(&self.executor_output()),
            },
        })
    }

    fn parameter_file(&self, name: &str) -> PathBuf {
        self.run.directory(&self.id).join("outputs").join(name.replace('/', "_"))
    }

    fn executor_output(&self) -> PathBuf {
        self.run.directory(&self.id).join("executor_output.json")
    }

    /// Reads the parameters' files, then `executor_output.json`, which wins:
    /// `{"parameterValues": {…}, "artifacts": {"NAME": {"artifacts": [{"uri", "metadata"}]}}}`.
    fn collect(&mut self) -> Result<(), String> {
        for (name, kind) in &self.task.output_parameters {
            if let Some(text) = read(&self.parameter_file(name))? {
                let value = typed(kind, &text).ok_or_else(|| {
                    format!("The output parameter '{name}' is not of type {kind}.")
                })?;
                self.outputs.parameters.insert(name.clone(), value);
            }
        }
        if let Some(text) = read(&self.executor_output())? {
            let output: Value = serde_json::from_str(&text)
                .map_err(|error| format!("executor_output.json: {error}"))?;
            self.merge(&output);
        }
        let missing = self
            .task
            .output_parameters
            .keys()
            .find(|it| !self.outputs.parameters.contains_key(*it));
        missing.map_or(Ok(()), |name| {
            Err(format!("The task did not write its output parameter '{name}'."))
        })
    }

    fn merge(&mut self, output: &Value) {
        for (name, value) in output["parameterValues"].as_object().into_iter().flatten() {
            if self.task.output_parameters.contains_key(name) {
                self.outputs.parameters.insert(name.clone(), value.clone());
            }
        }
        for (name, artifact) in &mut self.outputs.artifacts {
            let told = &output["artifacts"][name]["artifacts"][0];
            if let Some(uri) = told["uri"].as_str() {
                uri.clone_into(&mut artifact.uri);
            }
            if let Some(metadata) = told["metadata"].as_object() {
                artifact.metadata.extend(metadata.clone());
            }
        }
    }
}

fn read(path: &Path) -> Result<Option<String>, String> {
    let Ok(file) = std::fs::File::open(path) else {
        return Ok(None);
    };
    let mut text = String::new();
    let read = file.take(OUTPUT_BYTES_MAX).read_to_string(&mut text);
    read.map(|_| Some(text))
        .map_err(|error| format!("An output of the task cannot be read: {error}"))
}

fn typed(kind: &str, text: &str) -> Option<Value> {
    let trimmed = text.trim();
    match kind {
        "NUMBER_INTEGER" => trimmed.parse::<i64>().ok().map(Value::from),
        "NUMBER_DOUBLE" => trimmed.parse::<f64>().ok().map(Value::from),
        "BOOLEAN" => trimmed.to_ascii_lowercase().parse::<bool>().ok().map(Value::from),
        "LIST" | "STRUCT" => serde_json::from_str(trimmed).ok(),
        _ => Some(Value::from(text)),
    }
}

/// A value as it stands in a command.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => whole(other).to_string(),
    }
}

fn text_of_path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
