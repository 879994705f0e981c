//! The bytes of objects: in memory, or in files when there is a data directory.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use bytes::Bytes;

use super::checksum::{Checksums, Hasher};
use super::error::Error;

/// The largest object that is taken.
pub const OBJECT_BYTES_MAX: u64 = 5 << 30;

/// The content of a stored object. It never changes: a new generation is new
/// content.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Memory(Bytes),
    File(PathBuf),
}

/// Content opened for reading: a later replacement or deletion of the object
/// does not disturb it.
pub(super) enum Opened {
    Memory(Bytes),
    File(File),
}

impl Content {
    pub(super) fn open(&self) -> io::Result<Opened> {
        Ok(match self {
            Self::Memory(bytes) => Opened::Memory(bytes.clone()),
            Self::File(path) => Opened::File(File::open(path)?),
        })
    }
}

impl Opened {
    pub(super) fn read_all(self) -> io::Result<Bytes> {
        match self {
            Self::Memory(bytes) => Ok(bytes),
            Self::File(mut file) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                Ok(bytes.into())
            }
        }
    }
}

/// Content that is still arriving. Writes are synchronous, a few kilobytes
/// into the page cache each, so that a request that is cancelled between two
/// of them leaves checksums and file in step.
pub(super) struct Draft {
    sink: Sink,
    size: u64,
    hasher: Hasher,
}

enum Sink {
    Memory(Vec<u8>),
    File { file: File, path: Temporary },
}

/// A file that goes away with its owner unless it has been renamed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing to remove; what a crash leaves
        // behind is removed at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Draft {
    pub(super) fn in_memory() -> Self {
        Self::over(Sink::Memory(Vec::new()))
    }

    pub(super) fn in_file(path: PathBuf) -> io::Result<Self> {
        let file = File::create_new(&path)?;
        let path = Temporary(path);
        Ok(Self::over(Sink::File { file, path }))
    }

    fn over(sink: Sink) -> Self {
        Self { sink, size: 0, hasher: Hasher::default() }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn checksums(&self) -> Checksums {
        self.hasher.clone().finish()
    }

    pub(super) fn write(&mut self, chunk: &[u8]) -> Result<(), Error> {
        let size = self.size + chunk.len() as u64;
        if size > OBJECT_BYTES_MAX {
            return Err(Error::TooLarge { max: OBJECT_BYTES_MAX });
        }
        match &mut self.sink {
            Sink::Memory(bytes) => bytes.extend_from_slice(chunk),
            Sink::File { file, .. } => file.write_all(chunk)?,
        }
        self.hasher.update(chunk);
        self.size = size;
        Ok(())
    }

    /// The content itself, a file moved to where `place` says.
    pub(super) fn keep(self, place: impl FnOnce() -> PathBuf) -> io::Result<Content> {
        Ok(match self.sink {
            Sink::Memory(bytes) => Content::Memory(bytes.into()),
            Sink::File { path, .. } => {
                let place = place();
                std::fs::rename(&path.0, &place)?;
                Content::File(place)
            }
        })
    }
}

/// The same content once more, for a copy of the object.
pub(super) fn duplicate(content: &Content, place: impl FnOnce() -> PathBuf) -> io::Result<Content> {
    Ok(match content {
        Content::Memory(bytes) => Content::Memory(bytes.clone()),
        Content::File(path) => {
            let place = place();
            std::fs::hard_link(path, &place)?;
            Content::File(place)
        }
    })
}
