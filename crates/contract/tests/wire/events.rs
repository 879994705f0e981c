//! The events as others see them: checked-in schemas and one golden message of each type.

use std::collections::BTreeMap;
use std::path::PathBuf;

use branchline_contract::{ArtifactReady, DecodeError, Envelope, Phase, schemas};
use expect_test::expect_file;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A file of `golden/`. The order of its fields is the order on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Golden {
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) data: Value,
}

impl Golden {
    pub(crate) fn read(event_type: &str) -> Self {
        serde_json::from_str(&text("golden", event_type)).unwrap()
    }

    /// Decodes, and encodes again at the same time of day.
    fn recoded(&self) -> Result<Self, DecodeError> {
        let data = self.data.to_string();
        let Envelope { data, attributes } = if self.is_ready() {
            let request = Envelope::decode_artifact_ready(data.as_bytes(), &self.attributes)?;
            Envelope::artifact_ready(&request, self.attributes["ce-time"].parse().unwrap())
        } else {
            let event = Envelope::decode_run_event(data.as_bytes(), &self.attributes)?;
            Envelope::run_event(&event)
        };
        Ok(Self { attributes, data: serde_json::from_slice(&data).unwrap() })
    }

    fn is_ready(&self) -> bool {
        self.attributes["ce-type"].starts_with("branchline.artifact.ready.")
    }
}

fn path(folder: &str, event_type: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), folder, &format!("{event_type}.json")].iter().collect()
}

fn text(folder: &str, event_type: &str) -> String {
    std::fs::read_to_string(path(folder, event_type)).unwrap()
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

/// What the validator says against the data, by type.
fn complaints(schema: &Value, data: &Value) -> Vec<String> {
    let validator = jsonschema::draft202012::new(schema).unwrap();
    validator.iter_errors(data).map(|it| it.to_string()).collect()
}

/// Puts a field that no version has into every object, except where any field is the user's.
fn with_unknown_fields(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, it) in map.iter_mut() {
                if key != "training" && key != "metrics" {
                    with_unknown_fields(it);
                }
            }
            map.insert("from_a_later_version".to_owned(), json!({"a": [1]}));
        }
        Value::Array(items) => items.iter_mut().for_each(with_unknown_fields),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_checked_in_schemas_are_those_of_the_code() {
    for (event_type, schema) in schemas() {
        jsonschema::draft202012::meta::validate(&schema).unwrap();
        expect_file![path("schemas", event_type)].assert_eq(&pretty(&schema));
    }
}

#[test]
fn every_schema_file_and_golden_file_belongs_to_an_event_type() {
    let mut types: Vec<_> = schemas().into_iter().map(|(it, _)| format!("{it}.json")).collect();
    types.sort();
    for folder in ["schemas", "golden"] {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, types, "{folder}");
    }
}

#[test]
fn a_golden_message_is_read_and_written_without_a_difference() {
    for (event_type, _) in schemas() {
        let golden = Golden::read(event_type);
        assert_eq!(golden.attributes["ce-type"], event_type);
        assert_eq!(pretty(&golden.recoded().unwrap()), text("golden", event_type));
    }
}

#[test]
fn a_golden_message_is_valid_by_its_own_schema_alone() {
    let schemas = schemas();
    for (event_type, _) in &schemas {
        let golden = Golden::read(event_type);
        for (other, schema) in &schemas {
            let complaints = complaints(schema, &golden.data);
            assert_eq!(complaints.is_empty(), event_type == other, "{other}: {complaints:?}");
        }
    }
}

#[test]
fn the_schema_knows_the_rules_of_the_texts() {
    let cases = [
        ("/run", json!("Train")),
        ("/gitlab/host", json!("gitlab.example.com/path")),
        ("/gitlab/ref", json!("two words")),
        ("/gitlab/sha", json!("main")),
        ("/gitlab/project_id", json!("7")),
        ("/vertex/region", json!("europe")),
        ("/artifacts/0/uri", json!("https://storage.googleapis.com/b/o")),
        ("/artifacts/0/crc32c", json!("AAAAAA")),
        ("/artifacts/0/sha256", json!("abc")),
        ("/attempts_max", json!(0)),
        ("/attempts_max", json!(6)),
        ("/artifacts", Value::Array(vec![json!({}); ArtifactReady::ARTIFACTS_MAX + 1])),
        ("/training", json!({"batch_job": {}})),
    ];
    let (event_type, schema) = schemas().remove(0);
    let golden = Golden::read(event_type);
    for (pointer, value) in cases {
        let mut broken = golden.clone();
        *broken.data.pointer_mut(pointer).unwrap() = value;
        assert!(!complaints(&schema, &broken.data).is_empty(), "{pointer}");
        assert!(broken.recoded().is_err(), "{pointer}");
    }
}

#[test]
fn unknown_fields_and_attributes_are_tolerated() {
    for (event_type, schema) in schemas() {
        let golden = Golden::read(event_type);
        let mut later = golden.clone();
        with_unknown_fields(&mut later.data);
        later.attributes.insert("googclient_traceparent".to_owned(), "00-1-2-01".to_owned());
        assert_ne!(later.data, golden.data);
        assert_eq!(complaints(&schema, &later.data), Vec::<String>::new());
        assert_eq!(later.recoded().unwrap(), golden);
    }
}

#[test]
fn an_event_that_is_told_again_with_another_place_has_another_id() {
    let golden = Golden::read(Phase::Queued.event_type());
    let data = golden.data.to_string();
    let mut event = Envelope::decode_run_event(data.as_bytes(), &golden.attributes).unwrap();
    let id = |envelope: Envelope| envelope.attributes["ce-id"].clone();
    let first = id(Envelope::run_event(&event));
    event.place_in_line = Some(1);
    assert_eq!(id(Envelope::run_event(&event)), first);
    assert_eq!(id(Envelope::place_in_line(&event)), format!("{first}/1"));
}

#[test]
fn an_unknown_major_version_is_refused() {
    for (event_type, _) in schemas() {
        let mut later = Golden::read(event_type);
        let v2 = event_type.replace(".v1", ".v2");
        later.attributes.insert("ce-type".to_owned(), v2.clone());
        let error = later.recoded().unwrap_err().to_string();
        assert!(error.starts_with(&format!("the message is {v2:?}")), "{error}");
    }
}

#[test]
fn a_bare_body_is_read_like_the_message() {
    let golden = Golden::read(ArtifactReady::EVENT_TYPE);
    let bare = golden.data.to_string();
    let request = Envelope::decode_artifact_ready(bare.as_bytes(), &BTreeMap::new()).unwrap();
    assert_eq!(serde_json::to_value(request).unwrap(), golden.data);
}

#[test]
fn event_types_are_told_apart_by_their_phase() {
    for phase in Phase::ALL {
        assert_eq!(phase.event_type(), format!("branchline.run.{}.v1", phase.as_str()));
    }
}
