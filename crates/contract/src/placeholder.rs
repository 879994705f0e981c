//! `{{ name }}` in the strings of a training spec.

use serde_json::Value;

use crate::artifact::Artifact;
use crate::artifact_ready::ArtifactReady;
use crate::run_id::RunId;
use crate::text::cut;

/// What stands for a placeholder.
pub enum Fill {
    /// This text.
    Text(String),
    /// The placeholder itself: somebody later knows.
    Keep,
    /// There is no such thing.
    Unknown,
}

/// A placeholder that nothing fills.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The name is not known.
    #[error("{path}: there is no {{{{ {} }}}}", cut(name))]
    Unknown {
        /// Field that holds it.
        path: String,
        /// What stands between the braces.
        name: String,
    },
    /// Braces that are opened and not closed.
    #[error("{path}: {{{{ is never closed")]
    Open {
        /// Field that holds them.
        path: String,
    },
}

/// Fills the placeholders of every string in the value; keys are left alone.
pub fn expand(value: &Value, fill: &impl Fn(&str) -> Fill) -> Result<Value, Error> {
    walk(value, "", fill)
}

/// Whether the text holds a placeholder that somebody is to fill.
pub fn has_any(text: &str) -> bool {
    without(text).is_some_and(|it| it != text)
}

/// Whether the text is one placeholder and nothing else, so that it can stand for a number.
pub fn is_one(text: &str) -> bool {
    text.matches("{{").count() == 1 && without(text).is_some_and(|it| it.is_empty())
}

fn without(text: &str) -> Option<String> {
    expand_text(text, "", &|_| Fill::Text(String::new())).ok()
}

/// Fills the placeholders of a training spec. A pipeline spec in it is left
/// alone: it has parameters of its own, and its code may hold any braces.
pub fn expand_training(body: &Value, fill: &impl Fn(&str) -> Fill) -> Result<Value, Error> {
    let mut body = body.clone();
    let specs = PIPELINE_SPEC.map(|key| body.get_mut(key).map(Value::take));
    let mut filled = expand(&body, fill)?;
    for (key, spec) in PIPELINE_SPEC.into_iter().zip(specs) {
        if let (Some(slot), Some(spec)) = (filled.get_mut(key), spec) {
            *slot = spec;
        }
    }
    Ok(filled)
}

/// As Vertex AI takes it.
const PIPELINE_SPEC: [&str; 2] = ["pipelineSpec", "pipeline_spec"];

/// What a placeholder of a request stands for, once its run and output directory are known, and
/// where its artifacts lie for the job.
pub fn fill(
    request: &ArtifactReady,
    artifacts: &[Artifact],
    run: &RunId,
    output: &str,
    name: &str,
) -> Fill {
    let text = match name.split('.').collect::<Vec<_>>()[..] {
        ["output"] => Some(output.to_owned()),
        ["run", "id"] => Some(run.to_string()),
        ["commit", "sha"] => Some(request.gitlab.sha.to_string()),
        ["commit", "ref"] => Some(request.gitlab.git_ref.to_string()),
        ["artifacts", artifact, "uri"] => artifact_uri(artifacts, artifact),
        // Where Vertex AI mounts the bucket for the training code.
        ["artifacts", artifact, "path"] => {
            artifact_uri(artifacts, artifact).map(|it| it.replacen("gs://", "/gcs/", 1))
        }
        _ => None,
    };
    text.map_or(Fill::Unknown, Fill::Text)
}

/// The artifact's directory, or its one object.
fn artifact_uri(artifacts: &[Artifact], name: &str) -> Option<String> {
    let artifact = artifacts.iter().find(|it| it.name.as_str() == name)?;
    let directory = artifact.directory.as_ref().map(ToString::to_string);
    Some(directory.unwrap_or_else(|| artifact.uri.to_string()))
}

fn walk(value: &Value, path: &str, fill: &impl Fn(&str) -> Fill) -> Result<Value, Error> {
    Ok(match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::String(text) => Value::String(expand_text(text, path, fill)?),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items
                .map(|(i, it)| walk(it, &format!("{path}[{i}]"), fill))
                .collect::<Result<_, _>>()?
        }
        Value::Object(map) => {
            let dot = if path.is_empty() { "" } else { "." };
            map.iter()
                .map(|(key, it)| Ok((key.clone(), walk(it, &format!("{path}{dot}{key}"), fill)?)))
                .collect::<Result<_, _>>()?
        }
    })
}

fn expand_text(text: &str, path: &str, fill: &impl Fn(&str) -> Fill) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find("{{") {
        // `{{$.inputs…}}` is the pipeline compiler's own, not ours.
        let ours = !rest[open + 2..].trim_start().starts_with('$');
        let close = rest[open..].find("}}").map(|it| open + it);
        let Some(close) = close else {
            if ours {
                return Err(Error::Open { path: path.to_owned() });
            }
            break;
        };
        let (name, whole) = (rest[open + 2..close].trim(), &rest[open..close + 2]);
        out.push_str(&rest[..open]);
        match if ours { fill(name) } else { Fill::Keep } {
            Fill::Text(text) => out.push_str(&text),
            Fill::Keep => out.push_str(whole),
            Fill::Unknown => {
                return Err(Error::Unknown { path: path.to_owned(), name: name.to_owned() });
            }
        }
        rest = &rest[close + 2..];
    }
    out.push_str(rest);
    Ok(out)
}
