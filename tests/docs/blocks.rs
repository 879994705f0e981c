//! The fenced blocks of the documents, as their sources have them.

use std::fs;
use std::path::{Path, PathBuf};

/// What a block of commands may need that is not here.
pub(crate) const NEEDS: [&str; 4] = ["google", "cluster", "gitlab", "cargo"];

/// One fenced block.
pub(crate) struct Block {
    /// Its document, from the top.
    pub(crate) path: String,
    /// The line that it begins in.
    pub(crate) line: usize,
    /// Its language.
    pub(crate) language: String,
    /// What stands behind the language.
    pub(crate) info: String,
    /// What is in it.
    pub(crate) text: String,
}

impl Block {
    /// What it needs that is not here, as it says itself.
    pub(crate) fn needs(&self) -> Option<&str> {
        self.info.strip_prefix("needs=")
    }

    /// Where it stands.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.path, self.line)
    }
}

/// The top of the repository.
pub(crate) fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The README and everything in `docs`, by path.
pub(crate) fn documents() -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(top().join("docs")).unwrap().map(|it| it.unwrap().path()).collect();
    paths.push(top().join("README.md"));
    paths.sort();
    let name = |it: &Path| it.strip_prefix(top()).unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|it| (name(it), fs::read_to_string(it).unwrap())).collect()
}

/// Every fenced block of every document.
pub(crate) fn blocks() -> Vec<Block> {
    documents().iter().flat_map(|(path, text)| of(path, text)).collect()
}

fn of(path: &str, text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    // How far the fence is indented, while one is open.
    let mut open = None;
    for (line, text) in (1..).zip(text.lines()) {
        let indent = text.len() - text.trim_start().len();
        match (open, text.trim_start().strip_prefix("```")) {
            (None, Some(head)) => {
                let (language, info) = head.split_once(' ').unwrap_or((head, ""));
                let (language, info) = (language.to_owned(), info.to_owned());
                found.push(Block {
                    path: path.to_owned(),
                    line,
                    language,
                    info,
                    text: String::new(),
                });
                open = Some(indent);
            }
            (Some(_), Some(_)) => open = None,
            (Some(indent), None) => {
                let block = &mut found.last_mut().unwrap().text;
                block.push_str(text.get(indent..).unwrap_or_default());
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{path}: the last block has no end");
    found
}

#[test]
fn a_block_of_commands_runs_here_or_says_what_it_needs() {
    let (mut here, mut elsewhere) = (0, [0; NEEDS.len()]);
    for block in blocks() {
        let place = block.place();
        assert!(!["bash", "shell", "zsh"].contains(&block.language.as_str()), "{place}: write sh");
        if block.language != "sh" {
            continue;
        }
        let Some(needs) = block.needs() else {
            assert_eq!(block.info, "", "{place}");
            here += 1;
            continue;
        };
        let at = NEEDS.iter().position(|it| *it == needs);
        elsewhere
            [at.unwrap_or_else(|| panic!("{place}: needs={needs} is not one of {NEEDS:?}"))] += 1;
    }
    let elsewhere = NEEDS.iter().zip(elsewhere).map(|(name, count)| format!("{count} need {name}"));
    let elsewhere: Vec<_> = elsewhere.collect();
    println!("of the documents' blocks of commands {here} run here; {}", elsewhere.join(", "));
    assert!(here >= 15);
}
