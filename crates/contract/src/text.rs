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
    /// A text that is not what the rule says.
    pub fn new(text: &str, rule: &'static str) -> Self {
        Self { shown: cut(text), rule }
    }
}

/// Declares a validated text type: parsed at the border, plain text on the wire.
/// The pattern is the rule in Rust and in the JSON Schema alike, so it keeps to what
/// both read the same way; the length is in bytes here and in characters there.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $rule:literal, $max:literal, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(into = "String", try_from = "String")]
        #[schemars(with = "String", description = $rule)]
        #[schemars(extend("maxLength" = $max, "pattern" = $pattern))]
        pub struct $name(String);

        impl $name {
            /// Takes the text if it is what the type says.
            pub fn parse(text: impl Into<String>) -> Result<Self, $crate::text::Invalid> {
                static PATTERN: std::sync::LazyLock<regex::Regex> =
                    std::sync::LazyLock::new(|| regex::Regex::new($pattern).expect("a literal"));
                let text: String = text.into();
                if text.len() <= $max && PATTERN.is_match(&text) {
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

/// As much of a text from outside as an error shows.
pub(crate) fn cut(text: &str) -> String {
    cut_to(80, text)
}

/// Its first characters, and a sign where others follow.
pub(crate) fn cut_to(chars_max: usize, text: &str) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
