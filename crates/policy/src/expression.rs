//! One CEL expression: compiled once, evaluated to true or false or to the reason why
//! it is neither. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cel::extractors::This;
use cel::objects::Map;
use cel::{Context, Env, ExecutionError, Program, Value};
use regex::{Regex, RegexBuilder};

use crate::bound;
use crate::facts::Facts;

/// Bytes of an expression, as many as an IAM condition may have.
pub(crate) const LENGTH_MAX: usize = 2_048;
/// Brackets within brackets; more than that and the parser itself may take long.
const BRACKETS_MAX: usize = 24;
/// Bytes of a compiled pattern.
const PATTERN_SIZE_MAX: usize = 1 << 18;
/// The name of our function for patterns.
const MATCHES: &str = "matches";

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Expression(Program);

/// The patterns of all expressions, compiled.
pub(crate) type Patterns = BTreeMap<String, Regex>;

impl Expression {
    /// Compiles, checks every name, adds its patterns and variables to the others, and tells the
    /// most steps that it takes.
    pub(crate) fn compile(
        text: &str,
        patterns: &mut Patterns,
        variables: &mut BTreeSet<&'static str>,
    ) -> Result<(Self, u64), String> {
        if text.len() > LENGTH_MAX {
            return Err(format!("it has more than {LENGTH_MAX} bytes"));
        }
        if brackets(text) > BRACKETS_MAX {
            return Err(format!("it has more than {BRACKETS_MAX} brackets within brackets"));
        }
        // The parser is a library's, and the text a stranger's.
        let program = catch_unwind(|| Program::compile(text))
            .map_err(|_| "it cannot be read".to_owned())?
            .map_err(|error| match error.errors.first() {
                Some(it) => format!("line {}, column {}: {}", it.pos.0, it.pos.1 + 1, it.msg),
                None => "it cannot be read".to_owned(),
            })?;
        let checked = bound::check(&program.expression().expr)?;
        for pattern in checked.patterns {
            let regex = RegexBuilder::new(&pattern)
                .size_limit(PATTERN_SIZE_MAX)
                .dfa_size_limit(PATTERN_SIZE_MAX)
                .build()
                .map_err(|error| format!("the pattern {pattern:?} is wrong: {error}"))?;
            patterns.insert(pattern, regex);
        }
        variables.extend(checked.variables);
        Ok((Self(program), checked.steps))
    }

    /// Whether it holds, or why nobody can tell. The reason shows types and names, never values.
    pub(crate) fn evaluate(&self, context: &Context<'_, '_>) -> Result<bool, String> {
        let result = catch_unwind(AssertUnwindSafe(|| self.0.execute(context)));
        match result.map_err(|_| "it cannot be evaluated".to_owned())? {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(_) => Err("it is neither true nor false".to_owned()),
            Err(error) => Err(reason(&error)),
        }
    }
}

/// What expressions are evaluated in.
pub(crate) fn context(
    env: &Arc<Env>,
    facts: &Facts,
    patterns: &Arc<Patterns>,
) -> Context<'static, 'static> {
    let mut context = Context::with_env(Arc::clone(env));
    for (name, value) in facts.variables() {
        context.add_variable_from_value(name.as_str(), to_cel(value));
    }
    let patterns = Arc::clone(patterns);
    let matches = move |This(text): This<Arc<String>>, pattern: Arc<String>| {
        let pattern = patterns.get(pattern.as_str());
        let pattern = pattern.ok_or_else(|| ExecutionError::function_error(MATCHES, "no pattern"));
        pattern.map(|it| it.is_match(&text))
    };
    context.add_function(MATCHES, matches).expect("the environment has none of its own");
    context
}

/// The functions of CEL, without its optional values.
pub(crate) fn environment() -> Arc<Env> {
    Arc::new(Env::default().with_optional_support(false).with_stdlib())
}

/// Whole numbers are CEL's `int`, as they are written in expressions.
pub(crate) fn to_cel(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(it) => Value::Bool(*it),
        serde_json::Value::Number(it) => match (it.as_i64(), it.as_u64()) {
            (Some(it), _) => Value::Int(it),
            (None, Some(it)) => Value::UInt(it),
            (None, None) => it.as_f64().map_or(Value::Null, Value::Float),
        },
        serde_json::Value::String(it) => Value::String(Arc::new(it.clone())),
        serde_json::Value::Array(it) => Value::List(Arc::new(it.iter().map(to_cel).collect())),
        serde_json::Value::Object(it) => {
            let entries = it.iter().map(|(key, it)| (key.clone(), to_cel(it)));
            Value::Map(Map::from(entries.collect::<HashMap<_, _>>()))
        }
    }
}

fn reason(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(_)
        | ExecutionError::NoSuchOverload(_)
        | ExecutionError::UnexpectedType { .. }
        | ExecutionError::InvalidArgumentCount { .. }
        | ExecutionError::UndeclaredReference(_) => lower_first(&error.to_string()),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "division by zero".to_owned()
        }
        ExecutionError::Overflow(..) => "a number is too large".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "there is no entry at that place".to_owned(),
        ExecutionError::FunctionError { function, .. } => format!("{function} failed"),
        // These show values, and the list may grow.
        _ => "values are of other types than it expects".to_owned(),
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |it| it.to_lowercase().chain(chars).collect())
}

/// The deepest that brackets stand within each other; those in texts count too.
fn brackets(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
