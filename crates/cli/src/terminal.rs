//! What a terminal obeys instead of showing it.

use std::fmt::Write as _;

use serde::Serialize;

/// As much of somebody else's text as a line bears.
const CHARS_MAX: usize = 2_000;

/// Whether a terminal obeys a character: a control character, or one that turns the direction of
/// writing around and so makes a text look like another.
pub(crate) fn obeys(it: char) -> bool {
    it.is_control()
        || matches!(
            it,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Text from elsewhere must not write to the terminal as it likes, nor open sections in a CI log.
pub(crate) fn plain(text: &str) -> String {
    let visible = |c: char| if obeys(c) { ' ' } else { c };
    text.chars().take(CHARS_MAX).map(visible).collect()
}

/// Plain data as a line of JSON that a terminal only shows. Whoever reads it as JSON gets every
/// character.
pub(crate) fn json(it: &impl Serialize) -> String {
    let text = serde_json::to_string(it).expect("it is plain data");
    if !text.contains(obeys) {
        return text;
    }
    // Outside of strings there are none, and within them such an escape stands for the character.
    let mut line = String::with_capacity(text.len());
    for it in text.chars() {
        if obeys(it) {
            write!(line, "\\u{:04x}", u32::from(it)).expect("a text takes everything");
        } else {
            line.push(it);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_on_a_terminal_is_text_and_says_the_same() {
        let text = "\u{9b}31m \u{7f} \u{202e}abc\u{2066} \u{1b}[0m \"quoted\" ü";
        let line = json(&[text]);
        assert!(!line.contains(obeys), "{line}");
        assert!(line.contains(r"\u009b31m") && line.contains('ü'), "{line}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&line).unwrap(), [text]);
        assert_eq!(json(&["plain"]), r#"["plain"]"#);
    }
}
