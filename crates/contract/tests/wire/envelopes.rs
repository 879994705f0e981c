//! What is no event of ours, and the sentence that says so.

use std::collections::BTreeMap;

use branchline_contract::{ArtifactReady, DATA_MAX, Envelope, Phase};
use serde_json::{Value, json};

use crate::events::Golden;
use crate::request_data;

/// What is said about the data of a request, with these attributes.
fn refusal(data: &[u8], attributes: &[(&str, &str)]) -> String {
    let attributes: BTreeMap<_, _> =
        attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    match Envelope::decode_artifact_ready(data, &attributes) {
        Ok(request) => panic!("{:?} was accepted", request.run),
        Err(error) => error.to_string(),
    }
}

#[test]
fn data_that_is_no_request_is_refused() {
    let golden = request_data().to_string();
    let two = format!("{golden}{{}}");
    let twice = golden.replacen('{', r#"{"run": "train","#, 1);
    let deep = golden.replacen(r#""7200s""#, &"[".repeat(10_000), 1);
    let cases: [(&str, &[u8], &str); 9] = [
        ("nothing", b"", "EOF while parsing"),
        ("garbage", b"\xff\x00\x80", "expected value"),
        ("text", b"hello", "expected value"),
        ("half a request", &golden.as_bytes()[..200], "EOF while parsing"),
        ("more than one", two.as_bytes(), "trailing characters"),
        ("another shape", b"[1]", "invalid type"),
        ("an empty object", b"{}", "missing field `run`"),
        ("a field twice", twice.as_bytes(), "duplicate field `run`"),
        ("deep nesting", deep.as_bytes(), "recursion limit exceeded"),
    ];
    for (name, data, expected) in cases {
        let message = refusal(data, &[]);
        assert!(message.starts_with("the message does not decode: "), "{name}: {message}");
        assert!(message.contains(expected), "{name}: {message}");
    }
}

#[test]
fn a_wrong_field_is_named_with_its_path() {
    let cases = [
        ("/run", json!("Train"), r#"run: "Train" is not a run name"#),
        ("/artifacts/1/uri", json!("data.csv"), r#"artifacts[1].uri: "data.csv" is not a gs://"#),
        ("/artifacts/0/size", json!(-1), "artifacts[0].size: invalid value: integer `-1`"),
        ("/artifacts/0/crc32c", json!("zzz"), r#"artifacts[0].crc32c: "zzz" is not a CRC32C"#),
        ("/artifacts/0/sha256", json!("zzz"), r#"artifacts[0].sha256: "zzz" is not a SHA-256"#),
        ("/artifacts/0", json!({"name": "x"}), "artifacts[0]: missing field `uri`"),
        ("/gitlab/project_id", json!("574"), "gitlab.project_id: invalid type: string"),
        ("/gitlab/sha", json!("main"), r#"gitlab.sha: "main" is not a full commit hash"#),
        ("/gitlab/merge_request", json!({}), "gitlab.merge_request: missing field `iid`"),
        ("/vertex", json!({"project": "p"}), "vertex: missing field `region`"),
        ("/training", json!({"job": {}}), "training: unknown variant `job`, expected one of"),
        ("/training", json!({"custom_job": {}, "pipeline_job": {}}), "training: "),
    ];
    for (pointer, value, expected) in cases {
        let mut data = request_data();
        *data.pointer_mut(pointer).unwrap() = value;
        let message = refusal(data.to_string().as_bytes(), &[]);
        let expected = format!("the message does not decode: {expected}");
        assert!(message.starts_with(&expected), "{pointer}: {message}");
    }
}

#[test]
fn another_context_is_refused_before_the_data_is_read() {
    let (ready, held) = (ArtifactReady::EVENT_TYPE, Phase::Held.event_type());
    let cases = [
        (("ce-type", "branchline.artifact.ready.v2"), "the message is"),
        (("ce-type", held), "and branchline.artifact.ready.v1 was expected"),
        (("ce-type", ""), "the message is \"\""),
        (("ce-specversion", "0.3"), "CloudEvents \"0.3\" is not 1.0"),
    ];
    for (attribute, expected) in cases {
        let message = refusal(b"not even JSON", &[attribute]);
        assert!(message.contains(expected), "{attribute:?}: {message}");
    }
    let attributes = BTreeMap::from([("ce-type".to_owned(), ready.to_owned())]);
    let error = Envelope::decode_run_event(b"not even JSON", &attributes).unwrap_err();
    assert!(error.to_string().contains("branchline.run.{held,"), "{error}");
}

#[test]
fn a_message_has_a_largest_size() {
    let golden = request_data().to_string();
    let padded = |size: usize| golden.clone() + &" ".repeat(size - golden.len());
    let decoded =
        Envelope::decode_artifact_ready(padded(DATA_MAX).as_bytes(), &BTreeMap::default());
    assert!(decoded.is_ok());
    assert_eq!(
        refusal(padded(DATA_MAX + 1).as_bytes(), &[]),
        "the message has 4194305 bytes, and an event has at most 4194304",
    );
}

#[test]
fn a_request_has_a_largest_number_of_artifacts() {
    let with = |count: usize| {
        let mut data = request_data();
        let mut artifact = data["artifacts"][0].clone();
        artifact["directory"] = "gs://acme-artifacts/flowers/".into();
        data["artifacts"] = Value::Array(vec![artifact; count]);
        data.to_string()
    };
    let most = with(ArtifactReady::ARTIFACTS_MAX);
    assert!(Envelope::decode_artifact_ready(most.as_bytes(), &BTreeMap::default()).is_ok());
    assert_eq!(
        refusal(with(ArtifactReady::ARTIFACTS_MAX + 1).as_bytes(), &[]),
        "the message names 1001 artifacts, and a request has at most 1000",
    );
}

#[test]
fn objects_of_one_name_are_files_of_one_directory() {
    let flowers = "gs://acme-artifacts/flowers/";
    let artifact = |name: &str, object: &str, directory: Value| {
        let mut artifact = request_data()["artifacts"][0].clone();
        artifact["name"] = name.into();
        artifact["uri"] = format!("{flowers}{object}").into();
        artifact["directory"] = directory;
        artifact
    };
    let refused = |artifacts: Value| {
        let mut data = request_data();
        data["artifacts"] = artifacts;
        let data = data.to_string();
        let decoded = Envelope::decode_artifact_ready(data.as_bytes(), &BTreeMap::default());
        decoded.err().map(|error| error.to_string())
    };
    let one = |object| artifact("data", object, Value::Null);
    let of = |object, directory: &str| artifact("data", object, directory.into());
    let cases = [
        (json!([one("a"), artifact("code", "a", Value::Null)]), None),
        (json!([of("a", flowers), of("deep/b", flowers)]), None),
        (json!([of("a", "gs://acme-artifacts/")]), None),
        (json!([one("a"), one("b")]), Some("b")),
        (json!([one("a"), of("b", flowers)]), Some("b")),
        (json!([of("a", flowers), one("b")]), Some("b")),
        (json!([of("a", flowers), of("b", "gs://acme-artifacts/")]), Some("b")),
        (json!([of("a", "gs://acme-artifacts/flow/")]), Some("a")),
        (json!([of("a", "gs://another/flowers/")]), Some("a")),
    ];
    for (artifacts, stray) in cases {
        let expected = stray.map(|it| {
            format!("artifact data: {flowers}{it} is not one object, nor below the directory of that name")
        });
        assert_eq!(refused(artifacts.clone()), expected, "{artifacts}");
    }
    assert!(refused(json!([of("a", "gs://acme-artifacts/flowers")])).is_some(), "no directory");
}

#[test]
fn a_refusal_is_short_and_shows_no_token() {
    let long = "x".repeat(1 << 20);
    for pointer in ["/run", "/gitlab/project_id", "/training", "/vertex/region"] {
        let mut data = request_data();
        *data.pointer_mut(pointer).unwrap() = Value::from(long.as_str());
        let message = refusal(data.to_string().as_bytes(), &[("ce-time", &long)]);
        assert!(message.len() < 600, "{pointer}: {} bytes", message.len());
        assert!(!message.contains("header.payload.signature"), "{message}");
    }
    assert!(refusal(b"{}", &[("ce-type", &long)]).len() < 400);
    let Golden { data, attributes } = Golden::read(ArtifactReady::EVENT_TYPE);
    let request = Envelope::decode_artifact_ready(data.to_string().as_bytes(), &attributes);
    assert!(!format!("{request:?}").contains("header.payload.signature"));
}
