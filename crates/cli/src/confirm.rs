//! Asks before something is done that cannot be undone.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::exit;
use crate::terminal::plain;

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unconfirmed {
    /// There is nobody to ask.
    #[error("nothing was done, because nobody can be asked here ({0}): --yes says yes to it")]
    Nobody(String),
    /// The answer was not yes.
    #[error("nothing was done")]
    Declined,
    /// The terminal is gone.
    #[error("reading the answer")]
    Read(#[source] io::Error),
}

impl Unconfirmed {
    /// What the process ends with.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Nobody(_) => exit::USAGE,
            Self::Declined => exit::DECLINED,
            Self::Read(_) => exit::NO_INPUT,
        }
    }
}

/// Returns where the answer is yes: said already, or now on the terminal. Elsewhere it has to be said already.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), Unconfirmed> {
    if yes {
        return Ok(());
    }
    let question = plain(question);
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Unconfirmed::Nobody(question));
    }
    let mut answer = String::new();
    write!(io::stderr(), "{question} [y/N] ")
        .and_then(|()| io::stdin().lock().read_line(&mut answer))
        .map_err(Unconfirmed::Read)?;
    if is_yes(&answer) { Ok(()) } else { Err(Unconfirmed::Declined) }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_means_yes() {
        for (answer, expected) in
            [("y\n", true), ("YES\r\n", true), ("\n", false), ("", false), ("yeah\n", false)]
        {
            assert_eq!(is_yes(answer), expected, "{answer:?}");
        }
    }
}
