//! Reads mappings strictly and remembers everything that is wrong, so that a
//! configuration is corrected in one go.

use std::fmt::Display;

use serde_json::{Map, Value};

/// Reads YAML 1.2: `y` and `no` are texts, as the compilers of pipelines write them.
pub(crate) fn yaml(text: &str) -> Result<Value, serde_saphyr::Error> {
    serde_saphyr::from_str_with_options(text, serde_saphyr::options! { strict_booleans: true })
}

/// Bytes of a path, or of what is wrong there; more of a foreign text nobody reads.
const SHOWN_MAX: usize = 1_000;

/// One thing wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {what}")]
pub(crate) struct Problem {
    /// Field at fault.
    pub(crate) path: String,
    /// What is wrong with it.
    pub(crate) what: String,
}

/// A mapping and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Section<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Section<'a> {
    /// Where a field of it stands.
    pub(crate) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The field as it was written.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key)
    }

    /// Every field.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.map.iter()
    }
}

/// What was wrong so far. A field that could not be read is `None` and has its problem here.
#[derive(Debug, Default)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl Problems {
    /// Remembers a problem.
    pub(crate) fn report(&mut self, path: String, what: impl Display) {
        self.0.push(Problem { path: cut(path), what: cut(what.to_string()) });
    }

    /// The value as a mapping with these keys and no others.
    pub(crate) fn section<'a>(
        &mut self,
        value: &'a Value,
        path: &str,
        known: &[&str],
    ) -> Option<Section<'a>> {
        let section = self.open(value, path)?;
        for key in section.map.keys().filter(|it| !known.contains(&it.as_str())) {
            let nearest = known.iter().max_by(|a, b| likeness(a, key).total_cmp(&likeness(b, key)));
            let hint = match nearest {
                Some(it) if likeness(it, key) > 0.7 => format!("did you mean {it}?"),
                Some(_) | None => format!("known are {}", known.join(", ")),
            };
            self.report(section.path(key), format_args!("no such field; {hint}"));
        }
        Some(section)
    }

    fn open<'a>(&mut self, value: &'a Value, path: &str) -> Option<Section<'a>> {
        let Value::Object(map) = value else {
            self.report(shown(path), format_args!("expected a mapping, found {}", kind(value)));
            return None;
        };
        Some(Section { map, path: path.to_owned() })
    }

    /// A field that is a mapping whose keys are names that the user chose, and has to be there.
    pub(crate) fn names<'a>(&mut self, section: &Section<'a>, key: &str) -> Option<Section<'a>> {
        let Some(value) = section.get(key) else {
            self.report(section.path(key), "is missing");
            return None;
        };
        self.open(value, &section.path(key))
    }

    /// What was parsed, or its problem.
    pub(crate) fn parsed<T, E: Display>(&mut self, path: &str, it: Result<T, E>) -> Option<T> {
        it.map_err(|error| self.report(path.to_owned(), error)).ok()
    }

    /// Another kind of value belongs there.
    pub(crate) fn unfit<T>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        expected: &str,
        found: &Value,
    ) -> Option<T> {
        let found = match found {
            Value::Number(number) => number.to_string(),
            other => kind(other).to_owned(),
        };
        self.report(section.path(key), format_args!("expected {expected}, found {found}"));
        None
    }

    /// A text that has to be there.
    pub(crate) fn required<T, E: Display>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        if section.get(key).is_none() {
            self.report(section.path(key), "is missing");
        }
        self.optional(section, key, parse)
    }

    /// A text that may be left out.
    pub(crate) fn optional<T, E: Display>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        match section.get(key)? {
            Value::String(text) => self.parsed(&section.path(key), parse(text)),
            other => self.unfit(section, key, "text", other),
        }
    }
}

fn likeness(a: &str, b: &str) -> f64 {
    strsim::jaro_winkler(a, b)
}

fn cut(mut text: String) -> String {
    if text.len() > SHOWN_MAX {
        text.truncate(text.floor_char_boundary(SHOWN_MAX));
        text.push('…');
    }
    text
}

fn shown(path: &str) -> String {
    if path.is_empty() { "the file".to_owned() } else { path.to_owned() }
}

/// What a value is, in a sentence.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Problems, SHOWN_MAX, yaml};

    #[test]
    fn what_looks_like_an_old_boolean_is_a_text() {
        let read = yaml("{a: y, b: no, c: on, d: true, e: 'y'}").unwrap();
        assert_eq!(read, json!({"a": "y", "b": "no", "c": "on", "d": true, "e": "y"}));
    }

    #[test]
    fn what_is_wrong_is_told_in_a_few_words_however_long_it_is() {
        let mut problems = Problems::default();
        problems.section(&json!({"ü".repeat(10_000): 1}), "", &["known"]).unwrap();
        problems.report("a".to_owned(), "b".repeat(10_000));
        let [key, what] = &problems.0[..] else { panic!("{problems:?}") };
        for it in [&key.path, &what.what] {
            assert!(it.len() <= SHOWN_MAX + '…'.len_utf8() && it.ends_with('…'), "{it}");
        }
    }
}
