//! The JSON Schemas of the events, one for each type and version.

use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value, json};

use crate::artifact_ready::ArtifactReady;
use crate::run_event::{Phase, RunEvent};

/// Event types and the schemas of their data.
pub fn schemas() -> Vec<(&'static str, Value)> {
    let ready = (ArtifactReady::EVENT_TYPE, schema::<ArtifactReady>(ArtifactReady::EVENT_TYPE));
    let runs = Phase::ALL.map(|phase| (phase.event_type(), run_event(phase)));
    std::iter::once(ready).chain(runs).collect()
}

/// A run event of one phase says that phase and no other.
fn run_event(phase: Phase) -> Value {
    let mut schema = schema::<RunEvent>(phase.event_type());
    schema["properties"]["phase"] = json!({ "const": phase.as_str() });
    let definitions = schema["$defs"].as_object_mut().expect("events are made of named types");
    definitions.shift_remove("Phase");
    if phase == Phase::Completed {
        let required = schema["required"].as_array_mut().expect("a run event has such fields");
        required.push(json!("outcome"));
    }
    schema
}

/// As derived, but with what identifies it on top.
fn schema<T: JsonSchema>(event_type: &str) -> Value {
    let mut derived = schema_for!(T);
    let dialect = derived.remove("$schema").expect("schemars names its dialect");
    let mut schema = Map::from_iter([
        ("$schema".to_owned(), dialect),
        ("$id".to_owned(), json!(format!("urn:branchline:schema:{event_type}"))),
        ("title".to_owned(), json!(event_type)),
    ]);
    derived.remove("title");
    schema.extend(derived.as_object().expect("a struct's schema").clone());
    schema.into()
}
