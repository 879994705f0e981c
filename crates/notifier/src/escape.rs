//! Foreign text in GitLab's markdown. Whatever a message, a metrics file or an
//! error says becomes one line inside a code span that it cannot leave: there
//! GitLab sees no mention, reference, quick action, link, image or HTML.

/// Longer text is cut: it is shown to people.
const SHOWN_MAX: usize = 500;

/// Markdown takes no longer row of backticks for the fence of a code span (GitLab's knows 80).
const FENCE_MAX: usize = 80;

/// A code span, outside of tables.
pub(crate) fn code(text: &str) -> String {
    span(&line(text))
}

/// A code span in a cell of a table. A bar would end the cell even in a code
/// span, and so would an escaped one behind a backslash.
pub(crate) fn cell(text: &str) -> String {
    span(&line(text).replace("\\|", "\\ |")).replace('|', "\\|")
}

/// One line of plain text, for what GitLab shows without markdown.
pub(crate) fn line(text: &str) -> String {
    let visible = |it: char| !it.is_control() && !is_format(it);
    let words: Vec<String> =
        text.split_whitespace().map(|it| it.chars().filter(|it| visible(*it)).collect()).collect();
    let line = words.join(" ").trim().to_owned();
    match line.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// A link to an address that this program made up from foreign parts; a code
/// span if they brought along what no address of ours has.
pub(crate) fn link(label: &'static str, url: &str) -> String {
    if is_plain_url(url) { format!("[{label}]({url})") } else { cell(url) }
}

/// Whether the address can stand in markdown as it is.
pub(crate) fn is_plain_url(url: &str) -> bool {
    let plain = |it: u8| it.is_ascii_alphanumeric() || b"-._~:/?#&=%+,".contains(&it);
    url.starts_with("https://") && url.bytes().all(plain)
}

fn span(line: &str) -> String {
    if line.is_empty() {
        return "–".to_owned();
    }
    let longest = line.split(|it| it != '`').map(str::len).max().unwrap_or(0);
    if longest >= FENCE_MAX {
        return span(&line.replace('`', "'"));
    }
    let fence = "`".repeat(longest + 1);
    // A backtick beside the fence would lengthen it.
    let pad = if line.starts_with('`') || line.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{line}{pad}{fence}")
}

/// Characters that change how their neighbours look: direction marks, joiners, tags.
const fn is_format(it: char) -> bool {
    matches!(
        it,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_one_line_in_a_code_span() {
        let cases = [
            ("plain", "`plain`"),
            ("a\n/close\r\n\tb", "`a /close b`"),
            ("", "–"),
            (" \n\u{200b} ", "–"),
            ("`", "`` ` ``"),
            ("a``b`c", "```a``b`c```"),
            ("```\n/close\n```", "```` ``` /close ``` ````"),
            ("\u{202e}evil\u{0}\u{1b}[31m", "`evil[31m`"),
        ];
        for (text, expected) in cases {
            assert_eq!(code(text), expected, "{text:?}");
        }
        // No fence may be as long as that, and then all of it would be markdown.
        let run = "`".repeat(80);
        assert_eq!(code(&format!("@root {run}")), format!("`@root {}`", "'".repeat(80)));
        assert_eq!(cell("a|b"), "`a\\|b`");
        assert_eq!(cell("a\\|b"), "`a\\ \\|b`");
        assert_eq!(code(&"ü".repeat(9_000)).chars().count(), SHOWN_MAX + 3);
    }

    #[test]
    fn only_addresses_without_markup_become_links() {
        let good =
            "https://console.cloud.google.com/vertex-ai/locations/r/training/1/cpu?project=p";
        assert_eq!(link("Job", good), format!("[Job]({good})"));
        for bad in ["javascript:alert(1)", "https://h/a)b", "https://h/<b>", "https://h/ x", ""] {
            assert!(!link("Job", bad).contains("]("), "{bad}");
        }
    }
}
