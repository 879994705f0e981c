//! Finds where a training spec names an artifact by the place that was announced: the job would
//! read that, and not the copy. A guard against a slip and no more, for what code reads, no spec
//! tells. Pure.

use std::collections::BTreeMap;

use branchline_contract::{Artifact, ArtifactName, ArtifactReady};
use serde_json::Value;

/// More of the same helps nobody.
const PROBLEMS_MAX: usize = 16;
/// Both ways to name an object, and the placeholder for each.
const ROOTS: [(&str, &str); 2] = [("gs://", "uri"), ("/gcs/", "path")];
/// No object has a longer name.
const NAME_BYTES_MAX: usize = 1_300;

/// Every field that does, and what to write there.
pub(crate) fn problems(request: &ArtifactReady) -> Vec<String> {
    let mut names = BTreeMap::new();
    for artifact in &request.artifacts {
        names.extend(names_of(artifact).map(|it| (it, &artifact.name)));
    }
    let mut found = Vec::new();
    let root = format!("training.{}", request.training.kind().key());
    walk(request.training.body(), &root, &mut |path, text| {
        if found.len() < PROBLEMS_MAX
            && let Some((name, form)) = named(text, &names)
        {
            let field = &path[root.len()..];
            // No placeholder is filled in there.
            let pipeline =
                [".pipelineSpec", ".pipeline_spec"].iter().any(|it| field.starts_with(it));
            let place = if pipeline { " in runtimeConfig" } else { "" };
            found.push(format!(
                "{path}: it names artifact {name} where it was announced, and the job reads a copy: \
                 use {{{{ artifacts.{name}.{form} }}}}{place}"
            ));
        }
    });
    found
}

/// The object and, up to the directory that its artifact stands for, all that it lies in; without
/// roots and slashes around.
fn names_of(artifact: &Artifact) -> impl Iterator<Item = &str> {
    let uri = bare(artifact.uri.as_str());
    let shortest = artifact.directory.as_ref().map_or(uri.len(), |it| bare(it.as_str()).len());
    let parents = uri.match_indices('/').map(|(at, _)| &uri[..at]);
    parents.filter(move |it| it.len() >= shortest).chain([uri])
}

fn bare(uri: &str) -> &str {
    uri.trim_start_matches("gs://").trim_end_matches('/')
}

/// The first artifact that the text names, and in which form.
fn named<'a>(
    text: &str,
    names: &BTreeMap<&str, &'a ArtifactName>,
) -> Option<(&'a ArtifactName, &'static str)> {
    ROOTS.into_iter().find_map(|(root, form)| {
        text.match_indices(root).find_map(|(at, _)| {
            let rest = &text[at + root.len()..];
            // A whole argument may hold what ends a name inside of a script.
            let whole = Some(rest).filter(|it| it.len() <= NAME_BYTES_MAX);
            let word = rest.split(ends_a_name).next().unwrap_or_default();
            let found = whole.into_iter().chain([word]).find_map(|it| names.get(bare(it)));
            found.map(|name| (*name, form))
        })
    })
}

fn ends_a_name(it: char) -> bool {
    it.is_whitespace() || it.is_control() || "\"'`,;|&<>()[]{}$*?\\".contains(it)
}

/// Shows every text in the value, with its field.
fn walk(value: &Value, path: &str, see: &mut impl FnMut(&str, &str)) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => see(path, text),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, it)| walk(it, &format!("{path}[{i}]"), see));
        }
        Value::Object(map) => {
            map.iter().for_each(|(key, it)| walk(it, &format!("{path}.{key}"), see));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{custom_job, request};

    /// The placeholder that is asked for in place of this argument.
    fn placeholder(argument: &str) -> Option<String> {
        let mut training = custom_job();
        training["custom_job"]["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"] =
            json!([argument]);
        let mut request = request(&training);
        let object = |name: &str, uri: &str, directory: Option<&str>| {
            json!({
                "name": name, "uri": uri, "directory": directory,
                "generation": 1, "size": 1, "crc32c": "AAAAAA==",
            })
        };
        let artifacts = json!([
            object("data", "gs://artifacts/a/iris.csv", None),
            object("odd", "gs://artifacts/a/two words.csv", None),
            object("all", "gs://shards/day/1/x.csv", Some("gs://shards/day/")),
            object("all", "gs://shards/day/2/x.csv", Some("gs://shards/day/")),
        ]);
        request.artifacts = serde_json::from_value(artifacts).unwrap();
        let problems = problems(&request);
        assert!(problems.len() <= 1, "{problems:?}");
        let problem = problems.first()?;
        let field = "training.custom_job.jobSpec.workerPoolSpecs[0].containerSpec.args[0]: ";
        assert!(problem.starts_with(field), "{problem}");
        Some(problem.rsplit_once("use ").unwrap().1.to_owned())
    }

    #[test]
    fn an_artifact_that_is_named_where_it_was_announced_is_found() {
        let (data, path) = ("{{ artifacts.data.uri }}", "{{ artifacts.data.path }}");
        let (odd, all) = ("{{ artifacts.odd.uri }}", "{{ artifacts.all.uri }}");
        let cases = [
            ("gs://artifacts/a/iris.csv", Some(data)),
            ("--data=gs://artifacts/a/iris.csv", Some(data)),
            ("cp gs://artifacts/a/iris.csv .; x", Some(data)),
            ("[\"gs://artifacts/a/iris.csv\"]", Some(data)),
            ("gs://artifacts/b gs://artifacts/a/iris.csv", Some(data)),
            ("/gcs/artifacts/a/iris.csv", Some(path)),
            ("gs://artifacts/a/two words.csv", Some(odd)),
            ("gs://shards/day/1/x.csv", Some(all)),
            ("gs://shards/day/1/", Some(all)),
            ("gs://shards/day", Some(all)),
            ("gs://shards/day/*.csv", Some(all)),
            ("{{ artifacts.data.uri }}", None),
            ("gs://artifacts/a/iris.csv.bak", None),
            ("gs://artifacts/a/", None),
            ("gs://artifacts/", None),
            ("gs://shards/", None),
            ("gs://shards/day/3/x.csv", None),
            ("gs://others/a/iris.csv", None),
            ("iris.csv", None),
        ];
        for (argument, expected) in cases {
            assert_eq!(placeholder(argument).as_deref(), expected, "{argument}");
        }
    }

    #[test]
    fn a_pipeline_gets_its_inputs_as_parameters() {
        let uri = "gs://artifacts/a/iris.csv";
        let spec = json!({"root": {"data": uri}});
        let training = json!({"pipeline_job": {"pipelineSpec": spec, "runtimeConfig": {"x": uri}}});
        let problems = problems(&request(&training));
        assert_eq!(problems.len(), 2);
        assert!(
            problems[0].ends_with("use {{ artifacts.data.uri }} in runtimeConfig"),
            "{problems:?}"
        );
        assert!(problems[1].ends_with("use {{ artifacts.data.uri }}"), "{problems:?}");
    }

    #[test]
    fn no_more_is_told_than_anybody_reads() {
        let training =
            json!({"custom_job": {"displayName": vec!["gs://artifacts/a/iris.csv"; 99]}});
        assert_eq!(problems(&request(&training)).len(), PROBLEMS_MAX);
    }
}
