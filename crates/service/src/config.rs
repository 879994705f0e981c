//! Reads a role's configuration file, and tells everything that is wrong with it at once.
//! Strictness is the target's: it denies unknown fields, and its field types state their rules.
//!
//! A reader stops at the first error. So what it stopped at is told, taken out, and the rest is read
//! again, until nothing is wrong any more. What only the taking out has made wrong is not told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_saphyr::UserMessageFormatter;

use self::document::{Node, Place, Step, shown};

mod document;
#[cfg(test)]
mod tests;

/// Larger than any configuration written by people.
const FILE_MAX: u64 = 1 << 20;
/// Whoever has made more mistakes sees the others afterwards.
const ERRORS_MAX: usize = 50;
/// Each time something is taken out, or put where something was missing.
const READINGS_MAX: usize = 8 * ERRORS_MAX;
/// Foreign texts are cut.
const CHARS_MAX: usize = 1_000;
/// From here on two keys are alike.
const LIKENESS_MIN: f64 = 0.7;

/// Why a configuration was refused: one sentence that names file, field and rule.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: the configuration cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than a configuration can be.
    #[error("{}: a configuration has at most {FILE_MAX} bytes", path.display())]
    Size {
        /// The file.
        path: PathBuf,
    },
    /// The file breaks a rule.
    #[error("{}: {at}{rule}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Field at fault, with a colon and a space behind; empty at the top.
        at: String,
        /// The rule it breaks, and where.
        rule: String,
    },
}

/// Everything that is wrong with a configuration: at least one error.
#[derive(Debug)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentences: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&sentences.join("; "))
    }
}

impl std::error::Error for ConfigErrors {}

/// A configuration without what is wrong with it, for whoever wants to look at the rest. What had
/// to be there has a stand-in that is empty.
#[derive(Debug)]
pub struct Draft<T> {
    /// What the file says.
    pub config: T,
    written: BTreeSet<String>,
    wrong: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

impl<T> Draft<T> {
    /// Whether nothing is wrong with it.
    pub fn is_whole(&self) -> bool {
        self.wrong.is_empty()
    }

    /// Whether the value of that key is what the file wants it to be. One that is absent may be
    /// there and misspelt.
    pub fn is_sure(&self, key: &str) -> bool {
        let is_meant = |it: &String| strsim::jaro_winkler(it, key) > LIKENESS_MIN;
        !self.wrong.contains(key)
            && (self.written.contains(key) || !self.unknown.iter().any(is_meant))
    }
}

/// Reads the YAML file at `path` as a `T`.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigErrors> {
    match draft(path) {
        (Some(draft), errors) if errors.is_empty() => Ok(draft.config),
        (_, errors) => Err(ConfigErrors(errors)),
    }
}

/// The same as far as it goes, with everything that is wrong.
pub fn draft<T: DeserializeOwned>(path: &Path) -> (Option<Draft<T>>, Vec<ConfigError>) {
    let refused =
        |at: String, rule: String| ConfigError::Refused { path: path.to_owned(), at, rule };
    let root = match read(path) {
        Ok(text) => Node::parse(&text).map_err(|error| {
            let rule = error.without_snippet().render_with_formatter(&UserMessageFormatter);
            refused(String::new(), one_line(&rule))
        }),
        Err(error) => Err(error),
    };
    let root = match root {
        Ok(root) => root,
        Err(error) => return (None, vec![error]),
    };
    let written = root.keys().cloned().collect();
    let (config, faults) = examine(root);
    let draft = config.map(|config| {
        let top = |it: &Fault| match it.place.first() {
            Some(Step::Key(key)) => Some(key.clone()),
            Some(Step::Item(_)) | None => None,
        };
        let is_unknown = |it: &&Fault| it.place.len() == 1 && it.rule.starts_with(UNKNOWN);
        let unknown = faults.iter().filter(is_unknown).filter_map(top).collect();
        Draft { config, written, wrong: faults.iter().filter_map(top).collect(), unknown }
    });
    let errors = faults.into_iter().map(|Fault { at, rule, line, .. }| {
        let at = if at.is_empty() { at } else { one_line(&at) + ": " };
        let line = if line > 0 { format!(" at line {line}") } else { String::new() };
        refused(at, one_line(&rule) + &line)
    });
    (draft, errors.collect())
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_string(&mut text))
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    if text.len() as u64 > FILE_MAX {
        return Err(ConfigError::Size { path: path.to_owned() });
    }
    Ok(text)
}

/// As serde words it.
const UNKNOWN: &str = "unknown field `";
const MISSING: &str = "missing field `";

/// A rule that something in the file breaks.
struct Fault {
    place: Place,
    /// Where it is told.
    at: String,
    rule: String,
    /// None, 0, of the whole.
    line: u64,
}

/// What a document says without its faults, and these; nothing where even that cannot be read.
fn examine<T: DeserializeOwned>(mut root: Node) -> (Option<T>, Vec<Fault>) {
    let mut faults = Vec::new();
    // What was changed here, with the number of stand-ins that were tried there.
    let mut changed: BTreeMap<Place, usize> = BTreeMap::new();
    for _ in 0..READINGS_MAX {
        let value = root.value();
        let error = match serde_path_to_error::deserialize::<_, T>(&value) {
            Ok(config) => return (Some(config), faults),
            Err(error) => error,
        };
        let (mut place, rule) = (root.place(error.path()), error.inner().to_string());
        let at = shown(&place);
        let missing = rule.strip_prefix(MISSING).and_then(|it| it.split_once('`'));
        if let Some((field, _)) = missing {
            place.push(Step::Key(field.to_owned()));
        }
        let (is_missing, line) = (missing.is_some(), root.line(&place));
        // It may follow from a change above it and, but for what is missing, from one below.
        let is_ours = (1..=place.len()).any(|it| changed.contains_key(&place[..it]))
            || !is_missing && changed.keys().any(|it| it.starts_with(&place));
        let tried = changed.entry(place.clone()).or_default();
        let mended = if is_missing || is_ours {
            *tried += 1;
            root.put(&place, *tried - 1)
        } else {
            root.remove(&place)
        };
        if !is_ours {
            faults.push(Fault { place, at, rule, line });
        }
        if !mended || faults.len() == ERRORS_MAX {
            break;
        }
    }
    (None, faults)
}

fn one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
