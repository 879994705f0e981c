//! The `/gcs` of a job: a directory per bucket. What a command mentions is
//! fetched before it starts; files that it makes or changes become objects.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::storage::Storage;

/// Objects fetched for one job before it is refused.
const OBJECTS_MAX: usize = 10_000;

/// Bytes fetched for one job before it is refused.
const FETCHED_BYTES_MAX: u64 = 4 << 30;

/// Files that one job may have in its mount.
const FILES_MAX: usize = 100_000;

/// Size of a file that can become an object.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// How the text of a command can begin the name of an object.
const ROOTS: [&str; 5] =
    ["gs://", "/gcs/", ":-/gcs}/", "$CLOUD_STORAGE_MOUNT/", "${CLOUD_STORAGE_MOUNT}/"];

/// Which files to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Those that have not changed since the last look: a file being written is left alone.
    Settled,
    /// All that differ from their objects: nothing writes any more.
    All,
}

/// A file's contents as far as `stat` can tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: (i64, i64),
    inode: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            inode: metadata.ino(),
        }
    }
}

/// One job's mount.
pub(super) struct Mount {
    root: PathBuf,
    storage: Storage,
    /// Files whose contents Storage has.
    stored: HashMap<PathBuf, Stamp>,
    /// Files as they were at the last look.
    looked_at: HashMap<PathBuf, Stamp>,
    fetched_bytes: u64,
}

impl Mount {
    pub(super) fn new(root: PathBuf, storage: Storage) -> Self {
        Self { root, storage, stored: HashMap::new(), looked_at: HashMap::new(), fetched_bytes: 0 }
    }

    /// Fetches every object, or all objects below a prefix, that the texts mention.
    pub(super) fn fetch(&mut self, texts: &[String]) -> Result<(), String> {
        for text in texts {
            // A whole argument may hold characters that end a name inside a script.
            let whole = ROOTS.iter().find_map(|root| text.strip_prefix(root));
            for mentioned in whole.into_iter().chain(mentions(text)) {
                self.fetch_mentioned(mentioned)?;
            }
        }
        Ok(())
    }

    fn fetch_mentioned(&mut self, mentioned: &str) -> Result<(), String> {
        let (bucket, name) = mentioned.split_once('/').unwrap_or((mentioned, ""));
        if path_below(&self.root, bucket, "").is_none() {
            return Ok(());
        }
        // Real mounts show a bucket as a directory, even an empty one.
        std::fs::create_dir_all(self.root.join(bucket)).map_err(|error| error.to_string())?;
        if !name.is_empty() && self.fetch_object(bucket, name)? {
            return Ok(());
        }
        let below = match name {
            "" => String::new(),
            name => format!("{}/", name.trim_end_matches('/')),
        };
        for object in self.storage.list(bucket, &below) {
            self.fetch_object(bucket, &object.name)?;
        }
        Ok(())
    }

    /// Says whether there is such an object.
    fn fetch_object(&mut self, bucket: &str, name: &str) -> Result<bool, String> {
        // A name that no file can have is not to be seen in a real mount either.
        let Some(path) = path_below(&self.root, bucket, name) else {
            return Ok(false);
        };
        if self.stored.contains_key(&path) {
            return Ok(true);
        }
        let Some((_, bytes)) = self.storage.get(bucket, name) else {
            return Ok(false);
        };
        self.fetched_bytes += bytes.len() as u64;
        if self.stored.len() >= OBJECTS_MAX || self.fetched_bytes > FETCHED_BYTES_MAX {
            return Err(format!(
                "the job mentions more than {OBJECTS_MAX} objects or {FETCHED_BYTES_MAX} bytes"
            ));
        }
        // An object named `dir/` only marks a directory.
        let (directory, file) = if name.ends_with('/') {
            (Some(path.as_path()), None)
        } else {
            (path.parent(), Some(&path))
        };
        let written = directory.map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
            let Some(file) = file else { return Ok(()) };
            std::fs::write(file, &bytes)?;
            self.stored.insert(file.clone(), Stamp::of(&std::fs::metadata(file)?));
            Ok(())
        });
        written.map(|()| true).map_err(|error| format!("fetching gs://{bucket}/{name}: {error}"))
    }

    /// Stores files that are new or have changed.
    pub(super) fn store(&mut self, which: Which) -> Result<(), String> {
        let mut files = HashMap::new();
        walk(&self.root, &mut files)
            .map_err(|error| format!("reading the job's outputs: {error}"))?;
        if files.len() > FILES_MAX {
            return Err(format!("the job made more than {FILES_MAX} files"));
        }
        for (path, stamp) in &files {
            let settled = self.looked_at.get(path) == Some(stamp);
            if self.stored.get(path) != Some(stamp) && (settled || which == Which::All) {
                self.store_file(path, *stamp)?;
            }
        }
        self.looked_at = files;
        Ok(())
    }

    fn store_file(&mut self, path: &Path, stamp: Stamp) -> Result<(), String> {
        let Some((bucket, name)) = object_of(&self.root, path) else {
            return Ok(());
        };
        let uri = format!("gs://{bucket}/{name}");
        if stamp.bytes > FILE_BYTES_MAX {
            return Err(format!("storing {uri}: the file is larger than {FILE_BYTES_MAX} bytes"));
        }
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            // Files come and go while a job runs.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(format!("storing {uri}: {error}")),
        };
        let stored = self.storage.put(&bucket, &name, bytes);
        stored.map_err(|error| format!("storing {uri}: {error}"))?;
        self.stored.insert(path.to_path_buf(), stamp);
        Ok(())
    }
}

/// Replaces the literal `/gcs/` at the beginning of paths by the mount's root.
pub(super) fn rewrite(root: &Path, text: &str) -> String {
    let mut rewritten = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("/gcs/") {
        let (before, from) = rest.split_at(at);
        rewritten.push_str(before);
        if rewritten.is_empty() || rewritten.ends_with(begins_word) {
            rewritten.push_str(&root.to_string_lossy());
            rewritten.push('/');
        } else {
            rewritten.push_str("/gcs/");
        }
        rest = &from["/gcs/".len()..];
    }
    rewritten.push_str(rest);
    rewritten
}

/// The path of an object below a mount's root, unless its name could leave it.
pub(super) fn path_of(root: &Path, uri: &str) -> Option<PathBuf> {
    let (bucket, name) = uri.strip_prefix("gs://")?.split_once('/')?;
    path_below(root, bucket, name)
}

fn path_below(root: &Path, bucket: &str, name: &str) -> Option<PathBuf> {
    let plain =
        |text: &str| Path::new(text).components().all(|it| matches!(it, Component::Normal(_)));
    let fits = !bucket.is_empty() && plain(bucket) && plain(name) && !name.contains("//");
    fits.then(|| root.join(bucket).join(name))
}

fn object_of(root: &Path, path: &Path) -> Option<(String, String)> {
    let below = path.strip_prefix(root).ok()?.to_str()?;
    let (bucket, name) = below.split_once('/')?;
    Some((bucket.to_owned(), name.to_owned()))
}

/// The parts of a text that name a bucket and perhaps an object or a prefix.
fn mentions(text: &str) -> impl Iterator<Item = &str> {
    ROOTS.iter().flat_map(move |root| {
        text.match_indices(root).filter_map(move |(at, _)| {
            let rooted = !root.starts_with("/gcs")
                || text[..at].is_empty()
                || text[..at].ends_with(begins_word);
            let rest = &text[at + root.len()..];
            let name = rest.split(ends_name).next().unwrap_or_default();
            // `gs://bucket/$x`: what comes before the variable is the prefix to fetch.
            let cut = rest[name.len()..].starts_with(['$', '*', '?', '[']);
            let name =
                if cut { name.rsplit_once('/').map_or("", |(parent, _)| parent) } else { name };
            (rooted && !name.is_empty()).then_some(name)
        })
    })
}

fn begins_word(letter: char) -> bool {
    letter.is_whitespace() || "\"'=:,;|<>()&`".contains(letter)
}

fn ends_name(letter: char) -> bool {
    letter.is_whitespace() || "\"'`,;|<>()&{}$*?[]\\".contains(letter)
}

fn walk(directory: &Path, files: &mut HashMap<PathBuf, Stamp>) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        // A file may go between being listed and being looked at. Links are not followed.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.is_dir() {
            walk(&entry.path(), files)?;
        } else if metadata.is_file() && files.len() <= FILES_MAX {
            files.insert(entry.path(), Stamp::of(&metadata));
        }
    }
    Ok(())
}
