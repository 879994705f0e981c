//! The list filter: comparisons of fields that a kind of job has.

use jiff::Timestamp;
use serde_json::Value;

use super::error::{Answer, Refusal};
use super::json::snake_case;
use super::kind::Kind;
use super::store::Resource;
use crate::filter::{self, Dialect, Operator};

const DIALECT: Dialect =
    Dialect { length_max: 4096, quotes: "\"'", colons_quoted: false, lists: false };

/// A parsed filter.
#[derive(Debug)]
pub(super) struct Filter(filter::Filter<Comparison>);

#[derive(Debug)]
struct Comparison {
    field: Field,
    operator: Operator,
    value: String,
}

/// What can be compared.
#[derive(Debug)]
enum Field {
    Label(String),
    /// A field of the resource by its JSON name.
    Text(&'static str),
    Time(&'static str),
    /// The last segment of the name.
    Id,
}

impl Filter {
    pub(super) fn parse(kind: Kind, text: &str) -> Answer<Self> {
        let compare = |name: &str, operator, value: &str| {
            let field = field(kind, name)?;
            if matches!(field, Field::Time(_)) && value.parse::<Timestamp>().is_err() {
                return Err(format!("'{value}' is not a time"));
            }
            Ok(Comparison { field, operator, value: value.to_owned() })
        };
        let filter = DIALECT.parse(text, compare);
        filter.map(Self).map_err(|why| Refusal::invalid(format!("Invalid filter: {why}.")))
    }

    pub(super) fn matches(&self, job: &Resource) -> bool {
        self.0.matches(&|it| compare(job, &it.field, it.operator, &it.value))
    }
}

fn compare(job: &Resource, field: &Field, operator: Operator, wanted: &str) -> bool {
    let text = |name: &str| job.get(name).and_then(Value::as_str).unwrap_or_default();
    let actual = match field {
        Field::Label(key) => job.get("labels").and_then(|it| it.get(key)).and_then(Value::as_str),
        Field::Text(name) => Some(text(name)),
        Field::Id => text("name").rsplit('/').next(),
        Field::Time(name) => {
            let times = text(name).parse::<Timestamp>().ok().zip(wanted.parse::<Timestamp>().ok());
            return times.is_some_and(|(actual, wanted)| operator.holds(actual.cmp(&wanted)));
        }
    };
    match (actual, operator) {
        (None, _) => operator == Operator::NotEqual,
        (Some(actual), Operator::Has) => has(actual, wanted),
        (Some(actual), _) => operator.holds(actual.cmp(wanted)),
    }
}

/// `:` takes `*` at either end.
fn has(actual: &str, wanted: &str) -> bool {
    match (wanted.strip_prefix('*'), wanted.strip_suffix('*')) {
        (Some(""), _) => true,
        (Some(rest), Some(_)) => actual.contains(rest.trim_end_matches('*')),
        (Some(end), None) => actual.ends_with(end),
        (None, Some(start)) => actual.starts_with(start),
        (None, None) => actual == wanted,
    }
}

fn field(kind: Kind, name: &str) -> Result<Field, String> {
    if let Some(key) = name.strip_prefix("labels.") {
        return Ok(Field::Label(key.to_owned()));
    }
    let field = match (kind, snake_case(name).as_str()) {
        (_, "display_name") => Field::Text("displayName"),
        (_, "state") => Field::Text("state"),
        (_, "create_time") => Field::Time("createTime"),
        (_, "update_time") => Field::Time("updateTime"),
        (_, "start_time") => Field::Time("startTime"),
        (_, "end_time") => Field::Time("endTime"),
        (Kind::PipelineJob, "pipeline_job_user_id") => Field::Id,
        (Kind::PipelineJob, "template_uri") => Field::Text("templateUri"),
        (Kind::TrainingPipeline, "training_task_definition") => {
            Field::Text("trainingTaskDefinition")
        }
        (..) => {
            return Err(format!("unknown field '{name}'"));
        }
    };
    Ok(field)
}
