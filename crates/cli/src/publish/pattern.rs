//! What an artifact is taken from: one name, or a glob over many.

use globset::{GlobBuilder, GlobMatcher};

/// A `/`-separated name in which `*`, `?`, `[…]`, `{…}` and `**` stand for many.
/// A `*` does not cross a `/`; a `**` does.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    text: String,
    matcher: GlobMatcher,
}

impl Glob {
    /// Whether the text is a glob and not simply a name.
    pub(crate) fn is_one(text: &str) -> bool {
        text.contains(WILD)
    }

    /// Takes a glob.
    pub(crate) fn parse(text: &str) -> Result<Self, globset::Error> {
        let glob = GlobBuilder::new(text).literal_separator(true).build()?;
        Ok(Self { text: text.to_owned(), matcher: glob.compile_matcher() })
    }

    /// As it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The directory that holds all it can match: empty, or ending in `/`.
    pub(crate) fn directory(&self) -> &str {
        let literal = &self.text[..self.text.find(WILD).unwrap_or(self.text.len())];
        &literal[..literal.rfind('/').map_or(0, |it| it + 1)]
    }

    /// Whether the name is one of those that it stands for.
    pub(crate) fn matches(&self, name: &str) -> bool {
        self.matcher.is_match(name)
    }
}

const WILD: [char; 4] = ['*', '?', '[', '{'];
