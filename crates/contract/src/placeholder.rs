//! `{{ name }}` in the strings of a training spec.

use serde_json::Value;

/// What stands for a placeholder.
pub enum Fill {
    /// This text.
    Text(String),
    /// The placeholder itself: somebody later knows.
    Keep,
    /// There is no such thing.
    Unknown,
}

/// A placeholder that nothing fills.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The name is not known.
    #[error("{path}: there is no {{{{ {name} }}}}")]
    Unknown {
        /// Field that holds it.
        path: String,
        /// What stands between the braces.
        name: String,
    },
    /// Braces that are opened and not closed.
    #[error("{path}: {{{{ is never closed")]
    Open {
        /// Field that holds them.
        path: String,
    },
}

/// Fills the placeholders of every string in the value; keys are left alone.
pub fn expand(value: &Value, fill: &impl Fn(&str) -> Fill) -> Result<Value, Error> {
    walk(value, "", fill)
}

fn walk(value: &Value, path: &str, fill: &impl Fn(&str) -> Fill) -> Result<Value, Error> {
    Ok(match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::String(text) => Value::String(expand_text(text, path, fill)?),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items
                .map(|(i, it)| walk(it, &format!("{path}[{i}]"), fill))
                .collect::<Result<_, _>>()?
        }
        Value::Object(map) => {
            let dot = if path.is_empty() { "" } else { "." };
            map.iter()
                .map(|(key, it)| Ok((key.clone(), walk(it, &format!("{path}{dot}{key}"), fill)?)))
                .collect::<Result<_, _>>()?
        }
    })
}

fn expand_text(text: &str, path: &str, fill: &impl Fn(&str) -> Fill) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find("{{") {
        // `{{$.inputs…}}` is the pipeline compiler's own, not ours.
        let ours = !rest[open + 2..].trim_start().starts_with('$');
        let close = rest[open..].find("}}").map(|it| open + it);
        let Some(close) = close else {
            if ours {
                return Err(Error::Open { path: path.to_owned() });
            }
            break;
        };
        let (name, whole) = (rest[open + 2..close].trim(), &rest[open..close + 2]);
        out.push_str(&rest[..open]);
        match if ours { fill(name) } else { Fill::Keep } {
            Fill::Text(text) => out.push_str(&text),
            Fill::Keep => out.push_str(whole),
            Fill::Unknown => {
                return Err(Error::Unknown { path: path.to_owned(), name: name.to_owned() });
            }
        }
        rest = &rest[close + 2..];
    }
    out.push_str(rest);
    Ok(out)
}
