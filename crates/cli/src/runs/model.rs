//! The files of a run's model, from Cloud Storage to a directory here.

use std::fs::{DirEntry, File};
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use branchline_contract::{Outcome, RunId};
use branchline_gcp::Class;
use branchline_gcp::storage::{Object, Storage};
use branchline_ledger::{Ending, History, ModelFile};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::HumanBytes;
use serde_json::json;

use super::fetch::Error;
use super::word;
use crate::progress::Progress;
use crate::terminal::{json as line, plain};

/// Files that are downloaded at once.
const AT_ONCE: usize = 8;
/// As file systems have it.
const NAME_BYTES_MAX: usize = 255;
/// How the directories begin in which nothing is verified yet.
const UNVERIFIED: &str = ".branchline-fetch-";

/// The model of a run that succeeded.
pub(crate) struct Model<'a> {
    run: &'a RunId,
    bucket: &'a str,
    /// Name of its directory, or of its only file, in the bucket.
    name: &'a str,
    files: &'a [ModelFile],
}

impl<'a> Model<'a> {
    /// What is on record.
    pub(crate) fn of(history: &'a History) -> Result<Self, Error> {
        let run = &history.run.id;
        let Some(ending) = history.run.ending() else {
            return Err(Error::GoesOn { run: run.clone(), state: word(&history.run.state) });
        };
        let Ending { outcome, model_uri, model_files, .. } = ending;
        if *outcome != Outcome::Succeeded {
            return Err(Error::Ended { run: run.clone(), outcome: *outcome });
        }
        let uri = model_uri.as_ref().ok_or_else(|| Error::NoModel(run.clone()))?;
        let place = uri.strip_prefix("gs://").and_then(|it| it.split_once('/'));
        let elsewhere = || Error::Elsewhere { run: run.clone(), uri: plain(uri) };
        let (bucket, name) = place.ok_or_else(elsewhere)?;
        if model_files.is_empty() {
            return Err(Error::Unrecorded { run: run.clone(), uri: plain(uri) });
        }
        Ok(Self { run, bucket, name: name.trim_end_matches('/'), files: model_files })
    }

    /// Downloads all of it to a directory that is new or empty, or nothing.
    pub(super) async fn save(&self, storage: &Storage, output: &Path) -> anyhow::Result<()> {
        let is_there = is_there(output)?;
        // A directory that is there may be a mount, or behind a link: only inside it are names changed at once.
        let place = match output.parent() {
            _ if is_there => output,
            Some(it) if it != Path::new("") => it,
            Some(_) | None => Path::new("."),
        };
        std::fs::create_dir_all(place).map_err(|it| writing(place, it))?;
        remove_abandoned(place);
        let unverified = tempfile::Builder::new()
            .prefix(UNVERIFIED)
            .tempdir_in(place)
            .map_err(|it| writing(place, it))?;
        // As long as this process lives: what nobody holds was left by one that was killed.
        // Where nobody can be held, nobody removes what another one left either.
        let _held = File::open(unverified.path()).and_then(|it| it.lock().map(|()| it)).ok();
        // A directory for somebody's files alone would stay that under its new name.
        let whole = unverified.path().join("model");
        std::fs::create_dir(&whole).map_err(|it| writing(&whole, it))?;
        self.download(storage, &whole).await?;
        let moved =
            if is_there { move_all(&whole, output) } else { std::fs::rename(&whole, output) };
        moved.map_err(|it| writing(output, it))
    }

    /// Downloads all of it into a directory.
    pub(crate) async fn download(&self, storage: &Storage, to: &Path) -> anyhow::Result<()> {
        let files: Vec<_> =
            self.files.iter().map(|it| Ok((it, self.path(it)?))).collect::<Result<_, Error>>()?;
        let progress = Progress::new("downloaded", self.size());
        let each = stream::iter(files).map(|(it, path)| {
            let path = to.join(path);
            self.one(storage, it, path, &progress)
        });
        let done = each.buffer_unordered(AT_ONCE).try_collect::<()>().await;
        progress.finish();
        done
    }

    async fn one(
        &self,
        storage: &Storage,
        file: &ModelFile,
        path: PathBuf,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let directory = path.parent().unwrap_or(&path);
        std::fs::create_dir_all(directory).map_err(|it| writing(directory, it))?;
        let (bucket, name) = (self.bucket, &file.object);
        let on_progress = {
            let received = AtomicU64::new(0);
            let progress = progress.clone();
            move |now| progress.advance(received.swap(now, Ordering::Relaxed), now)
        };
        let found = storage.download(bucket, name, file.generation, &path, on_progress).await;
        let changed = |what| Error::Changed { uri: plain(&format!("gs://{bucket}/{name}")), what };
        match found {
            Ok(it) if is(file, &it) => Ok(()),
            Ok(it) => {
                let found = format!("{} bytes of another checksum", it.size);
                Err(changed(format!("it has {found}, and {} were recorded", file.size)).into())
            }
            Err(error) if error.class() == Class::NotFound => {
                let what = format!("generation {} is gone", file.generation);
                Err(changed(what).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Where a file belongs, below the directory of the model.
    fn path(&self, file: &ModelFile) -> Result<PathBuf, Error> {
        let below = file.object.strip_prefix(self.name).unwrap_or_default();
        let path = match below.strip_prefix('/') {
            Some(path) => path,
            None => file.object.rsplit('/').next().unwrap_or_default(),
        };
        place(path)
    }

    fn size(&self) -> u64 {
        self.files.iter().map(|it| it.size).sum()
    }

    pub(super) fn tell(&self, output: &Path, as_json: bool) -> anyhow::Result<()> {
        let mut lines = String::new();
        for file in self.files.iter().filter(|_| as_json) {
            let ModelFile { object, generation, size, crc32c } = file;
            let uri = format!("gs://{}/{object}", self.bucket);
            let path = output.join(self.path(file)?);
            let it = json!({"path": path, "uri": uri, "generation": generation, "size": size, "crc32c": crc32c});
            lines += &(line(&it) + "\n");
        }
        io::stdout().write_all(lines.as_bytes()).context("writing to stdout")?;
        let (count, size) = (self.files.len(), HumanBytes(self.size()));
        let files = if count == 1 { "file" } else { "files" };
        eprintln!("{}: {count} {files}, {size}, verified, in {}", self.run, output.display());
        Ok(())
    }
}

/// Whether that content is the file's. The download compared it with the checksum that came along.
fn is(file: &ModelFile, found: &Object) -> bool {
    found.crc32c == Some(file.crc32c.0) && u64::try_from(found.size) == Ok(file.size)
}

/// A path that stays below the directory it is taken from.
fn place(path: &str) -> Result<PathBuf, Error> {
    let is_name = |it: &str| {
        !it.is_empty()
            && it.len() <= NAME_BYTES_MAX
            && !it.contains(|c: char| c == '\\' || c.is_control())
    };
    let place = Path::new(path);
    let is_below = place.components().all(|it| matches!(it, Component::Normal(_)));
    if is_below && path.split('/').all(|it| is_name(it) && it != ".") {
        Ok(place.to_owned())
    } else {
        Err(Error::Name(path.chars().take(NAME_BYTES_MAX).collect()))
    }
}

/// Whether there is a directory already, in which nothing may be but what other fetches have not verified.
fn is_there(output: &Path) -> anyhow::Result<bool> {
    let entries = match std::fs::read_dir(output) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !output.is_symlink() => {
            return Ok(false);
        }
        Err(error) => return Err(writing(output, error)),
    };
    for entry in entries {
        if !is_unverified(&entry.map_err(|it| writing(output, it))?) {
            return Err(Error::Taken(output.to_owned()).into());
        }
    }
    Ok(true)
}

fn is_unverified(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(UNVERIFIED.as_bytes())
}

/// Removes what fetches left that were killed, as far as it can.
fn remove_abandoned(place: &Path) {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    for path in entries.filter(is_unverified).map(|it| it.path()) {
        // One that another process has just made is empty, and not held yet.
        let has_any = std::fs::read_dir(&path).is_ok_and(|mut it| it.next().is_some());
        if has_any && File::open(&path).is_ok_and(|it| it.try_lock().is_ok()) {
            std::fs::remove_dir_all(&path).ok();
        }
    }
}

/// Moves everything from one directory to another, or nothing.
fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    let names = std::fs::read_dir(from)?.map(|it| Ok(it?.file_name()));
    let names = names.collect::<io::Result<Vec<_>>>()?;
    for (moved, name) in names.iter().enumerate() {
        let new = to.join(name);
        let done = match new.symlink_metadata() {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => std::fs::rename(from.join(name), new),
        };
        if done.is_err() {
            for name in &names[..moved] {
                std::fs::rename(to.join(name), from.join(name)).ok();
            }
            return done;
        }
    }
    Ok(())
}

fn writing(path: &Path, error: io::Error) -> anyhow::Error {
    anyhow::Error::from(error).context(format!("writing to {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_moved_where_something_came_between() {
        let [from, to] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let write = |directory: &Path, name: &str| std::fs::write(directory.join(name), name);
        for name in ["a", "b", "c", "d", "e"] {
            write(from.path(), name).unwrap();
        }
        write(to.path(), "c").unwrap();
        let count = |it: &Path| std::fs::read_dir(it).unwrap().count();
        assert!(move_all(from.path(), to.path()).is_err());
        assert_eq!((count(from.path()), count(to.path())), (5, 1));
        std::fs::remove_file(to.path().join("c")).unwrap();
        move_all(from.path(), to.path()).unwrap();
        assert_eq!((count(from.path()), count(to.path())), (0, 5));
    }

    #[test]
    fn a_file_lies_below_the_directory_of_the_model_or_nowhere() {
        let long = "x".repeat(256);
        for path in ["model.json", "variables/variables.index", "a b/ü", "...", ".keep"] {
            assert_eq!(place(path).unwrap(), Path::new(path));
        }
        let wrong = [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../../x",
            "a//b",
            "a/",
            "./a",
            "a/./b",
            "a\\b",
            "a\nb",
            "a\0b",
            "\u{1b}[2J",
            long.as_str(),
        ];
        for path in wrong {
            assert!(place(path).is_err(), "{path:?}");
        }
    }
}
