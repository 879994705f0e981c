//! Foreign text in a command that somebody will paste: claims of a token that nobody has proven,
//! and names from files of a repository. Pure.

/// One word for a shell, whatever is in the text.
pub(crate) fn quote(text: &str) -> String {
    let safe = |it: char| it.is_ascii_alphanumeric() || "-_./:@=,+%".contains(it);
    if !text.is_empty() && text.chars().all(safe) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn a_text_is_one_word_for_a_shell() {
        let texts = [
            "plain-1.2_3",
            "",
            "two words",
            "$(touch x)",
            "`id`",
            "it's",
            "a;b",
            "a\nb",
            "'",
            "''",
            "\"",
            "~",
            "*",
        ];
        for text in texts {
            let printed = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quote(text))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(printed.stdout).unwrap(), text, "{}", quote(text));
        }
        assert_eq!(quote("https://gitlab.example.com"), "https://gitlab.example.com");
    }
}
