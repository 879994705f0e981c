//! The JSON of a resource as the SDK's type of it.

use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Reads `body` as a `T`. When it is none, the error names the first field to blame.
pub(super) fn parse<T: DeserializeOwned>(body: &Value, doing: &str) -> Result<T> {
    if !body.is_object() {
        return Err(Error::refused(doing, "the body must be a JSON object"));
    }
    serde_json::from_value(body.clone()).map_err(|why| {
        let refuses = |it: Value| serde_json::from_value::<T>(it).is_err();
        match culprit(body, &|it| it, &refuses) {
            path if path.is_empty() => Error::refused(doing, why.to_string()),
            path => Error::refused(doing, format!("{}: {why}", path.join("."))),
        }
    })
}

/// The path to the innermost value that is refused when it is alone in the
/// body. No field of these types is required, so being alone is no fault.
fn culprit(
    value: &Value,
    embed: &dyn Fn(Value) -> Value,
    refuses: &dyn Fn(Value) -> bool,
) -> Vec<String> {
    let parts: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(key, it)| (key.clone(), it)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(at, it)| (at.to_string(), it)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (key, part) in parts {
        let alone = |inner: Value| {
            embed(match value {
                Value::Object(_) => Value::Object(Map::from_iter([(key.clone(), inner)])),
                _ => Value::Array(vec![inner]),
            })
        };
        if refuses(alone(part.clone())) {
            let mut path = vec![key.clone()];
            path.extend(culprit(part, &alone, refuses));
            return path;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Class;
    use google_cloud_aiplatform_v1::model::{CustomJob, PipelineJob};
    use serde_json::json;

    fn refusal<T: DeserializeOwned + std::fmt::Debug>(body: &Value) -> String {
        let error = parse::<T>(body, "creating").unwrap_err();
        assert_eq!(error.class(), Class::Refused);
        assert!(error.definite(), "nothing was sent");
        error.message()
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named_with_its_path() {
        let cases = [
            (json!({"displayName": 5}), "displayName: invalid type: integer `5`"),
            (
                json!({"jobSpec": {"workerPoolSpecs": [
                    {"replicaCount": "1"},
                    {"containerSpec": {"imageUri": "i", "args": ["a", 1]}},
                ]}}),
                "jobSpec.workerPoolSpecs.1.containerSpec.args.1: invalid type: integer `1`",
            ),
            (
                json!({"jobSpec": {"scheduling": {"timeout": "soon"}}}),
                "jobSpec.scheduling.timeout: ",
            ),
            (json!({"labels": {"a": "b", "c": 1}}), "labels.c: invalid type: integer `1`"),
            (json!([]), "the body must be a JSON object"),
        ];
        for (body, expected) in cases {
            let actual = refusal::<CustomJob>(&body);
            assert!(actual.starts_with(expected), "expected {expected}, got {actual}");
        }
        assert!(refusal::<PipelineJob>(&json!({"pipelineSpec": 1})).starts_with("pipelineSpec: "));
    }

    #[test]
    fn a_body_keeps_fields_that_are_newer_than_the_sdk() {
        let body = json!({"displayName": "n", "jobSpec": {"newer": {"a": [1]}}});
        let job: CustomJob = parse(&body, "creating").unwrap();
        assert_eq!(serde_json::to_value(job).unwrap(), body);
    }
}
