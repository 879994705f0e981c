//! From what `branchline.yaml` says to files with digests and the names that
//! they will have in the bucket. Only the local disk is touched here.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use branchline_contract::{ArtifactName, ArtifactReady, Crc32c, Sha256};
use sha2::Digest as _;
use walkdir::WalkDir;

use super::config::Source;
use super::pattern::Glob;
use super::repository::{self, Repository};

/// An artifact that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A glob over nothing.
    #[error("artifact {artifact}: nothing matches {pattern}")]
    NoMatch {
        /// Its name.
        artifact: ArtifactName,
        /// The glob.
        pattern: String,
    },
    /// A glob over more than the configuration allows.
    #[error("artifact {artifact}: {pattern} matches {count} files, and artifacts_max is {max}")]
    TooMany {
        /// Its name.
        artifact: ArtifactName,
        /// The glob.
        pattern: String,
        /// How many it matches.
        count: usize,
        /// How many are allowed.
        max: usize,
    },
    /// Not a file of the repository.
    #[error("artifact {0}")]
    File(ArtifactName, #[source] repository::Error),
    /// It could not be read.
    #[error("artifact {0}: reading {1}")]
    Read(ArtifactName, String, #[source] io::Error),
    /// Object names are UTF-8, so paths have to be.
    #[error("artifact {0}: the path {1:?} is not UTF-8")]
    NotText(ArtifactName, PathBuf),
}

/// A file to upload.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    /// Artifact that it is, or is one of.
    pub(crate) artifact: ArtifactName,
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Name that its content gives it in the bucket.
    pub(crate) object: String,
    /// Directory in the bucket, where it is one of a set: ends in `/`.
    pub(crate) directory: Option<String>,
    /// Its content.
    pub(crate) digest: Digest,
}

/// What is known of a file's content after reading it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    /// Bytes.
    pub(crate) size: u64,
    /// Checksum that Cloud Storage verifies.
    pub(crate) crc32c: Crc32c,
    /// Digest that names it.
    pub(crate) sha256: Sha256,
}

/// Every file of the local artifacts, digested and named.
pub(crate) fn collect(
    repository: &Repository,
    artifacts: &[(ArtifactName, Source)],
    artifacts_max: usize,
) -> Result<Vec<Upload>, Error> {
    let mut uploads = Vec::new();
    for (artifact, source) in artifacts {
        match source {
            Source::File(path) => uploads.push(single(repository, artifact, path)?),
            Source::Files(glob) => uploads.extend(set(repository, artifact, glob, artifacts_max)?),
            Source::Object(_) | Source::Objects { .. } => {}
        }
    }
    Ok(uploads)
}

/// Whether a local artifact is there, without reading it.
pub(crate) fn look(
    repository: &Repository,
    artifact: &ArtifactName,
    source: &Source,
) -> Result<(), Error> {
    match source {
        Source::File(path) => {
            let found = repository.file(path);
            found.map(drop).map_err(|error| Error::File(artifact.clone(), error))
        }
        Source::Files(glob) => {
            selected(repository, artifact, glob, ArtifactReady::ARTIFACTS_MAX).map(drop)
        }
        Source::Object(_) | Source::Objects { .. } => Ok(()),
    }
}

/// A single file is named by its content: `sha256/<hex>/<file name>`.
fn single(repository: &Repository, artifact: &ArtifactName, path: &str) -> Result<Upload, Error> {
    let (real, digest) = digested(repository, artifact, path)?;
    let name = path.rsplit('/').next().unwrap_or(path);
    let object = format!("sha256/{}/{name}", digest.sha256);
    Ok(Upload { artifact: artifact.clone(), path: real, object, directory: None, digest })
}

/// The files of a set lie together under the digest of the set: `sets/<hex>/<path below the glob's directory>`.
fn set(
    repository: &Repository,
    artifact: &ArtifactName,
    glob: &Glob,
    artifacts_max: usize,
) -> Result<Vec<Upload>, Error> {
    let paths = selected(repository, artifact, glob, artifacts_max)?;
    let mut files = Vec::with_capacity(paths.len());
    let mut listing = sha2::Sha256::new();
    for path in paths {
        let (real, digest) = digested(repository, artifact, &path)?;
        let below = path.strip_prefix(glob.directory()).unwrap_or(&path).to_owned();
        // The lines of `sha256sum`, so that the digest of a set can be had by hand.
        listing.update(format!("{}  {below}\n", digest.sha256));
        files.push((real, below, digest));
    }
    let directory = format!("sets/{}/", Sha256(listing.finalize().into()));
    let upload = |(path, below, digest)| Upload {
        artifact: artifact.clone(),
        path,
        object: format!("{directory}{below}"),
        directory: Some(directory.clone()),
        digest,
    };
    Ok(files.into_iter().map(upload).collect())
}

/// The paths that match, in order: at least one, and no more than are allowed.
fn selected(
    repository: &Repository,
    artifact: &ArtifactName,
    glob: &Glob,
    artifacts_max: usize,
) -> Result<Vec<String>, Error> {
    let paths = matching(repository, artifact, glob)?;
    let pattern = || glob.as_str().to_owned();
    if paths.is_empty() {
        return Err(Error::NoMatch { artifact: artifact.clone(), pattern: pattern() });
    }
    if paths.len() > artifacts_max {
        return Err(Error::TooMany {
            artifact: artifact.clone(),
            pattern: pattern(),
            count: paths.len(),
            max: artifacts_max,
        });
    }
    Ok(paths)
}

/// The paths that match, in order. Linked files count; linked directories are not walked.
fn matching(
    repository: &Repository,
    artifact: &ArtifactName,
    glob: &Glob,
) -> Result<Vec<String>, Error> {
    let mut paths = Vec::new();
    let start = repository.directory.join(glob.directory());
    if !start.is_dir() {
        return Ok(paths);
    }
    let walk = WalkDir::new(&start).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|it| it.file_name() != ".git") {
        let entry = entry.map_err(|error| {
            Error::Read(artifact.clone(), glob.directory().to_owned(), error.into())
        })?;
        let below = entry.path().strip_prefix(&repository.directory).unwrap_or(entry.path());
        let Some(path) = below.to_str() else {
            return Err(Error::NotText(artifact.clone(), below.to_owned()));
        };
        if !entry.path().is_dir() && glob.matches(path) {
            paths.push(path.to_owned());
        }
    }
    paths.sort();
    Ok(paths)
}

fn digested(
    repository: &Repository,
    artifact: &ArtifactName,
    path: &str,
) -> Result<(PathBuf, Digest), Error> {
    let real = repository.file(path).map_err(|error| Error::File(artifact.clone(), error))?;
    match digest(&real) {
        Ok(digest) => Ok((real, digest)),
        Err(error) => Err(Error::Read(artifact.clone(), path.to_owned(), error)),
    }
}

/// Both checksums in one pass.
fn digest(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 256 * 1024];
    let (mut size, mut crc32c, mut sha256) = (0, 0, sha2::Sha256::new());
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            let sha256 = Sha256(sha256.finalize().into());
            return Ok(Digest { size, crc32c: Crc32c(crc32c), sha256 });
        }
        size += read as u64;
        crc32c = crc32c::crc32c_append(crc32c, &buffer[..read]);
        sha256.update(&buffer[..read]);
    }
}
