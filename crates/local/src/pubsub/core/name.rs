//! Resource names: `projects/P/topics/T` and `projects/P/subscriptions/S`.

use std::fmt;

use super::error::{Result, invalid};

/// A checked resource name. Which kind it names is known from where it is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(String);

impl Name {
    pub(super) fn topic(text: &str) -> Result<Self> {
        Self::parse(text, "topics")
    }

    pub(super) fn subscription(text: &str) -> Result<Self> {
        Self::parse(text, "subscriptions")
    }

    fn parse(text: &str, collection: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            ["projects", project, kind, id]
                if kind == collection && !project.is_empty() && is_id(id) =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => invalid(format!(
                "Invalid resource name given (name={text}). Refer to \
                 https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names for more information."
            )),
        }
    }

    pub(super) fn project(&self) -> &str {
        self.0.split('/').nth(1).expect("a parsed name has a project")
    }

    pub(super) fn id(&self) -> &str {
        self.0.rsplit('/').next().expect("a parsed name has an id")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// 3 to 255 characters, a letter first, and never Google's own prefix.
fn is_id(id: &str) -> bool {
    (3..=255).contains(&id.len())
        && id.starts_with(|first: char| first.is_ascii_alphabetic())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.~+%".contains(c))
        && !id.starts_with("goog")
}
