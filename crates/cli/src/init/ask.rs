//! One answer at a time: from an option, from whoever sits at the terminal, or by default.

use std::fmt::Display;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use super::Error;
use crate::terminal::{obeys, plain};

/// No answer is longer.
const ANSWER_BYTES_MAX: usize = 1_024;
/// As long as a terminal lets a line become.
const LINE_BYTES_MAX: u64 = 4_096;

/// A question, and what is known of its answer.
pub(super) struct Question<'a> {
    /// The option that answers it.
    pub(super) flag: &'static str,
    /// What is asked for.
    pub(super) text: &'static str,
    /// What the option says.
    pub(super) given: &'a Option<String>,
    /// What it is if nobody says otherwise.
    pub(super) default: Option<String>,
}

impl Question<'_> {
    /// The same with what is taken where nobody says otherwise.
    pub(super) fn or(self, default: Option<String>) -> Self {
        Self { default, ..self }
    }
}

/// Asks, and remembers everything that is missing or wrong where nobody can be asked.
pub(super) struct Asker {
    terminal: bool,
    problems: Vec<String>,
    broken: Option<Error>,
}

impl Asker {
    /// For this process, as it was started.
    pub(super) fn new() -> Self {
        let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        if terminal {
            eprintln!("Enter takes what stands in brackets, Ctrl-C ends this.");
        }
        Self { terminal, problems: Vec::new(), broken: None }
    }

    /// The answer, once it is right. There is none where it is among the problems.
    pub(super) fn ask<T, E: Display>(
        &mut self,
        question: &Question<'_>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let parse = |text: &str| {
            let text = sound(text)?;
            parse(text).map_err(|error| plain(&error.to_string()))
        };
        let Question { flag, text, given, default } = question;
        let known = given.as_ref().or(default.as_ref().filter(|_| !self.terminal));
        match known.map(|it| parse(it)) {
            Some(Ok(answer)) => return Some(answer),
            Some(Err(error)) => self.problem(format!("--{flag}: {error}")),
            None if self.terminal => {}
            None => self.problem(format!("--{flag} is missing: {text}")),
        }
        while self.terminal && self.broken.is_none() {
            match read(text, default.as_deref()) {
                Ok(answer) => match parse(&answer) {
                    Ok(answer) => return Some(answer),
                    Err(error) => eprintln!("  {error}"),
                },
                Err(error) => self.broken = Some(error),
            }
        }
        None
    }

    /// Why there are not all answers.
    pub(super) fn why_not(self) -> Error {
        self.broken.unwrap_or(Error::Usage(self.problems))
    }

    /// At a terminal whoever sits there mends it at once.
    fn problem(&mut self, problem: String) {
        if self.terminal {
            eprintln!("  {problem}");
        } else {
            self.problems.push(problem);
        }
    }
}

/// What no answer may be, whatever it is about.
fn sound(text: &str) -> Result<&str, String> {
    let text = text.trim();
    let wrong = match text {
        "" => "an answer is needed here",
        _ if text.len() > ANSWER_BYTES_MAX => "that is too long",
        _ if text.contains(obeys) => "that holds control characters",
        _ if text.contains("{{") => "that holds {{, which begins a placeholder",
        _ if text.starts_with('-') => "that begins with a dash",
        _ => return Ok(text),
    };
    Err(wrong.to_owned())
}

fn read(question: &str, default: Option<&str>) -> Result<String, Error> {
    let offer = default.map(|it| format!(" [{}]", plain(it))).unwrap_or_default();
    let mut line = String::new();
    let mut stdin = io::stdin().lock().take(LINE_BYTES_MAX);
    write!(io::stderr(), "{question}{offer}: ")
        .and_then(|()| stdin.read_line(&mut line))
        .map_err(Error::Read)?;
    if line.is_empty() {
        eprintln!();
        return Err(Error::Ended);
    }
    Ok(if line.trim().is_empty() { default.unwrap_or_default().to_owned() } else { line })
}
