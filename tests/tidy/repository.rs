//! What the tests look at: the repository's own files, as text.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository.
pub(crate) struct File {
    /// Where it lies, from the top.
    pub(crate) path: String,
    /// What is in it.
    pub(crate) text: String,
}

impl File {
    /// The comment at the head of a source file.
    pub(crate) fn header(&self) -> String {
        let lines = self.text.lines().take_while(|it| it.starts_with("//!"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The file with its comments left empty, and without the tests at its end.
    pub(crate) fn code(&self) -> Self {
        let code = self.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().map(|it| if it.trim_start().starts_with("//") { "" } else { it });
        Self { path: self.path.clone(), text: lines.collect::<Vec<_>>().join("\n") }
    }

    /// Whether it holds the code of a crate, and not tests of it.
    fn is_product(&self) -> bool {
        self.is_rust()
            && self.path.starts_with("crates/")
            && !self.path.contains("/tests/")
            && !self.path.ends_with("/tests.rs")
            && !self.path.ends_with("/testing.rs")
    }

    /// Whether it is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        self.extension() == Some("rs")
    }

    /// What its name ends in.
    pub(crate) fn extension(&self) -> Option<&str> {
        Path::new(&self.path).extension()?.to_str()
    }
}

/// The top of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every text file of the repository.
pub(crate) fn files() -> Vec<File> {
    let mut files = Vec::new();
    collect(&root(), &root(), &mut files);
    assert!(files.len() > 100, "only {} files were found", files.len());
    files
}

/// The code of the crates, without its comments and tests.
pub(crate) fn product() -> Vec<File> {
    files().iter().filter(|it| it.is_product()).map(File::code).collect()
}

/// One file, which has to exist.
pub(crate) fn file(path: &str) -> File {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|it| panic!("{path}: {it}"));
    File { path: path.to_owned(), text }
}

/// Every line of those files that holds one of the words, with its path.
pub(crate) fn holding<'a>(
    words: &[&str],
    files: impl IntoIterator<Item = &'a File>,
) -> Vec<String> {
    let mut found = Vec::new();
    for File { path, text } in files {
        for (line, text) in (1..).zip(text.lines()) {
            if words.iter().any(|it| text.contains(it)) {
                found.push(format!("{path}:{line}: {}", text.trim()));
            }
        }
    }
    found
}

/// Fails with every path and what is wrong with it.
pub(crate) fn none(wrong: impl IntoIterator<Item = String>) {
    let wrong: Vec<_> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn collect(root: &Path, directory: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if matches!(name, ".git" | "target" | "__pycache__" | ".pytest_cache") {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.push(File { path, text });
        }
    }
}
