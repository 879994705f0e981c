//! Vertex AI: four kinds of jobs over REST, run as local processes.
//!
//! A container spec's command and arguments are run on this machine; no image is
//! pulled. Jobs survive a restart: one that was live then runs again from its start.

mod custom;
mod error;
mod filter;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz;
mod identity;
mod json;
mod kind;
mod list;
mod logs;
mod mount;
mod pipeline;
mod place;
mod process;
mod rest;
mod run;
mod schema;
mod spec;
mod store;
mod training;
mod tuning;
mod validate;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::error::Answer;
use self::kind::{Kind, State};
use self::logs::Logs;
pub use self::logs::{LogLine, Stream};
pub(crate) use self::place::project_number;
pub(crate) use self::rest::read_bytes;
use self::store::{Resource, Store};
use crate::faults::{Dice, Fault, Moment};
use crate::iam::Caller;
use crate::logging::Logging;
use crate::storage::Storage;

/// Jobs that run at once; the others wait as QUEUED.
const RUNNING_MAX: usize = 16;

/// The service: a cheap handle over shared state.
#[derive(Clone)]
pub struct Vertex(Arc<Shared>);

struct Shared {
    store: Store,
    storage: Storage,
    dice: Dice,
    /// Jobs that lists do not show before a time.
    hidden: Mutex<HashMap<String, Instant>>,
    logs: Logs,
    work: Work,
    slots: Semaphore,
    executions: Mutex<HashMap<String, CancellationToken>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Where processes work: nothing in it outlives the stack.
#[derive(Debug)]
enum Work {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl Vertex {
    /// Opens the service and runs the jobs that a shutdown or a crash interrupted.
    /// Has to be called within a Tokio runtime.
    pub fn open(data_dir: Option<&Path>, storage: Storage, dice: Dice) -> io::Result<Self> {
        let work = match data_dir {
            Some(directory) => {
                let work = directory.join("work");
                match std::fs::remove_dir_all(&work) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => std::fs::create_dir_all(&work)?,
                }
                Work::Kept(std::path::absolute(work)?)
            }
            None => {
                Work::Temporary(tempfile::Builder::new().prefix("branchline-vertex-").tempdir()?)
            }
        };
        let vertex = Self(Arc::new(Shared {
            store: Store::open(data_dir.map(|it| it.join("jobs")).as_deref())?,
            storage,
            dice,
            hidden: Mutex::default(),
            logs: Logs::default(),
            work,
            slots: Semaphore::new(RUNNING_MAX),
            executions: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }));
        for name in vertex.0.store.live() {
            vertex.resume(&name);
        }
        Ok(vertex)
    }

    /// The REST API, `/v1/projects/…`.
    pub fn router(&self) -> Router {
        rest::router(self.clone())
    }

    /// What the processes of a job have printed, oldest first, as far as it is kept.
    pub fn logs(&self, job_name: &str) -> Vec<LogLine> {
        self.0.logs.get(&place::canonical_name(job_name))
    }

    /// Cloud Logging, which gets what the processes print.
    pub fn logging(&self) -> Logging {
        self.0.logs.logging.clone()
    }

    /// How many jobs there are, whatever their state.
    pub fn jobs(&self) -> usize {
        self.0.store.count()
    }

    /// Stops the training processes and waits for them.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn create(
        &self,
        kind: Kind,
        name: &str,
        job: Resource,
        caller: Option<&Caller>,
    ) -> Answer<Resource> {
        validate::validate(kind, &job)?;
        if let Some(caller) = caller {
            identity::check(kind, name, &job, caller)?;
        }
        let mut hidden = self.hidden();
        let job = self.0.store.insert(kind, name, job)?;
        if let Some(Fault::ListLagMs(time)) = self.0.dice.meets(Moment::JobCreated, name) {
            hidden.insert(name.to_owned(), Instant::now() + Duration::from_millis(time));
        }
        drop(hidden);
        self.launch(kind, name);
        Ok(job)
    }

    /// The jobs below a place that lists show by now.
    fn listed(&self, prefix: &str) -> Vec<Resource> {
        let mut hidden = self.hidden();
        hidden.retain(|_, until| *until > Instant::now());
        let mut jobs = self.0.store.list(prefix);
        jobs.retain(|job| job["name"].as_str().is_none_or(|it| !hidden.contains_key(it)));
        jobs
    }

    fn hidden(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.hidden.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks a job to end; how it ends is for the job to say.
    fn cancel(&self, kind: Kind, name: &str) -> Answer<()> {
        self.0.store.update(name, |job| {
            let live = store::state(job)
                .is_some_and(|state| state.is_live() && state != State::Cancelling);
            if live {
                job.insert("state".to_owned(), kind.state_name(State::Cancelling).into());
            }
            live
        })?;
        if let Some(execution) = self.executions().get(name) {
            execution.cancel();
        }
        Ok(())
    }

    fn resume(&self, name: &str) {
        let (Some(kind), Some(job)) = (Kind::of(name), self.0.store.get(name)) else {
            return;
        };
        self.launch(kind, name);
        if store::state(&job) == Some(State::Cancelling)
            && let Some(execution) = self.executions().get(name)
        {
            execution.cancel();
        }
    }

    fn launch(&self, kind: Kind, name: &str) {
        let (shared, name) = (self.0.clone(), name.to_owned());
        let stop = shared.stop.child_token();
        self.executions().insert(name.clone(), stop.clone());
        self.0.tasks.spawn(async move {
            // In a task of its own, so that a panic ends one job and is recorded there.
            let execution = tokio::spawn(run::execute(shared.clone(), name.clone(), kind, stop));
            if let Err(panic) = execution.await {
                run::fail(&shared, &name, kind, format!("The local stack failed: {panic}"));
            }
            shared.executions.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        });
    }

    fn executions(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.0.executions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// A directory for one execution; removed when it is dropped.
    fn work_directory(&self) -> io::Result<TempDir> {
        let parent = match &self.work {
            Work::Kept(path) => path,
            Work::Temporary(directory) => directory.path(),
        };
        tempfile::Builder::new().prefix("job-").tempdir_in(parent)
    }
}
