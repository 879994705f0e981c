//! The log of a CI job, as runners write it: lines with their times, as far as they have some. Pure.
//!
//! With `FF_TIMESTAMPS` a runner writes `2026-11-26T12:00:00.000000Z 00O text`: the time, the number
//! of the stream, stdout or stderr, and `+` where the line goes on with the one before. Without it
//! only sections have times: `section_start:1764158400:name`, a carriage return, and the heading.

use jiff::Timestamp;

use super::line::clean;

/// Bytes of a line whose end has not come yet.
const LINE_MAX: usize = 1 << 20;

/// How well the time of a line is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stamp {
    /// It is its own.
    Own,
    /// It is its own, in whole seconds.
    Second,
    /// It is that of the line before.
    Inherited,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TraceLine {
    pub(super) time: Timestamp,
    pub(super) stamp: Stamp,
    pub(super) text: String,
}

/// Reads a log as it grows.
#[derive(Debug)]
pub(super) struct Reader {
    last: Timestamp,
    begun: Vec<u8>,
}

impl Reader {
    /// A reader of the log of a job that began then.
    pub(super) const fn new(started: Timestamp) -> Self {
        Self { last: started, begun: Vec::new() }
    }

    /// The lines that these bytes complete; where the log has ended, its last one too.
    pub(super) fn read(&mut self, bytes: &[u8], ended: bool) -> Vec<TraceLine> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|it| *it == b'\n') {
            self.begun.extend_from_slice(part);
            if part.ends_with(b"\n") || self.begun.len() >= LINE_MAX {
                self.line(&mut lines);
            }
        }
        if ended && !self.begun.is_empty() {
            self.line(&mut lines);
        }
        lines
    }

    fn line(&mut self, lines: &mut Vec<TraceLine>) {
        let bytes = std::mem::take(&mut self.begun);
        let raw = String::from_utf8_lossy(&bytes);
        let raw = raw.trim_end_matches(['\n', '\r']);
        let (own, goes_on, rest) = match prefix(raw) {
            Some((time, goes_on, rest)) => (Some(time), goes_on, rest),
            None => (None, false, raw),
        };
        let (section, text) = visible(rest);
        let (time, stamp) = match (own, section) {
            (Some(time), _) => (time, Stamp::Own),
            (None, Some(time)) => (time, Stamp::Second),
            (None, None) => (self.last, Stamp::Inherited),
        };
        self.last = time;
        match lines.last_mut() {
            Some(before) if goes_on => before.text.push_str(&text),
            // The end of a section shows nothing.
            _ if section.is_some() && text.is_empty() => {}
            _ => lines.push(TraceLine { time, stamp, text }),
        }
    }
}

/// What a runner puts before a line: its time, and whether it goes on with the one before.
fn prefix(raw: &str) -> Option<(Timestamp, bool, &str)> {
    let (time, rest) = raw.split_once(' ')?;
    let time = time.strip_suffix('Z')?;
    // Some versions put zero bytes into it.
    let time = format!("{}Z", time.replace('\0', "")).parse().ok()?;
    let (flags, text) = rest.split_at_checked(4)?;
    let [a, b, stream, goes_on] = flags.as_bytes() else { return None };
    let fits = a.is_ascii_hexdigit() && b.is_ascii_hexdigit() && matches!(stream, b'O' | b'E');
    (fits && matches!(goes_on, b' ' | b'+')).then_some((time, *goes_on == b'+', text))
}

/// The time of the last section marker in a line, and what the line shows: carriage returns
/// write over what came before.
fn visible(text: &str) -> (Option<Timestamp>, String) {
    let (mut section, mut shown) = (None, String::new());
    for part in text.split('\r') {
        let part = clean(part);
        match marker(&part) {
            Some(time) => section = Some(time),
            None if part.is_empty() => {}
            None => shown = part,
        }
    }
    (section, shown)
}

/// `section_start:SECONDS:NAME`, or its end.
fn marker(text: &str) -> Option<Timestamp> {
    let rest = text.strip_prefix("section_start:").or_else(|| text.strip_prefix("section_end:"))?;
    let (seconds, _) = rest.split_once(':')?;
    Timestamp::from_second(seconds.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use expect_test::{Expect, expect};

    use super::*;

    fn check(parts: &[&str], expected: &Expect) {
        let mut reader = Reader::new("2026-11-26T12:00:00Z".parse().unwrap());
        let mut text = String::new();
        for (at, part) in (1..).zip(parts) {
            for TraceLine { time, stamp, text: line } in
                reader.read(part.as_bytes(), at == parts.len())
            {
                writeln!(text, "{} {stamp:?} {line}", time.strftime("%H:%M:%S%.f")).unwrap();
            }
        }
        expected.assert_eq(&text);
    }

    #[test]
    fn without_timestamps_a_line_has_the_time_of_its_section() {
        let log = [
            "Running with gitlab-runner 17\r\n",
            "section_start:1795694405:step\r\u{1b}[0K\u{1b}[36;1mExecuting\u{1b}[0;m\n$ make\nhalf",
            " a line\n10%\r 50%\r100%\r\n\nsection_end:1795694410:step\r\u{1b}[0K\n",
            "section_end:1795694410:a\r\u{1b}[0Ksection_start:1795694411:b[collapsed=true]\r\u{1b}[0KNext\nlast",
        ];
        check(
            &log,
            &expect![[r"
                12:00:00 Inherited Running with gitlab-runner 17
                12:00:05 Second Executing
                12:00:05 Inherited $ make
                12:00:05 Inherited half a line
                12:00:05 Inherited 100%
                12:00:05 Inherited 
                12:00:11 Second Next
                12:00:11 Inherited last
            "]],
        );
    }

    #[test]
    fn with_timestamps_every_line_has_its_own() {
        let log = [
            "2026-11-26T12:00:01.500000Z 00O \u{1b}[0KRunning\n",
            "2026-11-26T12:00:02.000000Z 01E no good\n2026-11-26T12:00:02.000001Z 01E+ at all\n",
            "2026-11-26T12:00:03.000000Z 00O section_start:1795694401:x\r\u{1b}[0KHeading\n",
            "2026-11-26T12:00:04\0.000000Z 00O zeros\n",
            "2026-11-26T12:00:05.000000Z 00X no prefix\n2026 00O neither\n",
        ];
        check(
            &log,
            &expect![[r"
                12:00:01.5 Own Running
                12:00:02 Own no good at all
                12:00:03 Own Heading
                12:00:04 Own zeros
                12:00:04 Inherited 2026-11-26T12:00:05.000000Z 00X no prefix
                12:00:04 Inherited 2026 00O neither
            "]],
        );
    }

    #[test]
    fn no_bytes_are_too_odd() {
        let mut reader = Reader::new(Timestamp::UNIX_EPOCH);
        let lines = reader.read(b"\xff\xfe\x1b]\n\nsection_start:99999999999999999999:x\n", true);
        let texts: Vec<_> = lines.iter().map(|it| it.text.as_str()).collect();
        assert_eq!(texts, ["\u{fffd}\u{fffd}", "", "section_start:99999999999999999999:x"]);
        let long = reader.read(&vec![b'x'; 3 * LINE_MAX], false);
        assert!(long.len() <= 3 && reader.begun.len() < LINE_MAX, "{}", long.len());
    }
}
