//! What a provider of a workload identity pool makes of a token: its attribute mapping and its
//! attribute condition, evaluated as Google's token service does. Pure.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cel::extractors::This;
use cel::{Context, ExecutionError, Program, Value};
use regex::Regex;
use serde_json::{Map, Value as Json, json};

use crate::expression::{environment, to_cel};

/// Claims of a token, by name.
pub type Claims = Map<String, Json>;

/// What the mapping makes of a token: `google.subject`, `attribute.NAME`.
pub type Attributes = BTreeMap<String, String>;

/// A part of a condition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// As it is written.
    pub text: String,
    /// The claims in it, as the token has them; none for one that it has not.
    pub claims: Vec<(String, Option<String>)>,
    /// Whether it would hold if capital letters were small ones.
    pub but_for_case: bool,
    /// With the token's value instead of the one that it is compared with, where it is so simple.
    pub mended: Option<String>,
}

/// Maps a token. An expression that cannot be evaluated is told with the reason.
pub fn map(
    mapping: &[(String, String)],
    claims: &Claims,
) -> BTreeMap<String, Result<String, String>> {
    let variables = json!({ "assertion": claims });
    let mapped = mapping.iter().map(|(name, expression)| {
        let value = match evaluate(expression, &variables) {
            Ok(Value::String(it)) => Ok(it.as_str().to_owned()),
            Ok(Value::List(it)) => Ok(format!("{} values", it.len())),
            Ok(_) => Err("it is no text".to_owned()),
            Err(reason) => Err(reason),
        };
        (name.clone(), value)
    });
    mapped.collect()
}

/// The clauses of a condition that keep a token out; none if it is let in. A condition that this
/// cannot evaluate is told with the reason.
pub fn failing(
    condition: &str,
    claims: &Claims,
    attributes: &Attributes,
) -> Result<Vec<Clause>, String> {
    let variables = variables(claims, attributes);
    if holds(condition, &variables)? {
        return Ok(Vec::new());
    }
    let mut failing = Vec::new();
    for text in clauses(condition) {
        // One that is false because of a claim that is not there cannot be evaluated alone either.
        if holds(text, &variables).unwrap_or(false) {
            continue;
        }
        let small = small_letters(&variables);
        failing.push(Clause {
            text: text.to_owned(),
            claims: named(text, claims),
            but_for_case: holds(&text.to_lowercase(), &small).unwrap_or(false),
            mended: mended(text, claims),
        });
    }
    Ok(failing)
}

fn variables(claims: &Claims, attributes: &Attributes) -> Json {
    let (mut google, mut attribute) = (Map::new(), Map::new());
    for (name, value) in attributes {
        match name.split_once('.') {
            Some(("google", name)) => google.insert(name.to_owned(), json!(value)),
            Some(("attribute", name)) => attribute.insert(name.to_owned(), json!(value)),
            _ => None,
        };
    }
    json!({"assertion": claims, "google": google, "attribute": attribute})
}

fn holds(expression: &str, variables: &Json) -> Result<bool, String> {
    match evaluate(expression, variables)? {
        Value::Bool(it) => Ok(it),
        _ => Err("it is neither true nor false".to_owned()),
    }
}

/// The parser is a library's, and the text somebody's configuration.
fn evaluate(expression: &str, variables: &Json) -> Result<Value, String> {
    let program = catch_unwind(|| Program::compile(expression));
    let program = program.ok().and_then(Result::ok).ok_or("it is no CEL")?;
    let mut context = Context::with_env(environment());
    for (name, value) in variables.as_object().into_iter().flatten() {
        context.add_variable_from_value(name.as_str(), to_cel(value));
    }
    let matches = |This(text): This<Arc<String>>, pattern: Arc<String>| {
        let wrong = |_| ExecutionError::function_error("matches", "no pattern");
        Regex::new(&pattern).map(|it| it.is_match(&text)).map_err(wrong)
    };
    context.add_function("matches", matches).map_err(|_| "no pattern can be matched")?;
    let result = catch_unwind(AssertUnwindSafe(|| program.execute(&context)));
    let result = result.map_err(|_| "it cannot be evaluated".to_owned())?;
    result.map_err(|error| match error {
        ExecutionError::NoSuchKey(name) => format!("the token has no {name}"),
        other => other.to_string(),
    })
}

/// What `&&` joins at the outermost level.
fn clauses(condition: &str) -> Vec<&str> {
    let (mut found, mut from, mut depth, mut quote) = (Vec::new(), 0, 0_i32, None);
    let bytes = condition.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(_), b'\\') => at += 1,
            (Some(open), it) => quote = Some(open).filter(|_| it != open),
            (None, it @ (b'"' | b'\'')) => quote = Some(it),
            (None, b'(' | b'[' | b'{') => depth += 1,
            (None, b')' | b']' | b'}') => depth -= 1,
            (None, b'|') if depth == 0 && bytes.get(at + 1) == Some(&b'|') => {
                // The whole is one clause: any of its parts would do.
                return vec![condition.trim()];
            }
            (None, b'&') if depth == 0 && bytes.get(at + 1) == Some(&b'&') => {
                found.push(condition[from..at].trim());
                from = at + 2;
                at += 1;
            }
            (None, _) => {}
        }
        at += 1;
    }
    found.push(condition[from..].trim());
    found
}

/// The claims that a clause names, with the token's values.
fn named(clause: &str, claims: &Claims) -> Vec<(String, Option<String>)> {
    let mut found: Vec<(String, Option<String>)> = Vec::new();
    for part in clause.split("assertion.").skip(1) {
        let name: String =
            part.chars().take_while(|it| it.is_ascii_alphanumeric() || *it == '_').collect();
        if !name.is_empty() && !found.iter().any(|(it, _)| *it == name) {
            let value = claims.get(&name).map(text);
            found.push((name, value));
        }
    }
    found
}

/// `assertion.NAME == "VALUE"` with the token's value.
fn mended(clause: &str, claims: &Claims) -> Option<String> {
    let (name, _) = clause.split_once("==")?;
    let name = name.trim().strip_prefix("assertion.")?;
    let value = claims.get(name)?.as_str()?;
    let plain = |it: char| it.is_ascii_alphanumeric() || "-_./:@".contains(it);
    value.chars().all(plain).then(|| format!("assertion.{name} == \"{value}\""))
}

fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Texts in small letters, and nothing else changed.
fn small_letters(value: &Json) -> Json {
    match value {
        Json::String(it) => json!(it.to_lowercase()),
        Json::Array(all) => all.iter().map(small_letters).collect(),
        Json::Object(all) => {
            all.iter().map(|(name, it)| (name.clone(), small_letters(it))).collect()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        let claims = json!({
            "namespace_path": "ml", "project_path": "ml/Iris", "ref_protected": "true",
            "ref": "main", "project_id": "7", "sub": "project_path:ml/iris",
        });
        claims.as_object().unwrap().clone()
    }

    fn names(condition: &str) -> Vec<String> {
        let attributes = Attributes::from([("attribute.project_id".to_owned(), "7".to_owned())]);
        let failing = failing(condition, &claims(), &attributes).unwrap();
        failing.into_iter().map(|it| it.text).collect()
    }

    #[test]
    fn the_clauses_that_keep_a_token_out_are_named() {
        let cases: [(&str, &[&str]); 9] = [
            (r#"assertion.namespace_path == "ml""#, &[]),
            (
                r#"assertion.namespace_path == "ml" && assertion.ref == "dev""#,
                &[r#"assertion.ref == "dev""#],
            ),
            (
                r#"assertion.ref == "a && b" && assertion.ref == 'c && d'"#,
                &[r#"assertion.ref == "a && b""#, "assertion.ref == 'c && d'"],
            ),
            (
                r#"(assertion.ref == "x" && true) && assertion.namespace_path == "ml""#,
                &[r#"(assertion.ref == "x" && true)"#],
            ),
            (
                r#"assertion.ref == "x" || assertion.ref == "y""#,
                &[r#"assertion.ref == "x" || assertion.ref == "y""#],
            ),
            (r#"assertion.ref.matches("^v[0-9]+$")"#, &[r#"assertion.ref.matches("^v[0-9]+$")"#]),
            (r#"assertion.ref in ["main", "next"]"#, &[]),
            (r#"attribute.project_id == "7""#, &[]),
            (r#"assertion.ref.startsWith("m")"#, &[]),
        ];
        for (condition, expected) in cases {
            assert_eq!(names(condition), expected, "{condition}");
        }
    }

    #[test]
    fn a_clause_tells_the_values_and_what_would_hold() {
        let condition = r#"assertion.project_path == "ml/iris""#;
        let found = failing(condition, &claims(), &Attributes::new()).unwrap();
        assert_eq!(found[0].claims, [("project_path".to_owned(), Some("ml/Iris".to_owned()))]);
        assert!(found[0].but_for_case);
        assert_eq!(found[0].mended.as_deref(), Some(r#"assertion.project_path == "ml/Iris""#));
        let found = failing(r#"assertion.ref == "dev""#, &claims(), &Attributes::new()).unwrap();
        assert!(!found[0].but_for_case);
    }

    #[test]
    fn a_token_is_mapped_and_what_cannot_be_is_told() {
        let mapping = [
            ("google.subject", "\"p:\" + assertion.project_id"),
            ("attribute.none", "assertion.nobody"),
            ("attribute.wrong", "assertion."),
        ]
        .map(|(name, it)| (name.to_owned(), it.to_owned()));
        let mapped = map(&mapping, &claims());
        assert_eq!(mapped["google.subject"], Ok("p:7".to_owned()));
        assert_eq!(mapped["attribute.none"], Err("the token has no nobody".to_owned()));
        assert_eq!(mapped["attribute.wrong"], Err("it is no CEL".to_owned()));
        assert!(failing("assertion.", &claims(), &Attributes::new()).is_err());
    }
}
