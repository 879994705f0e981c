//! What output looks like: its colours, and how wide the terminal is. Elsewhere it is plain.

use std::io::IsTerminal as _;

use crate::env::Environment;

/// How to write to one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    /// Whether there are colours.
    pub(crate) colours: bool,
    /// Columns of the terminal, if the stream is one.
    pub(crate) width: Option<usize>,
}

/// Colours of the terminal's own palette, so that its owner has chosen them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Red,
    Green,
    Yellow,
    Blue,
    Cyan,
    Bold,
    Dim,
}

impl Style {
    /// For files and pipes.
    pub(crate) const PLAIN: Self = Self { colours: false, width: None };

    /// For stdout, as it is.
    pub(crate) fn stdout(environment: &Environment) -> Self {
        if !std::io::stdout().is_terminal() {
            return Self::PLAIN;
        }
        let size = console::Term::stdout().size_checked();
        let width = size.map(|(_, columns)| usize::from(columns)).filter(|it| *it > 0);
        Self { colours: wants_colours(environment), width }
    }

    /// The text in that colour, where there are colours.
    pub(crate) fn paint(self, colour: Colour, text: &str) -> String {
        if self.colours && !text.is_empty() {
            format!("\x1b[{}m{text}\x1b[0m", colour.code())
        } else {
            text.to_owned()
        }
    }
}

impl Colour {
    const fn code(self) -> u8 {
        match self {
            Self::Bold => 1,
            Self::Dim => 2,
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Blue => 34,
            Self::Cyan => 36,
        }
    }
}

/// `NO_COLOR` says no with any value but the empty one: <https://no-color.org>.
fn wants_colours(environment: &Environment) -> bool {
    let is_set = |name: &str| environment.get(name).is_some_and(|it| !it.is_empty());
    !is_set("NO_COLOR") && environment.get("TERM").is_none_or(|it| it != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_wants_no_colours_gets_none() {
        let cases = [
            ("nothing is said", &[][..], true),
            ("a terminal", &[("TERM", "xterm")], true),
            ("a dumb one", &[("TERM", "dumb")], false),
            ("no colours", &[("NO_COLOR", "1")], false),
            ("an empty word", &[("NO_COLOR", "")], true),
        ];
        for (name, variables, expected) in cases {
            let variables = variables.iter().map(|(name, it)| ((*name).into(), (*it).into()));
            assert_eq!(wants_colours(&variables.collect()), expected, "{name}");
        }
    }

    #[test]
    fn a_plain_text_stays_as_it_is() {
        let coloured = Style { colours: true, width: None };
        assert_eq!(Style::PLAIN.paint(Colour::Red, "failed"), "failed");
        assert_eq!(coloured.paint(Colour::Red, "failed"), "\x1b[31mfailed\x1b[0m");
    }
}
