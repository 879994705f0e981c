//! The JSON form of protocol buffers: what clients may write, brought into the
//! one form that is stored and answered (JSON names, enum names, int64 as strings).

use serde_json::{Map, Value};

use super::error::{Answer, Refusal};
use super::schema::{Message, Type};

/// Field paths and what is wrong there.
type Violations = Vec<(String, String)>;

/// Reads `value` as `message`; `path` is where it stands in the request.
pub(super) fn canonical(message: &Message, path: &str, value: Value) -> Answer<Map<String, Value>> {
    let mut violations = Violations::new();
    let object = object(message, path, value, &mut violations);
    if violations.is_empty() { Ok(object) } else { Err(Refusal::malformed(&violations)) }
}

fn object(
    message: &Message,
    path: &str,
    value: Value,
    violations: &mut Violations,
) -> Map<String, Value> {
    let mut result = Map::new();
    let Value::Object(fields) = value else {
        violations.push(mismatch(path, "message", &value));
        return result;
    };
    for (name, value) in fields {
        let Some((json_name, kind)) =
            message.fields.iter().find(|(field, _)| *field == name || snake_case(field) == name)
        else {
            let text = format!(
                "Invalid JSON payload received. Unknown name \"{name}\" at '{path}': Cannot find field."
            );
            violations.push((path.to_owned(), text));
            continue;
        };
        // In this JSON, null stands for the default.
        if value.is_null() || matches!(kind, Type::OutputOnly) {
            continue;
        }
        let path = format!("{path}.{}", snake_case(json_name));
        result.insert((*json_name).to_owned(), field(kind, &path, value, violations));
    }
    result
}

fn field(kind: &Type, path: &str, value: Value, violations: &mut Violations) -> Value {
    match kind {
        Type::Message(message) => Value::Object(object(message, path, value, violations)),
        Type::List(element) => list(element, path, value, violations),
        Type::Any | Type::OutputOnly => value,
        Type::Labels => match value {
            Value::Object(labels) if labels.values().all(Value::is_string) => Value::Object(labels),
            other => refuse(path, "TYPE_STRING", other, violations),
        },
        Type::Text => accept(value.is_string(), path, "TYPE_STRING", value, violations),
        Type::Bool => accept(value.is_boolean(), path, "TYPE_BOOL", value, violations),
        Type::AnyEnum => {
            accept(value.is_string() || value.is_u64(), path, "TYPE_ENUM", value, violations)
        }
        Type::Enum(names) => match enum_name(names, &value) {
            Some(name) => Value::from(name),
            None => refuse(path, "TYPE_ENUM", value, violations),
        },
        Type::Int32 => match integer(&value).and_then(|number| i32::try_from(number).ok()) {
            Some(number) => Value::from(number),
            None => refuse(path, "TYPE_INT32", value, violations),
        },
        Type::Int64 => match integer(&value) {
            Some(number) => Value::from(number.to_string()),
            None => refuse(path, "TYPE_INT64", value, violations),
        },
        Type::Double => match double(&value) {
            Some(number) => Value::from(number),
            None => refuse(path, "TYPE_DOUBLE", value, violations),
        },
        Type::Duration => {
            let fits = value.as_str().is_some_and(|text| duration(text).is_some());
            accept(fits, path, "type.googleapis.com/google.protobuf.Duration", value, violations)
        }
    }
}

fn list(element: &Type, path: &str, value: Value, violations: &mut Violations) -> Value {
    let Value::Array(values) = value else {
        return refuse(path, "repeated", value, violations);
    };
    let values = values.into_iter().enumerate();
    Value::Array(
        values.map(|(at, it)| field(element, &format!("{path}[{at}]"), it, violations)).collect(),
    )
}

fn accept(
    fits: bool,
    path: &str,
    wanted: &str,
    value: Value,
    violations: &mut Violations,
) -> Value {
    if fits { value } else { refuse(path, wanted, value, violations) }
}

fn refuse(path: &str, wanted: &str, value: Value, violations: &mut Violations) -> Value {
    violations.push(mismatch(path, wanted, &value));
    value
}

fn mismatch(path: &str, wanted: &str, value: &Value) -> (String, String) {
    (path.to_owned(), format!("Invalid value at '{path}' ({wanted}), {value}"))
}

fn enum_name(names: &[&'static str], value: &Value) -> Option<&'static str> {
    match value {
        Value::String(text) => names.iter().copied().find(|name| name == text),
        other => names.get(usize::try_from(other.as_u64()?).ok()?).copied(),
    }
}

/// A struct, such as a training task's inputs, knows only doubles: 1.0 is a whole number too.
#[expect(
    clippy::cast_possible_truncation,
    reason = "what does not fit is not among the exact ones"
)]
fn integer(value: &Value) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_i64().or_else(|| {
            let number = other.as_f64()?;
            (number.fract() == 0.0 && number.abs() <= EXACT_MAX).then_some(number as i64)
        }),
    }
}

/// A number that stands for a whole one, written without a fraction.
pub(super) fn whole(value: &Value) -> Value {
    match value {
        Value::Number(_) => integer(value).map_or_else(|| value.clone(), Value::from),
        other => other.clone(),
    }
}

fn double(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_f64(),
    }
}

/// Reads `"3600s"` or `"0.5s"`.
pub(super) fn duration(text: &str) -> Option<std::time::Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    std::time::Duration::try_from_secs_f64(seconds).ok()
}

/// `jobSpec` as the API's definition spells it: `job_spec`.
pub(super) fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
