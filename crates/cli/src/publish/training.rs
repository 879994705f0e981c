//! The training spec as it goes into the message: parameters filled in, every
//! field and every placeholder checked, a pipeline spec read from its file.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;

use branchline_contract::placeholder::{self, Fill};
use branchline_contract::vertex_fields::{self, FieldError};
use branchline_contract::{DATA_MAX, Training};
use serde_json::Value;

use super::config::{Run, syntax};
use super::repository::Repository;
use super::strict::Problem;

/// Fills in what is known now. Every other placeholder stays for the worker,
/// but must be one that it can fill.
pub(crate) fn resolve(
    run: &Run,
    params: &BTreeMap<String, String>,
    repository: &Repository,
) -> Result<Training, Vec<Problem>> {
    let kind = run.training.kind();
    let path = format!("runs.{}.training.{}", run.name, kind.key());
    let filled = fill(run, params, &path)?;
    let of_field = |it: FieldError| Problem {
        path: format!("runs.{}.{}", run.name, it.path),
        what: it.problem.to_string(),
    };
    let mut body = vertex_fields::check(kind, &filled)
        .map_err(|errors| errors.into_iter().map(of_field).collect::<Vec<_>>())?;
    if let Some(spec) = body.get_mut("pipelineSpec")
        && let Some(file) = file_of(spec)
    {
        let of_file = |what| vec![Problem { path: format!("{path}.pipelineSpec.file"), what }];
        *spec = read_spec(repository, file).map_err(of_file)?;
    }
    Ok(Training::new(kind, body))
}

fn fill(run: &Run, params: &BTreeMap<String, String>, path: &str) -> Result<Value, Vec<Problem>> {
    let body = run.training.body();
    let mut problems = Vec::new();
    let told = RefCell::new(BTreeSet::new());
    let known = |name: &str| match name.strip_prefix("params.").map(|it| params.get(it)) {
        Some(Some(text)) => Fill::Text(text.clone()),
        Some(None) if !told.borrow().contains(name) => Fill::Unknown,
        None if !told.borrow().contains(name) && !names(run).any(|it| it == name) => Fill::Unknown,
        Some(None) | None => Fill::Keep,
    };
    // Each turn tells one unknown name and gets past it.
    let filled = loop {
        let (field, what) = match placeholder::expand_training(body, &known) {
            Ok(filled) => break filled,
            Err(placeholder::Error::Unknown { path, name }) => {
                let mut what = format!("there is no {{{{ {name} }}}}");
                if problems.is_empty() {
                    what.push_str(&there_are(params, run));
                }
                told.borrow_mut().insert(name);
                (path, what)
            }
            Err(placeholder::Error::Open { path }) => (path, "{{ is never closed".to_owned()),
        };
        let open = what.starts_with("{{");
        problems.push(Problem { path: format!("{path}.{field}"), what });
        if open {
            break Value::Null;
        }
    };
    if problems.is_empty() { Ok(filled) } else { Err(problems) }
}

fn there_are(params: &BTreeMap<String, String>, run: &Run) -> String {
    let all = params.keys().map(|it| format!("params.{it}")).chain(names(run));
    let all: Vec<_> = all.map(|it| format!("{{{{ {it} }}}}")).collect();
    format!("; there are {}", all.join(", "))
}

/// What the worker fills in.
fn names(run: &Run) -> impl Iterator<Item = String> {
    let artifacts = run
        .artifacts
        .iter()
        .flat_map(|(name, _)| [format!("artifacts.{name}.uri"), format!("artifacts.{name}.path")]);
    artifacts.chain(["commit.sha", "commit.ref", "run.id", "output"].map(str::to_owned))
}

/// `{file: pipeline.json}` in the place of a pipeline spec.
fn file_of(spec: &Value) -> Option<&str> {
    match spec {
        Value::Object(map) if map.len() == 1 => map.get("file")?.as_str(),
        _ => None,
    }
}

/// A compiled pipeline, in JSON or in YAML.
fn read_spec(repository: &Repository, file: &str) -> Result<Value, String> {
    let path = repository.file(file).map_err(|error| match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })?;
    let mut text = String::new();
    let opened = File::open(path).map(|it| it.take(DATA_MAX as u64 + 1));
    opened
        .and_then(|mut it| it.read_to_string(&mut text))
        .map_err(|error| format!("reading {file}: {error}"))?;
    if text.len() > DATA_MAX {
        return Err(format!("{file} has more than {DATA_MAX} bytes"));
    }
    match super::strict::yaml(&text) {
        Ok(spec @ Value::Object(_)) => Ok(spec),
        Ok(_) => Err(format!("{file} holds no mapping")),
        Err(error) => Err(format!("{file}: {}", syntax(&error))),
    }
}
