//! Decides whether a job can be created, and tells all that is wrong with it at once.

use serde_json::Value;

use super::error::{Answer, Refusal};
use super::kind::Kind;
use super::spec::{self, CustomJobSpec, WorkerPoolSpec};
use super::store::Resource;
use super::{pipeline, training, tuning};

/// Characters in a display name.
const DISPLAY_NAME_MAX: usize = 128;

/// Characters in a label's key and in its value, and labels on a job.
const LABEL_MAX: usize = 64;

/// Variables in a container's environment.
const ENV_MAX: usize = 100;

/// Pools of a job, and its processes: this is one machine.
const POOLS_MAX: usize = 4;
const REPLICAS_MAX: usize = 16;

/// What is wrong with a request.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<(String, String)>);

impl Findings {
    pub(super) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push((field.into(), message.into()));
    }

    pub(super) fn required(&mut self, field: impl Into<String>) {
        self.add(field, "Required field is not set.");
    }

    /// The real service writes its findings into one line.
    fn into_answer(self) -> Answer<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let findings = self.0.iter().enumerate().map(|(at, (field, text))| {
            let number = at + 1;
            format!("\t{number}.Field: {field}; Message: {text}")
        });
        let message = format!("List of found errors:{}\t", findings.collect::<Vec<_>>().concat());
        Err(Refusal::invalid(message))
    }
}

/// Checks a job before it is stored.
pub(super) fn validate(kind: Kind, job: &Resource) -> Answer<()> {
    let mut findings = Findings::default();
    common(kind, job, &mut findings);
    match kind {
        Kind::CustomJob => custom_job_spec("job_spec", job.get("jobSpec"), &mut findings),
        Kind::HyperparameterTuningJob => {
            tuning::validate(job, &mut findings);
            custom_job_spec("trial_job_spec", job.get("trialJobSpec"), &mut findings);
        }
        Kind::TrainingPipeline => training::validate(job, &mut findings)?,
        Kind::PipelineJob => pipeline::validate(job, &mut findings),
    }
    findings.into_answer()
}

fn common(kind: Kind, job: &Resource, findings: &mut Findings) {
    let display_name = job.get("displayName").and_then(Value::as_str).unwrap_or_default();
    if display_name.is_empty() && kind != Kind::PipelineJob {
        findings.required("display_name");
    }
    if display_name.chars().count() > DISPLAY_NAME_MAX {
        findings.add(
            "display_name",
            format!("The display name has more than {DISPLAY_NAME_MAX} characters."),
        );
    }
    let labels = job.get("labels").and_then(Value::as_object);
    if labels.is_some_and(|labels| labels.len() > LABEL_MAX) {
        findings.add("labels", format!("There are more than {LABEL_MAX} labels."));
    }
    for (key, value) in labels.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        if key.is_empty() || !is_label(key) || !is_label(value) {
            findings.add(
                format!("labels[{key}]"),
                format!(
                    "Label keys and values have at most {LABEL_MAX} characters: \
                     lower-case letters, digits, underscores and dashes."
                ),
            );
        }
    }
}

fn is_label(text: &str) -> bool {
    let fits = |letter: char| {
        letter == '_' || letter == '-' || letter.is_alphanumeric() && !letter.is_uppercase()
    };
    text.chars().count() <= LABEL_MAX && text.chars().all(fits)
}

/// Checks the spec that three of the kinds share.
pub(super) fn custom_job_spec(path: &str, value: Option<&Value>, findings: &mut Findings) {
    let Some(value) = value else {
        return findings.required(path);
    };
    let spec: CustomJobSpec = match serde::Deserialize::deserialize(value) {
        Ok(spec) => spec,
        Err(error) => return findings.add(path, error.to_string()),
    };
    if spec.worker_pool_specs.is_empty() {
        return findings.required(format!("{path}.worker_pool_specs"));
    }
    let replicas = spec.worker_pool_specs.iter().map(WorkerPoolSpec::replicas);
    let replicas = replicas.fold(0, usize::saturating_add);
    if spec.worker_pool_specs.len() > POOLS_MAX || replicas > REPLICAS_MAX {
        findings.add(
            format!("{path}.worker_pool_specs"),
            format!(
                "The local stack runs at most {POOLS_MAX} worker pools and {REPLICAS_MAX} replicas."
            ),
        );
    }
    for (index, pool) in spec.worker_pool_specs.iter().enumerate() {
        worker_pool(&format!("{path}.worker_pool_specs[{index}]"), index, pool, findings);
    }
    let output = &spec.base_output_directory.output_uri_prefix;
    if !output.is_empty() && !is_gcs_uri(output) {
        findings.add(
            format!("{path}.base_output_directory.output_uri_prefix"),
            format!("'{output}' is not a Cloud Storage URI (gs://bucket/prefix)."),
        );
    }
}

fn worker_pool(path: &str, index: usize, pool: &WorkerPoolSpec, findings: &mut Findings) {
    if pool.python_package_spec.is_some() {
        findings.add(
            format!("{path}.python_package_spec"),
            "The local stack runs container specs with a command only.",
        );
    } else if let Some(container) = &pool.container_spec {
        if container.image_uri.is_empty() {
            findings.required(format!("{path}.container_spec.image_uri"));
        }
        if container.command.first().is_none_or(String::is_empty) {
            findings.add(
                format!("{path}.container_spec.command"),
                "The local stack pulls no images, so it cannot run one without a command.",
            );
        }
        if container.env.len() > ENV_MAX {
            findings.add(
                format!("{path}.container_spec.env"),
                format!("There are more than {ENV_MAX} environment variables."),
            );
        }
        environment(path, container, findings);
    } else if index == 0 || pool.replicas() > 0 {
        findings.required(format!("{path}.container_spec"));
    }
    if pool.container_spec.is_some() && pool.machine_spec.machine_type.is_empty() {
        findings.required(format!("{path}.machine_spec.machine_type"));
    }
    if index == 0 && pool.container_spec.is_some() && pool.replicas() != 1 {
        findings.add(
            format!("{path}.replica_count"),
            "The first worker pool has exactly one replica, the chief.",
        );
    }
}

fn environment(path: &str, container: &spec::ContainerSpec, findings: &mut Findings) {
    let fits = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
    let texts = container.command.iter().chain(&container.args);
    if texts.chain(container.env.iter().map(|it| &it.value)).any(|text| text.contains('\0')) {
        findings
            .add(format!("{path}.container_spec"), "A process cannot be given a NUL character.");
    }
    for (index, variable) in container.env.iter().enumerate() {
        if !fits(&variable.name) {
            findings.add(
                format!("{path}.container_spec.env[{index}].name"),
                format!("'{}' is not the name of an environment variable.", variable.name),
            );
        }
    }
}

/// `gs://bucket` or `gs://bucket/anything`.
pub(super) fn is_gcs_uri(uri: &str) -> bool {
    uri.strip_prefix("gs://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}
