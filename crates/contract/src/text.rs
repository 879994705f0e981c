//! Short texts with a rule. Whatever arrives from outside becomes one of these
//! or is refused with the rule it breaks.

/// A text that breaks the rule of its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{shown:?} is not {rule}")]
pub struct Invalid {
    /// The offending text, cut to what a log line bears.
    pub shown: String,
    /// What would have been accepted.
    pub rule: &'static str,
}

impl Invalid {
    pub(crate) fn new(text: &str, rule: &'static str) -> Self {
        Self { shown: cut(text), rule }
    }
}

/// Declares a validated text type: parsed at the border, plain text on the wire.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(into = "String", try_from = "String")]
        #[schemars(with = "String", description = $rule)]
        pub struct $name(String);

        impl $name {
            /// Takes the text if it is what the type says.
            pub fn parse(text: impl Into<String>) -> Result<Self, $crate::text::Invalid> {
                let text: String = text.into();
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) {
                    Ok(Self(text))
                } else {
                    Err($crate::text::Invalid::new(&text, $rule))
                }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::text::Invalid;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::text::Invalid;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(it: $name) -> String {
                it.0
            }
        }
    };
}
pub(crate) use text_type;

/// `first` for the first character, `rest` for the others, at most `max` bytes, not empty.
pub(crate) fn is_word(
    text: &str,
    max: usize,
    first: fn(char) -> bool,
    rest: fn(char) -> bool,
) -> bool {
    let mut chars = text.chars();
    text.len() <= max && chars.next().is_some_and(first) && chars.all(rest)
}

/// As much of a text from outside as an error shows.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Lower-case letter.
pub(crate) fn lower(c: char) -> bool {
    c.is_ascii_lowercase()
}

/// Lower-case letter, digit or hyphen.
pub(crate) fn kebab(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}
