//! CEL, as Google's IAM evaluates it: attribute mappings and conditions. Pure.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cel::extractors::This;
use cel::objects::Map;
use cel::{Context, Env, Program, Value as Cel};
use serde_json::Value;

/// Brackets within brackets; more than that and the parser itself may take long.
const BRACKETS_MAX: usize = 24;

/// Why an expression has no value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unclear(String);

/// Whether a text is an expression at all.
pub(super) fn check(text: &str) -> Result<(), Unclear> {
    compile(text).map(drop)
}

/// The value of an expression over these variables.
pub(super) fn evaluate(text: &str, variables: &[(&str, Value)]) -> Result<Value, Unclear> {
    let program = compile(text)?;
    let env = Arc::new(Env::default().with_optional_support(false).with_stdlib());
    let mut context = Context::with_env(env);
    for (name, value) in variables {
        context.add_variable_from_value(*name, to_cel(value));
    }
    let extracted = context
        .add_function("extract", |This(text): This<Arc<String>>, template: Arc<String>| {
            extract(&text, &template)
        });
    extracted.map_err(|error| Unclear(format!("{error:?}")))?;
    // The interpreter is a library's, and the values a stranger's.
    let result = catch_unwind(AssertUnwindSafe(|| program.execute(&context)));
    let result = result.map_err(|_| Unclear("it cannot be evaluated".to_owned()))?;
    from_cel(&result.map_err(|error| Unclear(error.to_string()))?)
}

fn compile(text: &str) -> Result<Program, Unclear> {
    let deep = text.bytes().filter(|it| matches!(it, b'(' | b'[' | b'{')).count();
    if deep > BRACKETS_MAX {
        return Err(Unclear(format!("it has more than {BRACKETS_MAX} brackets")));
    }
    let program = catch_unwind(|| Program::compile(text));
    let program = program.map_err(|_| Unclear("it cannot be read".to_owned()))?;
    program.map_err(|error| Unclear(error.to_string()))
}

/// IAM's own function: the text where the template has `{name}`, or nothing.
fn extract(text: &str, template: &str) -> String {
    let Some((before, rest)) = template.split_once('{') else { return String::new() };
    let Some((_, after)) = rest.split_once('}') else { return String::new() };
    let found = text.find(before).map(|at| &text[at + before.len()..]);
    let found = found.and_then(|it| match after {
        "" => Some(it),
        after => it.find(after).map(|end| &it[..end]),
    });
    found.unwrap_or_default().to_owned()
}

fn to_cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(it) => Cel::Bool(*it),
        Value::Number(it) => match (it.as_i64(), it.as_u64()) {
            (Some(it), _) => Cel::Int(it),
            (None, Some(it)) => Cel::UInt(it),
            (None, None) => it.as_f64().map_or(Cel::Null, Cel::Float),
        },
        Value::String(it) => Cel::String(Arc::new(it.clone())),
        Value::Array(it) => Cel::List(Arc::new(it.iter().map(to_cel).collect())),
        Value::Object(it) => {
            let entries = it.iter().map(|(key, it)| (key.clone(), to_cel(it)));
            Cel::Map(Map::from(entries.collect::<HashMap<_, _>>()))
        }
    }
}

fn from_cel(value: &Cel) -> Result<Value, Unclear> {
    Ok(match value {
        Cel::Bool(it) => Value::from(*it),
        Cel::Int(it) => Value::from(*it),
        Cel::String(it) => Value::from(it.as_str()),
        Cel::List(it) => Value::Array(it.iter().map(from_cel).collect::<Result<_, _>>()?),
        _ => return Err(Unclear("it is of a type that has no use here".to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn expressions_have_the_values_that_iam_gives_them() {
        let assertion = json!({"sub": "project_path:team/iris:ref_type:branch:ref:main",
            "project_id": "7", "ref_protected": "true", "runner_id": 1, "groups": ["a"]});
        let cases = [
            ("assertion.project_id", Some(json!("7"))),
            ("'gitlab-' + assertion.project_id", Some(json!("gitlab-7"))),
            ("assertion.runner_id == 1", Some(json!(true))),
            ("assertion.project_id in ['7', '8']", Some(json!(true))),
            ("assertion.sub.startsWith('project_path:team/')", Some(json!(true))),
            ("assertion.sub.extract('project_path:{path}:ref_type')", Some(json!("team/iris"))),
            ("assertion.sub.extract(':ref:{ref}')", Some(json!("main"))),
            ("assertion.sub.extract('other:{ref}')", Some(json!(""))),
            ("has(assertion.missing) ? assertion.missing : 'none'", Some(json!("none"))),
            ("assertion.groups", Some(json!(["a"]))),
            ("assertion.missing", None),
            ("unknown.name", None),
            ("assertion", None),
        ];
        for (text, expected) in cases {
            let value = evaluate(text, &[("assertion", assertion.clone())]);
            assert_eq!(value.as_ref().ok(), expected.as_ref(), "{text}: {value:?}");
        }
        assert!(check("assertion.").is_err());
        assert!(check(&"(".repeat(1_000)).is_err());
    }
}
