//! Whether a training spec is what Vertex AI would read: every field known,
//! of its type, and the user's to set. Values are Vertex AI's to judge.

mod table;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::job_kind::JobKind;
use crate::placeholder;
use crate::text::cut;
use table::{Field, Message, TABLE, Type};

/// Deeper than this is no training spec.
pub const DEPTH_MAX: usize = 64;
/// After this many errors the rest is not told.
pub const ERRORS_MAX: usize = 100;

/// A field that Vertex AI would refuse, or must not see.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct FieldError {
    /// Where it stands, as it was written: `training.custom_job.jobSpec.workerPoolSpecs[0]`.
    pub path: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Vertex AI has no such field there.
    #[error("no such field{}", .nearest.map(|it| format!("; did you mean {it}?")).unwrap_or_default())]
    Unknown {
        /// A field whose name is close.
        nearest: Option<&'static str>,
    },
    /// Another type of value belongs there.
    #[error("expected {expected}, found {found}")]
    Type {
        /// What belongs there.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// Written in camelCase and in `snake_case`.
    #[error("given twice, in camelCase and in snake_case")]
    Twice,
    /// An output-only field.
    #[error("set by Vertex AI, not by the spec")]
    Output,
    /// A label of ours.
    #[error("labels that begin with branchline- are set by Branchline")]
    ReservedLabel,
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} levels")]
    Depth,
}

/// Checks the body of a job and brings it into the API's own form: camelCase, no
/// nulls, and what `gcloud ai custom-jobs create --config` takes as the `jobSpec` that it is.
///
/// Placeholders stand in any scalar, so it can be asked before and after they are filled.
pub fn check(kind: JobKind, body: &Value) -> Result<Value, Vec<FieldError>> {
    let path = format!("training.{}", kind.key());
    if deeper_than(body, DEPTH_MAX) {
        return Err(vec![FieldError { path, problem: Problem::Depth }]);
    }
    let mut check = Check { errors: Vec::new() };
    let checked = match (kind, body) {
        (JobKind::CustomJob, Value::Object(map)) if is_bare_spec(map) => {
            let (outer, spec) = map.iter().map(own).partition(|(key, _)| is_of("CustomJob", key));
            let mut job = check.message("CustomJob", &outer, &path);
            job.insert("jobSpec".to_owned(), check.message("CustomJobSpec", &spec, &path).into());
            job.into()
        }
        (JobKind::CustomJob, _) => check.named("CustomJob", body, &path),
        (JobKind::PipelineJob, _) => check.named("PipelineJob", body, &path),
        (JobKind::HyperparameterTuningJob, _) => {
            check.named("HyperparameterTuningJob", body, &path)
        }
        (JobKind::TrainingPipeline, _) => check.named("TrainingPipeline", body, &path),
    };
    if check.errors.is_empty() { Ok(checked) } else { Err(check.errors) }
}

/// Errors so far. What is returned beside them is of use only when there are none.
struct Check {
    errors: Vec<FieldError>,
}

impl Check {
    fn message(&mut self, name: &str, map: &Map<String, Value>, path: &str) -> Map<String, Value> {
        let fields = &TABLE.messages[name];
        let mut out = Map::new();
        for (key, value) in map {
            let path = child(path, key);
            let Some((name, field)) = find(fields, key) else {
                self.report(path, Problem::Unknown { nearest: nearest(fields, key) });
                continue;
            };
            let custom_task = name == "trainingTaskInputs" && is_custom_task(map);
            let value = match (field, value) {
                (Field::Output, _) => self.report(path.clone(), Problem::Output),
                (Field::One(Type::Any), _) if custom_task => {
                    self.named("CustomJobSpec", value, &path)
                }
                (Field::One(Type::Any), _) => value.clone(),
                (_, Value::Null) => continue, // Unset, says the API's JSON mapping.
                (Field::One(of), _) => self.one(of, value, &path),
                (Field::List(of), _) => self.list(of, value, &path),
                (Field::Map(of), _) => self.map(of, value, &path, name == "labels"),
            };
            if out.insert(name.clone(), value).is_some() {
                self.report(path, Problem::Twice);
            }
        }
        out
    }

    fn list(&mut self, of: &Type, value: &Value, path: &str) -> Value {
        let Value::Array(items) = value else { return self.wrong("a list", value, path) };
        let items = items.iter().enumerate();
        items.map(|(i, it)| self.one(of, it, &format!("{path}[{i}]"))).collect()
    }

    fn map(&mut self, of: &Type, value: &Value, path: &str, labels: bool) -> Value {
        let Value::Object(map) = value else { return self.wrong("an object", value, path) };
        let mut out = Map::new();
        for (key, it) in map {
            let path = child(path, key);
            let it = if labels && key.starts_with("branchline-") {
                self.report(path, Problem::ReservedLabel)
            } else {
                self.one(of, it, &path)
            };
            out.insert(key.clone(), it);
        }
        out.into()
    }

    fn one(&mut self, of: &Type, value: &Value, path: &str) -> Value {
        let (fits, expected) = match of {
            Type::Named(name) => return self.named(name, value, path),
            Type::Any => return value.clone(),
            Type::Object => (value.is_object(), "an object"),
            Type::String => (value.is_string(), "a string"),
            Type::Bool => return self.bool(value, path),
            Type::Int32 => {
                let fits = whole_number(value).is_some_and(|it| i32::try_from(it).is_ok());
                (fits || is_placeholder(value), "a whole number of 32 bits")
            }
            Type::Int64 => {
                (whole_number(value).is_some() || is_placeholder(value), "a whole number")
            }
            Type::Double => (number(value) || is_placeholder(value), "a number"),
            Type::Duration => (text(value, is_duration), "a duration such as \"3600s\""),
            Type::Timestamp => {
                let valid = |it: &str| it.parse::<jiff::Timestamp>().is_ok();
                (text(value, valid), "a time such as \"2026-01-31T12:00:00Z\"")
            }
        };
        if fits { value.clone() } else { self.wrong(expected, value, path) }
    }

    /// A filled placeholder is text, and for a bool the API wants the bool itself.
    fn bool(&mut self, value: &Value, path: &str) -> Value {
        match value {
            Value::String(text) if text == "true" => true.into(),
            Value::String(text) if text == "false" => false.into(),
            _ if value.is_boolean() || is_placeholder(value) => value.clone(),
            _ => self.wrong("true or false", value, path),
        }
    }

    fn named(&mut self, name: &str, value: &Value, path: &str) -> Value {
        match (TABLE.enums.get(name), value) {
            (Some(names), _) if text(value, |it| names.iter().any(|name| name == it)) => {
                value.clone()
            }
            (Some(names), _) => self.wrong(format!("one of {}", names.join(", ")), value, path),
            (None, Value::Object(map)) => self.message(name, map, path).into(),
            (None, _) => self.wrong("an object", value, path),
        }
    }

    fn wrong(&mut self, expected: impl Into<String>, value: &Value, path: &str) -> Value {
        let problem = Problem::Type { expected: expected.into(), found: describe(value) };
        self.report(path.to_owned(), problem)
    }

    fn report(&mut self, path: String, problem: Problem) -> Value {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(FieldError { path, problem });
        }
        Value::Null
    }
}

fn is_bare_spec(map: &Map<String, Value>) -> bool {
    let has = |name| map.keys().any(|key| camel_case(key) == name);
    has("workerPoolSpecs") && !has("jobSpec")
}

/// Whether the inputs of a training pipeline are those of a custom job.
pub fn is_custom_task(siblings: &Map<String, Value>) -> bool {
    siblings.iter().any(|(key, value)| {
        camel_case(key) == "trainingTaskDefinition"
            && value.as_str().is_some_and(|it| it.contains("/custom_task_"))
    })
}

fn is_of(message: &str, key: &str) -> bool {
    find(&TABLE.messages[message], key).is_some()
}

fn own((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

fn find(fields: &'static Message, key: &str) -> Option<(&'static String, &'static Field)> {
    fields.get_key_value(key).or_else(|| fields.get_key_value(&camel_case(key)))
}

/// As protobuf derives a JSON name from a field's name.
fn camel_case(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    let mut upper = false;
    for c in key.chars() {
        match c {
            '_' => upper = true,
            _ if upper => {
                out.push(c.to_ascii_uppercase());
                upper = false;
            }
            _ => out.push(c),
        }
    }
    out
}

/// The settable field that was probably meant.
fn nearest(fields: &'static Message, key: &str) -> Option<&'static str> {
    let key = camel_case(&cut(key)).to_lowercase();
    let settable = fields.iter().filter(|(_, field)| !matches!(field, Field::Output));
    settable
        .map(|(name, _)| {
            (strsim::normalized_damerau_levenshtein(&key, &name.to_lowercase()), name.as_str())
        })
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn child(path: &str, key: &str) -> String {
    format!("{path}.{}", cut(key).escape_debug())
}

/// The API's JSON mapping takes a number as text as well.
fn whole_number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn number(value: &Value) -> bool {
    value.is_number() || value.as_str().is_some_and(|it| it.parse::<f64>().is_ok())
}

fn is_placeholder(value: &Value) -> bool {
    value.as_str().is_some_and(placeholder::is_one)
}

/// A valid text, or one that nobody can judge before its placeholders are filled.
fn text(value: &Value, valid: impl Fn(&str) -> bool) -> bool {
    value.as_str().is_some_and(|it| valid(it) || placeholder::has_any(it))
}

/// Seconds with up to nine decimals and an `s`.
fn is_duration(text: &str) -> bool {
    let digits = |it: &str| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit());
    let Some(seconds) = text.strip_suffix('s') else { return false };
    let seconds = seconds.strip_prefix('-').unwrap_or(seconds);
    match seconds.split_once('.') {
        Some((whole, decimals)) => digits(whole) && digits(decimals) && decimals.len() <= 9,
        None => digits(seconds),
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(it) => it.to_string(),
        Value::Number(it) => format!("the number {}", cut(&it.to_string())),
        Value::String(it) => format!("{:?}", cut(it)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    let inside = |it: &Value| levels == 0 || deeper_than(it, levels - 1);
    match value {
        Value::Array(items) => items.iter().any(inside),
        Value::Object(map) => map.values().any(inside),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
