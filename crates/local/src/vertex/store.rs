//! The jobs: in memory, and one file per job where a directory is given.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::error::{Answer, Code, Refusal};
use super::kind::{Kind, State};

/// Jobs that are kept before new ones are refused.
const JOBS_MAX: usize = 10_000;

/// A job as the API shows it.
pub(super) type Resource = Map<String, Value>;

/// All jobs by name. What a method has returned is on disk.
#[derive(Debug)]
pub(super) struct Store {
    directory: Option<PathBuf>,
    jobs: Mutex<BTreeMap<String, Resource>>,
}

impl Store {
    pub(super) fn open(directory: Option<&Path>) -> io::Result<Self> {
        let mut jobs = BTreeMap::new();
        if let Some(directory) = directory {
            std::fs::create_dir_all(directory)?;
            for entry in std::fs::read_dir(directory)? {
                let path = entry?.path();
                // Anything else is a file whose writing was interrupted.
                if path.extension().is_none_or(|extension| extension != "json") {
                    continue;
                }
                let resource: Resource = serde_json::from_slice(&std::fs::read(&path)?)?;
                if let Some(name) = resource.get("name").and_then(Value::as_str) {
                    jobs.insert(name.to_owned(), resource);
                }
            }
        }
        Ok(Self { directory: directory.map(Path::to_path_buf), jobs: Mutex::new(jobs) })
    }

    /// Adds a job in its first state.
    pub(super) fn insert(
        &self,
        kind: Kind,
        name: &str,
        mut resource: Resource,
    ) -> Answer<Resource> {
        let mut jobs = self.lock();
        if jobs.contains_key(name) {
            let message = format!("Resource '{name}' already exists.");
            return Err(Refusal::new(Code::AlreadyExists, message));
        }
        if jobs.len() >= JOBS_MAX {
            let message = format!("The local stack keeps at most {JOBS_MAX} jobs; delete some.");
            return Err(Refusal::new(Code::ResourceExhausted, message));
        }
        let now = now();
        resource.shift_insert(0, "name".to_owned(), Value::from(name));
        resource.insert("state".to_owned(), Value::from(kind.state_name(State::Queued)));
        resource.insert("createTime".to_owned(), Value::from(now.clone()));
        resource.insert("updateTime".to_owned(), Value::from(now));
        self.save(name, &resource)?;
        jobs.insert(name.to_owned(), resource.clone());
        Ok(resource)
    }

    pub(super) fn get(&self, name: &str) -> Option<Resource> {
        self.lock().get(name).cloned()
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// All jobs whose names start with `prefix`.
    pub(super) fn list(&self, prefix: &str) -> Vec<Resource> {
        let jobs = self.lock();
        let from_prefix = jobs.range(prefix.to_owned()..);
        from_prefix
            .take_while(|(name, _)| name.starts_with(prefix))
            .map(|(_, resource)| resource.clone())
            .collect()
    }

    /// The names of the jobs that were running or waiting when the stack stopped.
    pub(super) fn live(&self) -> Vec<String> {
        let jobs = self.lock();
        jobs.iter()
            .filter(|(_, resource)| state(resource).is_some_and(State::is_live))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Changes a job, unless it has been deleted. `change` says whether it changed anything.
    pub(super) fn update(
        &self,
        name: &str,
        change: impl FnOnce(&mut Resource) -> bool,
    ) -> io::Result<()> {
        let mut jobs = self.lock();
        let Some(current) = jobs.get(name) else {
            return Ok(());
        };
        let mut next = current.clone();
        if change(&mut next) {
            next.insert("updateTime".to_owned(), Value::from(now()));
            self.save(name, &next)?;
            jobs.insert(name.to_owned(), next);
        }
        Ok(())
    }

    /// Removes a job that has ended.
    pub(super) fn remove(&self, name: &str) -> Answer<Option<Resource>> {
        let mut jobs = self.lock();
        let Some(resource) = jobs.get(name) else {
            return Ok(None);
        };
        if state(resource).is_some_and(State::is_live) {
            let message =
                format!("The job {name} has not ended yet: cancel it before deleting it.");
            return Err(Refusal::new(Code::FailedPrecondition, message));
        }
        if let Some(path) = self.path(name) {
            std::fs::remove_file(path)?;
        }
        Ok(jobs.remove(name))
    }

    fn save(&self, name: &str, resource: &Resource) -> io::Result<()> {
        let Some(path) = self.path(name) else {
            return Ok(());
        };
        let temporary = path.with_extension("tmp");
        std::fs::write(&temporary, serde_json::to_vec(resource)?)?;
        std::fs::rename(temporary, path)
    }

    /// Names hold no dots and no percent signs, so this is one file per name.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let directory = self.directory.as_ref()?;
        Some(directory.join(format!("{}.json", name.replace('/', "%"))))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Resource>> {
        // Every change is made on a copy, so a panic leaves nothing half done.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of a stored job.
pub(super) fn state(resource: &Resource) -> Option<State> {
    let kind = Kind::of(resource.get("name")?.as_str()?)?;
    kind.state_of(resource.get("state")?.as_str()?)
}

/// The time with six digits always, so that times sort as text.
pub(super) fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
