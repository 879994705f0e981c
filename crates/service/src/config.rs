//! Reads a role's configuration file. Strictness is the target's: it denies
//! unknown fields, and its field types state their rules.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_saphyr::UserMessageFormatter;

/// Larger than any configuration written by people.
const FILE_MAX: u64 = 1 << 20;

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

/// Reads the YAML file at `path` as a `T`.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_string(&mut text))
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    if text.len() as u64 > FILE_MAX {
        return Err(ConfigError::Size { path: path.to_owned() });
    }
    parse(&text).map_err(|(at, rule)| ConfigError::Refused { path: path.to_owned(), at, rule })
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, (String, String)> {
    let mut field = String::new();
    let parsed = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            field = match error.path().to_string().as_str() {
                "." | "?" => String::new(),
                path => format!("{}: ", one_line(path)),
            };
            error.into_inner()
        })
    });
    parsed.map_err(|error| {
        let rule = error.without_snippet().render_with_formatter(&UserMessageFormatter);
        (field, one_line(&rule))
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use expect_test::expect;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        subscription: String,
        consume: Consume,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Consume {
        in_flight_max: NonZeroU32,
    }

    fn load_text(text: &str) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("worker.yaml");
        std::fs::write(&path, text).unwrap();
        let root = format!("{}/", directory.path().display());
        load(&path).map_err(|error| error.to_string().replace(&root, ""))
    }

    #[test]
    fn a_valid_file_is_read() {
        let config = load_text("subscription: s\nconsume: {in_flight_max: 3}\n").unwrap();
        assert_eq!((config.subscription.as_str(), config.consume.in_flight_max.get()), ("s", 3));
    }

    #[test]
    fn a_refused_file_is_answered_with_one_sentence_naming_field_and_rule() {
        let cases = [
            "subscription: s\nconsume: {in_flight: 3}\n",
            "subscription: s\nconsume: {in_flight_max: 0}\n",
            "subscription: s\nconsume: {in_flight_max: many}\n",
            "subscription: s\n",
            "subscription: s\n\"con\\nsume\": {}\n",
            "subscription: s\nsubscription: t\n",
            "subscription: [",
            "",
        ];
        let answers: Vec<_> = cases.iter().map(|it| load_text(it).unwrap_err()).collect();
        expect![[r"
            worker.yaml: consume.in_flight: unknown field `in_flight`, expected one of in_flight_max at line 2, column 11
            worker.yaml: consume.in_flight_max: invalid value: integer `0`, expected a nonzero u32 at line 2, column 11
            worker.yaml: consume.in_flight_max: invalid u32 at line 2, column 26
            worker.yaml: missing field `consume` at line 1, column 1
            worker.yaml: con sume: unknown field `con\nsume`, expected one of subscription, consume at line 2, column 1
            worker.yaml: duplicate mapping key `subscription` is not allowed here at line 2, column 1
            worker.yaml: subscription: expected string scalar at line 1, column 15
            worker.yaml: unexpected end of file at line 1, column 1"]].assert_eq(&answers.join("\n"));
    }

    #[test]
    fn a_missing_or_oversized_file_is_named() {
        let missing = load::<Config>(Path::new("missing.yaml")).unwrap_err().to_string();
        assert!(
            missing.starts_with("missing.yaml: the configuration cannot be read: "),
            "{missing}"
        );
        let oversized = load_text(&"#".repeat(1 << 21)).unwrap_err();
        assert_eq!(oversized, "worker.yaml: a configuration has at most 1048576 bytes");
    }
}
