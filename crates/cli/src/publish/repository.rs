//! The repository around `branchline.yaml`. Nothing outside of it is read, not even by way of a link.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// A file that is not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not there, or not readable.
    #[error("opening {0}")]
    Open(String, #[source] io::Error),
    /// A directory, a socket and the like.
    #[error("{0} is not a file; a glob such as {0}/** takes the files of a directory")]
    NotAFile(String),
    /// A link out of the repository.
    #[error("{0} is a link that leaves the repository")]
    Outside(String),
}

/// Where files may come from.
#[derive(Debug)]
pub(crate) struct Repository {
    /// Where `branchline.yaml` lies: paths in it are relative to this.
    pub(crate) directory: PathBuf,
    /// The nearest directory around it that git knows, or itself.
    pub(crate) root: PathBuf,
}

impl Repository {
    /// The repository that holds the file.
    pub(crate) fn around(file: &Path) -> io::Result<Self> {
        let directory = file.parent().filter(|it| !it.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new(".")).canonicalize()?;
        let root = directory.ancestors().find(|it| it.join(".git").exists());
        let root = root.unwrap_or(&directory).to_owned();
        Ok(Self { directory, root })
    }

    /// The file at the relative path, with every link resolved.
    pub(crate) fn file(&self, path: &str) -> Result<PathBuf, Error> {
        let open = |error| Error::Open(path.to_owned(), error);
        let real = self.directory.join(path).canonicalize().map_err(open)?;
        if !real.starts_with(&self.root) {
            return Err(Error::Outside(path.to_owned()));
        }
        if !fs::metadata(&real).map_err(open)?.is_file() {
            return Err(Error::NotAFile(path.to_owned()));
        }
        Ok(real)
    }
}
