//! What a run is called. The same request is the same run, however it arrives.

use serde_json::{Value, json};

use crate::artifact::Sha256;
use crate::artifact_ready::ArtifactReady;
use crate::text::text_type;

text_type!(
    /// Name of a run in `branchline.yaml`.
    RunName,
    "a run name (a lower-case letter, then letters, digits or -; at most 40)",
    40,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$"
);
text_type!(
    /// `<run name>-<20 hex digits>`: a valid Vertex AI label value and job id.
    RunId,
    "a run id (<run name>-<20 hex digits>)",
    61,
    "^[a-z]([a-z0-9-]*[a-z0-9])?-[0-9a-f]{20}$"
);

impl RunId {
    /// Derives the id and the full digest behind it. The announcing job, the
    /// pipeline, the id token and the number of attempts are not part of it: a
    /// retried CI job asks for the same run, and trying it more often makes it no other.
    pub fn derive(request: &ArtifactReady) -> (Self, Sha256) {
        let mut artifacts: Vec<Value> = request
            .artifacts
            .iter()
            .map(|it| match (it.sha256, &it.directory) {
                (Some(sha256), None) => json!([it.name, it.uri, sha256]),
                (Some(sha256), Some(directory)) => json!([it.name, it.uri, sha256, directory]),
                (None, None) => json!([it.name, it.uri, it.generation, it.size, it.crc32c]),
                (None, Some(directory)) => {
                    json!([it.name, it.uri, it.generation, it.size, it.crc32c, directory])
                }
            })
            .collect();
        artifacts.sort_by_key(Value::to_string);
        let identity = json!([
            request.gitlab.host,
            request.gitlab.project_id,
            request.gitlab.sha,
            request.run,
            artifacts,
            sorted(&request.training.to_value()),
            request.vertex,
            request.per_pipeline.then_some(request.gitlab.pipeline_id),
        ]);
        let digest = Sha256::of(identity.to_string().as_bytes());
        let id = format!("{}-{}", request.run, &digest.to_string()[..20]);
        (Self::parse(id).expect("a run name and 20 hex digits"), digest)
    }

    /// The run name it starts with.
    pub fn name(&self) -> &str {
        self.as_str().rsplit_once('-').expect("checked when parsed").0
    }
}

/// The value with the keys of its objects in order, so that a publisher's map order is not identity.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().map(|(k, v)| (k.clone(), sorted(v))).collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(pairs.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
