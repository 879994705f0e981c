//! One line of a run's log, and how it is shown. Pure.

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;

use crate::terminal::{json, obeys, plain};

/// Characters of one line; what is longer is cut.
const CHARS_MAX: usize = 16 << 10;

/// Who says a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    /// The log of the CI job that asked for the run
    Gitlab,
    /// The run's ledger
    Branchline,
    /// What the job in Vertex AI printed, from Cloud Logging
    Vertex,
}

impl Source {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Gitlab => "gitlab",
            Self::Branchline => "branchline",
            Self::Vertex => "vertex",
        }
    }

    /// Yellow, cyan, magenta.
    const fn colour(self) -> u8 {
        match self {
            Self::Gitlab => 33,
            Self::Branchline => 36,
            Self::Vertex => 35,
        }
    }
}

/// A line as its source has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    pub(super) source: Source,
    /// Attempt of the run.
    pub(super) attempt: u32,
    /// When, by the clock of the source.
    #[serde(rename = "source_time")]
    pub(super) time: Timestamp,
    /// What wrote it: a kind of fact, a CI job, a replica.
    pub(super) from: String,
    /// In Cloud Logging's words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) severity: String,
    /// Without control characters.
    pub(super) text: String,
}

/// A line in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Told {
    /// When, by one clock for all sources: that of Cloud Storage.
    pub(super) time: Timestamp,
    /// Lines that come behind it were told already.
    pub(super) late: bool,
    #[serde(flatten)]
    pub(super) line: Line,
}

/// In which form lines are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Coloured,
    Json,
}

impl Told {
    /// The line in that form, without its end.
    pub(super) fn show(&self, form: Form) -> String {
        let Line { source, attempt, text, .. } = &self.line;
        let again = if *attempt > 1 { format!(" #{attempt}") } else { String::new() };
        let mark = if self.late { '~' } else { ' ' };
        let time = self.time.strftime("%Y-%m-%d %H:%M:%S%.3f");
        let head = format!("{mark}{time} {:<13}", format!("{}{again}", source.name()));
        match form {
            Form::Json => json(self),
            Form::Plain => format!("{head} {}", plain(text)),
            Form::Coloured => {
                format!("\u{1b}[{}m{head}\u{1b}[0m {}", source.colour(), plain(text))
            }
        }
    }
}

/// Foreign text as a terminal may have it: without escape sequences and control characters.
pub(super) fn clean(text: &str) -> String {
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => skip_sequence(&mut letters),
            '\t' => out.push(' '),
            // U+009B begins a sequence by itself, in terminals that know it.
            it if obeys(it) => {}
            it => out.push(it),
        }
    }
    match out.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => out[..end].to_owned(),
        None => out,
    }
}

/// Behind an escape: `[` up to a letter, `]` up to a bell or another escape, or one letter.
fn skip_sequence(letters: &mut std::str::Chars<'_>) {
    match letters.next() {
        Some('[') => drop(letters.find(|it| ('@'..='~').contains(it))),
        Some(']') => {
            if letters.find(|it| ['\u{7}', '\u{1b}'].contains(it)) == Some('\u{1b}') {
                letters.next();
            }
        }
        Some(_) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn escape_sequences_and_control_characters_are_left_out() {
        let cases = [
            ("plain", "plain"),
            ("\u{1b}[0;33mcoloured\u{1b}[0m", "coloured"),
            ("a\tb\u{7}\u{0}c", "a bc"),
            ("\u{1b}]0;title\u{7}text", "text"),
            ("\u{1b}]8;;http://x\u{1b}\\link", "link"),
            ("\u{1b}creset \u{9b}31m", "reset 31m"),
            ("cut\u{1b}[31", "cut"),
            ("cut\u{1b}", "cut"),
            ("\u{202e}turned\u{2066} around\u{200f}", "turned around"),
        ];
        for (text, expected) in cases {
            assert_eq!(clean(text), expected, "{text:?}");
        }
        assert_eq!(clean(&"ü".repeat(99_999)).chars().count(), CHARS_MAX);
    }

    #[test]
    fn a_line_is_shown_by_source_and_attempt() {
        let mut told = Told {
            time: "2026-11-26T12:00:00.1234Z".parse().unwrap(),
            late: false,
            line: Line {
                source: Source::Vertex,
                attempt: 1,
                time: "2026-11-26T12:05:00Z".parse().unwrap(),
                from: "workerpool0-0".to_owned(),
                severity: "INFO".to_owned(),
                text: "epoch 1".to_owned(),
            },
        };
        let mut text = [Form::Plain, Form::Coloured, Form::Json]
            .map(|it| told.show(it).replace('\u{1b}', "ESC") + "\n")
            .concat();
        (told.late, told.line.attempt, told.line.source) = (true, 2, Source::Gitlab);
        text += &told.show(Form::Plain);
        expect![[r#"
             2026-11-26 12:00:00.123 vertex        epoch 1
            ESC[35m 2026-11-26 12:00:00.123 vertex       ESC[0m epoch 1
            {"time":"2026-11-26T12:00:00.1234Z","late":false,"source":"vertex","attempt":1,"source_time":"2026-11-26T12:05:00Z","from":"workerpool0-0","severity":"INFO","text":"epoch 1"}
            ~2026-11-26 12:00:00.123 gitlab #2     epoch 1"#]]
        .assert_eq(&text);
    }
}
