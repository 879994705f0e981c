//! `{{ name }}`: what is filled, what is left alone, what is refused.

use branchline_contract::placeholder::{Fill, expand, expand_training, fill, has_any, is_one};
use branchline_contract::{ArtifactReady, RunId};
use serde_json::json;

use crate::request;

fn known(name: &str) -> Fill {
    match name {
        "commit.sha" => Fill::Text("c0ffee".to_owned()),
        "odd" => Fill::Text("{{ commit.sha }}".to_owned()),
        "output" => Fill::Keep,
        _ => Fill::Unknown,
    }
}

#[test]
fn a_text_is_filled_as_far_as_it_is_ours() {
    let cases = [
        ("", Ok("")),
        ("plain { text } and }}", Ok("plain { text } and }}")),
        ("{{commit.sha}}", Ok("c0ffee")),
        ("a {{  commit.sha }}/{{ commit.sha}} ä", Ok("a c0ffee/c0ffee ä")),
        ("{{ output }}model/{{ commit.sha }}", Ok("{{ output }}model/c0ffee")),
        // What a value holds is no placeholder, whoever wrote it.
        ("{{ odd }}", Ok("{{ commit.sha }}")),
        // The pipeline compiler's own.
        ("{{$.inputs.parameters['rate']}}", Ok("{{$.inputs.parameters['rate']}}")),
        ("{{ $.x }}-{{ commit.sha }}", Ok("{{ $.x }}-c0ffee")),
        ("{{$}}", Ok("{{$}}")),
        ("{{$.x", Ok("{{$.x")),
        ("{{ nobody }}", Err("args[0]: there is no {{ nobody }}")),
        ("{{ Commit.sha }}", Err("args[0]: there is no {{ Commit.sha }}")),
        ("{{}}", Err("args[0]: there is no {{  }}")),
        ("{{ a {{ commit.sha }}", Err("args[0]: there is no {{ a {{ commit.sha }}")),
        ("{{ commit.sha", Err("args[0]: {{ is never closed")),
        ("{{ commit.sha }} {{", Err("args[0]: {{ is never closed")),
    ];
    for (text, expected) in cases {
        let actual = expand(&json!({"args": [text]}), &known).map_err(|it| it.to_string());
        let expected = expected.map(|it| json!({"args": [it]})).map_err(str::to_owned);
        assert_eq!(actual, expected, "{text:?}");
    }
}

#[test]
fn only_texts_are_filled_at_any_depth_and_keys_are_left_alone() {
    let spec = json!({
        "{{ commit.sha }}": [1, true, null, {"a": {"b": ["x", "{{ commit.sha }}"]}}],
    });
    let filled = json!({"{{ commit.sha }}": [1, true, null, {"a": {"b": ["x", "c0ffee"]}}]});
    assert_eq!(expand(&spec, &known), Ok(filled));

    let error = expand(&json!({"a": [{"b": ["x", "{{ y }}"]}]}), &known).unwrap_err();
    assert_eq!(error.to_string(), "a[0].b[1]: there is no {{ y }}");
    let long = format!("{{{{ {} }}}}", "y".repeat(1 << 20));
    assert!(expand(&json!([long]), &known).unwrap_err().to_string().len() < 200);
}

#[test]
fn a_number_may_be_one_whole_placeholder() {
    let cases = [
        ("{{ params.n }}", true, true),
        ("{{params.n}}", true, true),
        ("{{ params.n }}s", true, false),
        (" {{ params.n }}", true, false),
        ("{{ a }}{{ b }}", true, false),
        ("{{$.inputs}}", false, false),
        ("{{ params.n", false, false),
        ("4", false, false),
        ("", false, false),
    ];
    for (text, any, one) in cases {
        assert_eq!((has_any(text), is_one(text)), (any, one), "{text:?}");
    }
}

#[test]
fn a_pipeline_spec_keeps_its_braces() {
    for key in ["pipelineSpec", "pipeline_spec"] {
        let job = json!({
            key: {"root": "{{ nobody }} {{"},
            "runtimeConfig": {"gcsOutputDirectory": "gs://b/{{ commit.sha }}"},
        });
        let filled = json!({
            key: {"root": "{{ nobody }} {{"},
            "runtimeConfig": {"gcsOutputDirectory": "gs://b/c0ffee"},
        });
        assert_eq!(expand_training(&job, &known), Ok(filled));
    }
}

/// What the placeholder becomes when the worker fills it, if it can.
fn filled(request: &ArtifactReady, name: &str) -> Option<String> {
    let (run, _) = RunId::derive(request);
    match fill(request, &request.artifacts, &run, "gs://out/1/", name) {
        Fill::Text(text) => Some(text),
        Fill::Unknown => None,
        Fill::Keep => panic!("{name}: nobody fills it later"),
    }
}

#[test]
fn a_request_fills_what_it_knows() {
    let request = request(|_| ());
    let cases = [
        ("output", Some("gs://out/1/")),
        ("run.id", Some("train-636f38f3c36efd01c0eb")),
        ("commit.sha", Some("9f2c1e0d8b7a65544332211000ffeeddccbbaa99")),
        ("commit.ref", Some("better-augmentation")),
        ("artifacts.data.uri", Some("gs://acme-data/flowers/2026-01/part-0.csv")),
        ("artifacts.data.path", Some("/gcs/acme-data/flowers/2026-01/part-0.csv")),
        ("artifacts.nothing.uri", None),
        ("artifacts.data", None),
        ("artifacts.data.size", None),
        ("params.rate", None),
        ("id_token", None),
        ("", None),
    ];
    for (name, expected) in cases {
        assert_eq!(filled(&request, name).as_deref(), expected, "{name}");
    }
}

#[test]
fn a_directory_stands_for_itself_however_many_objects_it_has() {
    for objects in [&["a"][..], &["a", "deep/b"]] {
        let request = request(|data| {
            let with = |object: &&str| {
                let mut artifact = data["artifacts"][1].clone();
                artifact["uri"] = format!("gs://acme-data/flowers/{object}").into();
                artifact["directory"] = "gs://acme-data/flowers/".into();
                artifact
            };
            data["artifacts"] = objects.iter().map(with).collect();
        });
        let uri = filled(&request, "artifacts.data.uri");
        assert_eq!(uri.as_deref(), Some("gs://acme-data/flowers/"), "{objects:?}");
    }
}
