//! Into the bucket, and pinning what lies in one already.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use branchline_contract::{Artifact, ArtifactName, Crc32c, DirectoryUri, Invalid, ObjectUri};
use branchline_gcp::Class;
use branchline_gcp::storage::{List, Object, Objects as _, Storage};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::HumanBytes;

use super::artifacts::Upload;
use super::config::Source;
use super::pattern::Glob;
use crate::exit;
use crate::progress::Progress;

/// Uploads under way at once.
const UPLOADS_AT_ONCE: usize = 8;
/// Objects in one page of a listing; the server gives no more.
const PAGE_SIZE: u16 = 1_000;

/// An artifact that is not in the bucket as it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Cloud Storage did not do it.
    #[error("artifact {0}")]
    Storage(ArtifactName, #[source] branchline_gcp::Error),
    /// The name is taken by other content.
    #[error(
        "artifact {artifact}: {uri} exists with another content \
         ({found} instead of {expected}); it is named by its content, so somebody changed it"
    )]
    Different {
        /// Its name.
        artifact: ArtifactName,
        /// Where it should lie.
        uri: String,
        /// Size and checksum that were found.
        found: String,
        /// Size and checksum of the file.
        expected: String,
    },
    /// A URI over nothing.
    #[error("artifact {artifact}: no object matches {pattern}")]
    NoMatch {
        /// Its name.
        artifact: ArtifactName,
        /// The URI.
        pattern: String,
    },
    /// A URI over more than the configuration allows.
    #[error(
        "artifact {artifact}: {pattern} matches {count} objects or more, and artifacts_max is {max}"
    )]
    TooMany {
        /// Its name.
        artifact: ArtifactName,
        /// The URI.
        pattern: String,
        /// How many were seen.
        count: usize,
        /// How many are allowed.
        max: usize,
    },
    /// Cloud Storage told no checksum.
    #[error("artifact {0}: {1} has no CRC32C")]
    NoChecksum(ArtifactName, String),
    /// A path that makes no object name.
    #[error("artifact {0}")]
    Name(ArtifactName, #[source] Invalid),
}

impl Error {
    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Storage(_, error) => exit::of_class(error.class()),
            Self::NoMatch { .. } => exit::NO_INPUT,
            Self::Different { .. }
            | Self::TooMany { .. }
            | Self::NoChecksum(..)
            | Self::Name(..) => exit::DATA,
        }
    }
}

impl Upload {
    /// What the message says of it.
    pub(crate) fn artifact(&self, bucket: &str, generation: i64) -> Result<Artifact, Error> {
        let named = |error| Error::Name(self.artifact.clone(), error);
        let directory = self.directory.as_ref().map(|it| DirectoryUri::new(bucket, it));
        Ok(Artifact {
            name: self.artifact.clone(),
            uri: ObjectUri::new(bucket, &self.object).map_err(named)?,
            directory: directory.transpose().map_err(named)?,
            generation,
            size: self.digest.size,
            crc32c: self.digest.crc32c,
            sha256: Some(self.digest.sha256),
        })
    }
}

/// Uploads what is not there yet, and tells every file's generation.
pub(crate) async fn upload(
    storage: &Storage,
    bucket: &str,
    uploads: &[Upload],
) -> Result<Vec<Artifact>, Error> {
    let progress = Progress::new("uploaded", uploads.iter().map(|it| it.digest.size).sum());
    let each = stream::iter(uploads).map(|it| put(storage, bucket, it, &progress));
    let artifacts = each.buffered(UPLOADS_AT_ONCE).try_collect().await;
    progress.finish();
    artifacts
}

async fn put(
    storage: &Storage,
    bucket: &str,
    upload: &Upload,
    progress: &Progress,
) -> Result<Artifact, Error> {
    let failed = |error| Error::Storage(upload.artifact.clone(), error);
    let digest = upload.digest;
    let sent = Arc::new(AtomicU64::new(0));
    let on_progress = {
        let (progress, sent) = (progress.clone(), Arc::clone(&sent));
        move |now| progress.advance(sent.swap(now, Ordering::Relaxed), now)
    };
    let (object, path) = (&upload.object, &upload.path);
    let crc32c = digest.crc32c.0;
    let created = storage.upload(bucket, object, path, digest.size, crc32c, on_progress).await;
    let object = match created {
        Ok(object) => object,
        // There already, perhaps by our own repeated call: the same content is success.
        Err(error) if error.class() == Class::Conflict => {
            storage.stat(bucket, object, None).await.map_err(failed)?
        }
        Err(error) => return Err(failed(error)),
    };
    progress.advance(sent.swap(digest.size, Ordering::Relaxed), digest.size);
    if object.crc32c != Some(crc32c) || u64::try_from(object.size) != Ok(digest.size) {
        let shown = |size, crc32c: Option<u32>| {
            let crc32c = crc32c.map_or_else(|| "none".to_owned(), |it| Crc32c(it).to_string());
            format!("{size} bytes, crc32c {crc32c}")
        };
        return Err(Error::Different {
            artifact: upload.artifact.clone(),
            uri: format!("gs://{bucket}/{}", object.name),
            found: shown(object.size.to_string(), object.crc32c),
            expected: shown(digest.size.to_string(), Some(crc32c)),
        });
    }
    upload.artifact(bucket, object.generation)
}

/// Pins an artifact that lies in Cloud Storage; nothing is copied.
pub(crate) async fn pin(
    storage: &Storage,
    name: &ArtifactName,
    source: &Source,
    artifacts_max: usize,
) -> Result<Vec<Artifact>, Error> {
    match source {
        Source::File(_) | Source::Files(_) => Ok(Vec::new()),
        Source::Object(uri) => {
            let object = storage.stat(uri.bucket(), uri.object(), None).await;
            let object = object.map_err(|error| Error::Storage(name.clone(), error))?;
            Ok(vec![pinned(name, None, &object)?])
        }
        Source::Objects { bucket, names } => {
            let objects = matching(storage, name, bucket, names, artifacts_max).await?;
            let directory = DirectoryUri::new(bucket, names.directory());
            let directory = directory.map_err(|error| Error::Name(name.clone(), error))?;
            objects.iter().map(|it| pinned(name, Some(&directory), it)).collect()
        }
    }
}

async fn matching(
    storage: &Storage,
    name: &ArtifactName,
    bucket: &str,
    names: &Glob,
    max: usize,
) -> Result<Vec<Object>, Error> {
    let pattern = format!("gs://{bucket}/{}", names.as_str());
    let mut objects = Vec::new();
    let mut token = None;
    loop {
        let prefix = names.directory();
        let list = List { bucket, prefix, start: None, page_token: token, page_size: PAGE_SIZE };
        let page = storage.list(list).await;
        let page = page.map_err(|error| Error::Storage(name.clone(), error))?;
        // Consoles make empty objects that stand for directories.
        let matching = |it: &Object| !it.name.ends_with('/') && names.matches(&it.name);
        objects.extend(page.objects.into_iter().filter(matching));
        if objects.len() > max {
            let (artifact, count) = (name.clone(), objects.len());
            return Err(Error::TooMany { artifact, pattern, count, max });
        }
        match page.next {
            Some(next) => token = Some(next),
            None if objects.is_empty() => {
                return Err(Error::NoMatch { artifact: name.clone(), pattern });
            }
            None => return Ok(objects),
        }
    }
}

fn pinned(
    name: &ArtifactName,
    directory: Option<&DirectoryUri>,
    object: &Object,
) -> Result<Artifact, Error> {
    let uri = ObjectUri::new(&object.bucket, &object.name);
    let uri = uri.map_err(|error| Error::Name(name.clone(), error))?;
    let crc32c = object.crc32c.map(Crc32c);
    Ok(Artifact {
        name: name.clone(),
        directory: directory.cloned(),
        generation: object.generation,
        size: u64::try_from(object.size).unwrap_or_default(),
        crc32c: crc32c.ok_or_else(|| Error::NoChecksum(name.clone(), uri.to_string()))?,
        sha256: None,
        uri,
    })
}

/// One line for each artifact: what it is made of.
pub(crate) fn summary(artifacts: &[Artifact]) -> Vec<String> {
    let groups = artifacts.chunk_by(|a, b| a.name == b.name);
    groups
        .map(|group| {
            let size = HumanBytes(group.iter().map(|it| it.size).sum());
            match group {
                [one] => format!("{}: {size}, {}", one.name, one.uri),
                _ => format!("{}: {} objects, {size}", group[0].name, group.len()),
            }
        })
        .collect()
}
