//! What a provider of a workload identity pool makes of a token: its attribute mapping and its
//! attribute condition, evaluated as Google's token service does. Pure.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cel::common::ast::{Expr, LiteralValue, operators};
use cel::extractors::This;
use cel::{Context, ExecutionError, Program, Value};
use regex::Regex;
use serde_json::{Map, Value as Json, json};

use crate::expression::{environment, to_cel};

/// As long as Google takes a condition, in characters.
const CONDITION_MAX: usize = 4_096;

/// Claims of a token, by name.
pub type Claims = Map<String, Json>;

/// What the mapping makes of a token: `google.subject`, `attribute.NAME`.
pub type Attributes = BTreeMap<String, String>;

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// It asks for something that is not there, so Google has no value either.
    #[error("the token has no {0}")]
    Missing(String),
    /// It has a value of another type than is wanted.
    #[error("it is {0}")]
    Type(&'static str),
    /// Nobody can tell here: it is no CEL, or more than is known of CEL here.
    #[error("{0}")]
    Unknown(String),
}

/// A part of a condition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// As it is written.
    pub text: String,
    /// The claims in it, as the token has them; none for one that it has not.
    pub claims: Vec<(String, Option<String>)>,
    /// Whether it would hold if capital letters were small ones.
    pub but_for_case: bool,
}

/// A condition that lets more in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Widened {
    /// As it is written.
    pub condition: String,
    /// Who is let in besides: whose claims have these values.
    pub besides: Vec<(String, String)>,
}

/// Maps a token. An expression that has no value is told with the reason.
pub fn map(
    mapping: &[(String, String)],
    claims: &Claims,
) -> BTreeMap<String, Result<String, Unclear>> {
    let variables = json!({ "assertion": claims });
    let mapped = mapping.iter().map(|(name, expression)| {
        let value = evaluate(expression, &variables).and_then(|it| match it {
            Value::String(it) => Ok(it.as_str().to_owned()),
            Value::List(it) => Ok(format!("{} values", it.len())),
            _ => Err(Unclear::Type("no text")),
        });
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
) -> Result<Vec<Clause>, Unclear> {
    let variables = variables(claims, attributes);
    // A claim that is not there keeps a token out as a wrong one does.
    let fails = |it: &Result<bool, Unclear>| matches!(it, Ok(false) | Err(Unclear::Missing(_)));
    let whole = holds(condition, &variables);
    if !fails(&whole) {
        return whole.map(|_| Vec::new());
    }
    let small = small_letters(&variables);
    let failing = clauses(condition).into_iter().filter(|it| fails(&holds(it, &variables)));
    let clause = |text: &str| Clause {
        text: text.to_owned(),
        claims: named(text, claims),
        but_for_case: holds(&text.to_lowercase(), &small).unwrap_or(false),
    };
    Ok(failing.map(clause).collect())
}

/// The condition, or else the same with the token's values in the place of those that it fails by.
/// Nothing where one of these is no plain comparison of a claim of `names`: what is let in then is
/// not to be told in a sentence.
pub fn widened(
    condition: &str,
    failing: &[Clause],
    claims: &Claims,
    names: &[&str],
) -> Option<Widened> {
    let mut besides = Vec::new();
    let mut instead = |text: &str| {
        if failing.iter().all(|it| it.text != text) {
            return Some(text.to_owned());
        }
        let name = compared(text).filter(|it| names.contains(&it.as_str()))?;
        let value = claims.get(&name)?.as_str()?.to_owned();
        let plain = |it: char| it.is_ascii_alphanumeric() || "-_./:@".contains(it);
        let same = value.chars().all(plain).then(|| format!("assertion.{name} == \"{value}\""));
        besides.push((name, value));
        same
    };
    let other: Option<Vec<_>> = clauses(condition).into_iter().map(&mut instead).collect();
    let condition = format!("({condition}) || ({})", other?.join(" && "));
    // What follows a comment would be one.
    let fits = condition.chars().count() <= CONDITION_MAX && !condition.contains("//");
    fits.then_some(Widened { condition, besides })
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

fn holds(expression: &str, variables: &Json) -> Result<bool, Unclear> {
    match evaluate(expression, variables)? {
        Value::Bool(it) => Ok(it),
        _ => Err(Unclear::Type("neither true nor false")),
    }
}

/// The parser is a library's, and the text somebody's configuration.
fn compile(expression: &str) -> Option<Program> {
    catch_unwind(|| Program::compile(expression)).ok()?.ok()
}

fn evaluate(expression: &str, variables: &Json) -> Result<Value, Unclear> {
    let unknown = |why: &str| Unclear::Unknown(why.to_owned());
    let program = compile(expression).ok_or_else(|| unknown("it is no CEL"))?;
    let mut context = Context::with_env(environment());
    for (name, value) in variables.as_object().into_iter().flatten() {
        context.add_variable_from_value(name.as_str(), to_cel(value));
    }
    let matches = |This(text): This<Arc<String>>, pattern: Arc<String>| {
        let wrong = |_| ExecutionError::function_error("matches", "no pattern");
        Regex::new(&pattern).map(|it| it.is_match(&text)).map_err(wrong)
    };
    let extract = |This(text): This<Arc<String>>, template: Arc<String>| extract(&text, &template);
    let added = context.add_function("matches", matches);
    let added = added.and_then(|()| context.add_function("extract", extract));
    added.map_err(|_| unknown("its functions are not known here"))?;
    let result = catch_unwind(AssertUnwindSafe(|| program.execute(&context)));
    result.map_err(|_| unknown("it cannot be evaluated"))?.map_err(|error| match error {
        ExecutionError::NoSuchKey(name) => Unclear::Missing(name.as_str().to_owned()),
        other => Unclear::Unknown(other.to_string()),
    })
}

/// IAM's own: what the text has where the template has `{name}`, or nothing.
fn extract(text: &str, template: &str) -> String {
    let found = template.split_once('{').and_then(|(before, rest)| {
        let (_, after) = rest.split_once('}')?;
        let (_, found) = text.split_once(before)?;
        if after.is_empty() { Some(found) } else { found.split_once(after).map(|it| it.0) }
    });
    found.unwrap_or_default().to_owned()
}

/// What `&&` joins at the outermost level, or the whole where it is joined by something else.
fn clauses(condition: &str) -> Vec<&str> {
    let parts = split(condition);
    // Who binds more tightly than whom only the parser knows, and what a comment is.
    let whole = conjuncts(condition);
    let together: Option<usize> = parts.iter().map(|it| conjuncts(it)).sum();
    if whole.is_some() && whole == together { parts } else { vec![condition.trim()] }
}

/// How many expressions `&&` joins, within brackets too.
fn conjuncts(text: &str) -> Option<usize> {
    fn count(expression: &Expr) -> usize {
        match expression {
            Expr::Call(it) if it.func_name == operators::LOGICAL_AND => {
                it.args.iter().map(|it| count(&it.expr)).sum()
            }
            _ => 1,
        }
    }
    compile(text).map(|it| count(&it.expression().expr))
}

/// At every `&&` outside of brackets and texts.
fn split(condition: &str) -> Vec<&str> {
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

/// The claim, if this is `assertion.NAME == "VALUE"` and nothing else.
fn compared(clause: &str) -> Option<String> {
    let program = compile(clause)?;
    let Expr::Call(call) = &program.expression().expr else { return None };
    let [left, right] = &call.args[..] else { return None };
    let (Expr::Select(claim), Expr::Literal(LiteralValue::String(_))) = (&left.expr, &right.expr)
    else {
        return None;
    };
    let plain = call.func_name == operators::EQUALS && !claim.test;
    let of_token = matches!(&claim.operand.expr, Expr::Ident(it) if it == "assertion");
    (plain && of_token).then(|| claim.field.clone())
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
mod tests;
