//! The query language, as far as it is needed here: comparisons of known fields. What is not known is
//! refused, so that no filter finds other entries than it does at Google's. Texts are compared
//! without regard to case.

use jiff::Timestamp;
use serde_json::Value;

use super::entry::severity;
use crate::filter::{self, Dialect, Operator};

const DIALECT: Dialect =
    Dialect { length_max: 20_000, quotes: "\"", colons_quoted: true, lists: true };

/// Fields of entries that can be compared; behind those that end in a dot anything may follow.
const FIELDS: [&str; 10] = [
    "insertId",
    "logName",
    "receiveTimestamp",
    "resource.type",
    "resource.labels.",
    "severity",
    "textPayload",
    "jsonPayload.",
    "labels.",
    "timestamp",
];

/// A parsed filter.
#[derive(Debug)]
pub(super) struct Filter(filter::Filter<Comparison>);

#[derive(Debug)]
struct Comparison {
    path: Vec<String>,
    operator: Operator,
    value: String,
}

impl Filter {
    /// Reads a filter, or tells what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        DIALECT.parse(text, Comparison::new).map(Self)
    }

    /// Whether an entry, in its JSON form, is meant.
    pub(super) fn matches(&self, entry: &Value) -> bool {
        self.0.matches(&|it| it.holds(entry))
    }
}

impl Comparison {
    fn new(field: &str, operator: Operator, value: &str) -> Result<Self, String> {
        let known = FIELDS.iter().any(|it| match it.strip_suffix('.') {
            Some(_) => field.strip_prefix(it).is_some_and(|key| !key.is_empty()),
            None => field == *it,
        });
        if !known {
            return Err(format!("the field '{field}' is not known here"));
        }
        let fits = match field {
            "timestamp" | "receiveTimestamp" => value.parse::<Timestamp>().is_ok(),
            "severity" => severity(value).is_some(),
            _ => true,
        };
        if !fits {
            return Err(format!("'{value}' is no value of {field}"));
        }
        let path = field.split('.').map(str::to_owned).collect();
        Ok(Self { path, operator, value: value.to_owned() })
    }

    fn holds(&self, entry: &Value) -> bool {
        let found = self.path.iter().try_fold(entry, |it, key| it.get(key));
        found.is_some_and(|it| self.holds_for(it))
    }

    fn holds_for(&self, actual: &Value) -> bool {
        let actual = actual.as_str().map_or_else(|| actual.to_string(), str::to_owned);
        let (lower, wanted) = (actual.to_lowercase(), self.value.to_lowercase());
        if self.operator == Operator::Has {
            return lower.contains(&wanted);
        }
        self.operator.holds(match self.path[0].as_str() {
            "timestamp" | "receiveTimestamp" => {
                actual.parse::<Timestamp>().ok().cmp(&self.value.parse().ok())
            }
            "severity" => severity(&actual).cmp(&severity(&self.value)),
            _ => lower.cmp(&wanted),
        })
    }
}
