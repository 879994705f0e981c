//! Some lines of a terminal that are written again and again in the same place.

use std::io::{self, Write as _};

/// Lines that stay where they are. The cursor is hidden meanwhile, and there again at the end,
/// however that comes.
#[derive(Debug)]
pub(super) struct Screen {
    lines: usize,
}

const BEGIN: &str = "\x1b[?25l";
/// Shows the cursor, and lets long lines break again.
const END: &str = "\x1b[?25h\x1b[?7h";
/// A long line would take two, and the next frame would not find its place.
const NO_BREAKS: &str = "\x1b[?7l";
const ERASE_LINE: &str = "\x1b[K";
const ERASE_BELOW: &str = "\x1b[J";
/// Where a terminal does not say how high it is.
const HEIGHT: usize = 24;

impl Screen {
    /// Takes the terminal behind stdout over.
    pub(super) fn new() -> io::Result<Self> {
        let mut out = io::stdout().lock();
        out.write_all(BEGIN.as_bytes())?;
        out.flush()?;
        Ok(Self { lines: 0 })
    }

    /// Writes the lines in the place of those before.
    pub(super) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let size = console::Term::stdout().size_checked();
        let height = size.map_or(HEIGHT, |(rows, _)| usize::from(rows));
        let frame = frame(self.lines, lines, height);
        self.lines = lines.len().min(height.saturating_sub(1).max(1));
        let mut out = io::stdout().lock();
        out.write_all(frame.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nobody is left to tell when the terminal itself is gone.
        let mut out = io::stdout().lock();
        drop(out.write_all(END.as_bytes()).and_then(|()| out.flush()));
    }
}

/// What draws the lines over so many of before; those that have no room are counted.
fn frame(before: usize, lines: &[String], height: usize) -> String {
    let room = height.saturating_sub(1).max(1);
    let shown = if lines.len() > room { room - 1 } else { lines.len() };
    let back = (before > 0).then(|| format!("\x1b[{before}A\r"));
    let more = lines.len() - shown;
    let more = (more > 0).then(|| format!("… and {more} more lines"));
    let mut text = NO_BREAKS.to_owned() + &back.unwrap_or_default();
    for line in lines[..shown].iter().chain(&more) {
        text.extend([line, ERASE_LINE, "\n"]);
    }
    text + ERASE_BELOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_drawn_over_the_one_before_and_never_higher_than_the_terminal() {
        let lines: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
        assert_eq!(frame(0, &lines[..1], 24), "\x1b[?7la\x1b[K\n\x1b[J");
        assert_eq!(frame(2, &lines[..1], 24), "\x1b[?7l\x1b[2A\ra\x1b[K\n\x1b[J");
        let small = frame(0, &lines, 3);
        assert_eq!(small, "\x1b[?7la\x1b[K\n… and 2 more lines\x1b[K\n\x1b[J");
        assert_eq!(frame(0, &lines, 0).lines().count(), 2);
    }
}
