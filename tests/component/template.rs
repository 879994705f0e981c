//! A component's file: a header that declares its inputs, and one job.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

pub(crate) const NAMES: [&str; 2] = ["train", "fetch"];
/// What GitLab knows of an input.
const KEYS: [&str; 5] = ["description", "type", "default", "regex", "options"];

/// One component.
pub(crate) struct Template {
    pub(crate) name: &'static str,
    /// Each input with its properties, in the order of the file.
    pub(crate) inputs: Vec<(String, Value)>,
    /// The job.
    pub(crate) job: Value,
    /// What stands behind the header, as it is written.
    body: String,
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

impl Template {
    pub(crate) fn all() -> [Self; 2] {
        NAMES.map(Self::read)
    }

    pub(crate) fn read(name: &'static str) -> Self {
        let path = root().join(format!("templates/{name}/template.yml"));
        let text = std::fs::read_to_string(path).unwrap();
        let (header, body) = text.split_once("\n---\n").unwrap();
        let spec: Value = serde_saphyr::from_str(header).unwrap();
        let inputs: BTreeMap<String, Value> =
            serde_json::from_value(spec["spec"]["inputs"].clone()).unwrap();
        let mut inputs: Vec<_> = inputs.into_iter().collect();
        inputs.sort_by_key(|(name, _)| header.find(&format!("\n    {name}:\n")).unwrap());
        let jobs: BTreeMap<String, Value> = serde_saphyr::from_str(body).unwrap();
        // Whatever else stood there would be in force for the whole pipeline.
        let names: Vec<_> = jobs.keys().map(String::as_str).collect();
        assert_eq!(names, ["$[[ inputs.job ]]"], "{name}");
        let job = jobs.into_values().next().unwrap();
        Self { name, inputs, job, body: body.to_owned() }
    }

    /// The properties of an input.
    fn input(&self, name: &str) -> &Value {
        let found = self.inputs.iter().find(|(it, _)| it == name);
        found.map_or_else(|| panic!("{} has no input {name}", self.name), |(_, it)| it)
    }

    /// The lines of the script, each of which may be many.
    pub(crate) fn script(&self) -> Vec<&str> {
        self.job["script"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect()
    }
}

#[test]
fn every_input_says_what_it_is_and_no_more_than_gitlab_knows() {
    for template in Template::all() {
        for (name, input) in &template.inputs {
            let of = format!("{}: {name}", template.name);
            let description = input["description"].as_str().unwrap_or_default();
            assert!(description.ends_with('.'), "{of} is described as {description:?}");
            let keys = input.as_object().unwrap().keys();
            let unknown: Vec<_> = keys.filter(|it| !KEYS.contains(&it.as_str())).collect();
            assert!(unknown.is_empty(), "{of} has {unknown:?}");
            if let Some(regex) = input["regex"].as_str() {
                // Without both, a part that fits would be enough.
                assert!(regex.starts_with('^') && regex.ends_with('$'), "{of}: {regex}");
            }
        }
    }
}

#[test]
fn an_input_that_is_declared_is_used_and_none_else_is() {
    for template in Template::all() {
        let used = template.body.split("$[[").skip(1).map(|it| {
            let (inside, _) = it.split_once("]]").unwrap();
            inside.trim().strip_prefix("inputs.").unwrap().to_owned()
        });
        let used: BTreeSet<_> = used.collect();
        let declared = template.inputs.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(used, declared, "{}", template.name);
    }
}

#[test]
fn what_the_shell_reads_holds_no_input() {
    for template in Template::all() {
        for key in ["before_script", "script", "after_script"] {
            let text = template.job[key].to_string();
            assert!(!text.contains("$[["), "{}: {key}", template.name);
        }
        assert!(!template.script().is_empty());
    }
}

/// GitLab takes texts only, and a text that is one input is what the input is.
#[test]
fn an_input_that_becomes_a_variable_is_a_text() {
    for template in Template::all() {
        for (variable, value) in template.job["variables"].as_object().unwrap() {
            let value = value.as_str().unwrap();
            let alone = value.strip_prefix("$[[ inputs.").and_then(|it| it.strip_suffix(" ]]"));
            if let Some(name) = alone.filter(|it| !it.contains("]]")) {
                let kind = &template.input(name)["type"];
                assert!(kind.is_null() || kind == "string", "{variable} is a {kind}");
            }
        }
    }
}

/// A token that opened both doors would make whoever reads the message the CI job.
#[test]
fn no_token_is_for_branchline_and_google_at_once() {
    let train = Template::read("train");
    let audience = |name: &str| train.job["id_tokens"][name]["aud"].as_str().unwrap().to_owned();
    assert_eq!(audience("BRANCHLINE_ID_TOKEN"), "$[[ inputs.audience ]]");
    let google = audience("GOOGLE_ID_TOKEN");
    assert_eq!(google, "https://iam.googleapis.com/$[[ inputs.provider ]]");
    // Every audience of Google's has a slash, and none of ours may have one.
    assert_eq!(train.input("audience")["regex"], "^[A-Za-z0-9._-]+$");
    let fetch = Template::read("fetch");
    let tokens: Vec<_> = fetch.job["id_tokens"].as_object().unwrap().keys().collect();
    assert_eq!(tokens, ["GOOGLE_ID_TOKEN"]);
    assert_eq!(fetch.job["id_tokens"]["GOOGLE_ID_TOKEN"]["aud"], google.as_str());
}

#[test]
fn the_components_become_the_service_account_in_the_same_way_and_run_at_the_same_time() {
    let [train, fetch] = Template::all();
    assert_eq!(train.script()[0], fetch.script()[0]);
    for name in ["image", "provider", "rules"] {
        let (one, other) = (train.input(name), fetch.input(name));
        assert_eq!(one["regex"], other["regex"], "{name}");
        assert_eq!(one["default"], other["default"], "{name}");
    }
}

/// Whoever includes a component gives it what it needs, and nothing that it does not know.
#[test]
fn the_examples_give_inputs_that_there_are() {
    let mut includes = 0;
    for path in [".gitlab-ci.yml", "templates/train/README.md", "templates/fetch/README.md"] {
        let text = std::fs::read_to_string(root().join(path)).unwrap();
        let mut parts: Vec<&str> = text.split("```yaml\n").skip(1).collect();
        for part in &mut parts {
            *part = part.split("```").next().unwrap();
        }
        if parts.is_empty() {
            parts.push(&text);
        }
        for part in parts {
            let part: Value = serde_saphyr::from_str(part).unwrap();
            for include in part["include"].as_array().into_iter().flatten() {
                let Some(component) = include["component"].as_str() else { continue };
                let (component, _) = component.rsplit_once('@').unwrap();
                let template = NAMES.into_iter().find(|it| component.ends_with(it)).unwrap();
                let template = Template::read(template);
                let given = include["inputs"].as_object().cloned().unwrap_or_default();
                for name in given.keys() {
                    template.input(name);
                }
                let wanted = template.inputs.iter().filter(|(_, it)| it.get("default").is_none());
                let missing: Vec<_> = wanted.filter(|it| !given.contains_key(&it.0)).collect();
                assert!(missing.is_empty(), "{path}: {component} lacks {missing:?}");
                includes += 1;
            }
        }
    }
    assert!(includes >= 5, "only {includes} were found");
}
