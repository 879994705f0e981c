//! One execution of a job, from its first process to its last state.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::kind::{Kind, State};
use super::logs::Replica;
use super::mount::{self, Mount, Which};
use super::place::{id_of, project_of};
use super::process::{Exit, Process};
use super::store::{Resource, now};
use super::{Shared, custom, pipeline, training, tuning};
use crate::faults::{Fault, Final, Moment};
use crate::logging::Logging;

/// How often outputs become objects while a job runs.
const STORE_EVERY: Duration = Duration::from_secs(1);

/// How an execution ended.
#[derive(Debug)]
pub(super) enum Ending {
    Succeeded,
    Failed(Failure),
    /// It was told to: by a cancel or by the stack's shutdown.
    Stopped,
}

/// What the job's `error` says: a canonical code and a text.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) code: i32,
    pub(super) message: String,
}

impl Failure {
    /// The job asked for something that cannot be done.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self { code: 3, message: message.into() }
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self { code: 13, message: message.into() }
    }

    pub(super) fn status(&self) -> Value {
        json!({"code": self.code, "message": self.message})
    }
}

impl From<Result<Ending, Failure>> for Ending {
    fn from(result: Result<Ending, Failure>) -> Self {
        result.unwrap_or_else(Ending::Failed)
    }
}

/// A job that is being executed.
pub(super) struct Run {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) stop: CancellationToken,
    shared: Arc<Shared>,
    work: TempDir,
    mount: Arc<Mutex<Mount>>,
}

/// Executes the job and records how it ended. A job that the shutdown
/// interrupted stays as it is and runs again when the stack is next started.
pub(super) async fn execute(
    shared: Arc<Shared>,
    name: String,
    kind: Kind,
    stop: CancellationToken,
) {
    let ending = tokio::select! {
        slot = shared.slots.acquire() => match slot {
            Ok(_slot) => in_slot(&shared, &name, kind, &stop).await,
            Err(_closed) => Ending::Stopped,
        },
        () = stop.cancelled() => Ending::Stopped,
    };
    if matches!(ending, Ending::Stopped) && shared.stop.is_cancelled() {
        return;
    }
    record(&shared, &name, kind, &ending);
}

async fn in_slot(shared: &Arc<Shared>, name: &str, kind: Kind, stop: &CancellationToken) -> Ending {
    let work = match shared.work_directory() {
        Ok(work) => work,
        Err(error) => {
            return Ending::Failed(Failure::internal(format!("no working directory: {error}")));
        }
    };
    let mount = Mount::new(work.path().join("gcs"), shared.storage.clone());
    let run = Run {
        name: name.to_owned(),
        kind,
        stop: stop.clone(),
        shared: shared.clone(),
        work,
        mount: Arc::new(Mutex::new(mount)),
    };
    if let Some(Fault::PauseMs(time)) = shared.dice.meets(Moment::JobStarts, name) {
        if let Err(failure) = run.enter(State::Paused) {
            return Ending::Failed(failure);
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(time)) => {}
            () = stop.cancelled() => return Ending::Stopped,
        }
    }
    let ending = run.storing_outputs(run.by_kind()).await;
    match run.store_outputs(Which::All).await {
        Err(failure) if matches!(ending, Ending::Succeeded) => Ending::Failed(failure),
        Ok(()) | Err(_) => ending,
    }
}

/// Records that the stack itself failed while it executed the job.
pub(super) fn fail(shared: &Shared, name: &str, kind: Kind, message: String) {
    record(shared, name, kind, &Ending::Failed(Failure::internal(message)));
}

fn record(shared: &Shared, name: &str, kind: Kind, ending: &Ending) {
    let instead = match shared.dice.meets(Moment::JobEnds, name) {
        Some(Fault::EndAs { state, error }) => {
            let state = State::from(state);
            let error = error.map(|(code, message)| Failure { code, message });
            // A fault that cannot happen is not passed over in silence.
            let unknown = || Failure::internal(format!("no {kind:?} ends as {state:?}"));
            Some(if kind.knows(state) { (state, error) } else { (State::Failed, Some(unknown())) })
        }
        _ => None,
    };
    if let Err(error) = shared.store.update(name, |job| finish(job, kind, ending, instead)) {
        tracing::error!(
            vertex.job = name,
            error = &error as &dyn std::error::Error,
            "job's end was not saved"
        );
    }
}

impl From<Final> for State {
    fn from(state: Final) -> Self {
        match state {
            Final::Succeeded => Self::Succeeded,
            Final::Failed => Self::Failed,
            Final::Cancelled => Self::Cancelled,
            Final::PartiallySucceeded => Self::PartiallySucceeded,
            Final::Expired => Self::Expired,
        }
    }
}

fn finish(
    job: &mut Resource,
    kind: Kind,
    ending: &Ending,
    instead: Option<(State, Option<Failure>)>,
) -> bool {
    let (mut state, mut error) = match ending {
        Ending::Succeeded => (State::Succeeded, None),
        Ending::Failed(failure) => (State::Failed, Some(failure.status())),
        Ending::Stopped => (State::Cancelled, Some(json!({"code": 1, "message": "CANCELED"}))),
    };
    if let Some((end, failure)) = instead {
        (state, error) = (end, failure.map(|it| it.status()));
    }
    job.insert("state".to_owned(), Value::from(kind.state_name(state)));
    job.insert("endTime".to_owned(), Value::from(now()));
    if let Some(error) = error {
        job.insert("error".to_owned(), error);
    }
    true
}

impl Run {
    async fn by_kind(&self) -> Ending {
        match self.kind {
            Kind::CustomJob => custom::run(self).await.into(),
            Kind::HyperparameterTuningJob => tuning::run(self).await.into(),
            Kind::TrainingPipeline => training::run(self).await.into(),
            Kind::PipelineJob => pipeline::run(self).await.into(),
        }
    }

    /// The job as it is now; empty if it has been deleted.
    pub(super) fn job(&self) -> Resource {
        self.shared.store.get(&self.name).unwrap_or_default()
    }

    /// One field of the job.
    pub(super) fn read<T>(&self, field: &str) -> Result<T, Failure>
    where
        T: Default + for<'de> serde::Deserialize<'de>,
    {
        let read = super::spec::read(&self.job(), field);
        read.map_err(|error| Failure::internal(format!("reading {field}: {error}")))
    }

    /// Changes what the API shows of this job.
    pub(super) fn update(&self, change: impl FnOnce(&mut Resource)) -> Result<(), Failure> {
        let saved = self.shared.store.update(&self.name, |job| {
            change(job);
            true
        });
        saved.map_err(|error| Failure::internal(format!("saving the job: {error}")))
    }

    /// Moves the job on; never back, so that one that runs again after a restart keeps running.
    pub(super) fn enter(&self, state: State) -> Result<(), Failure> {
        let saved = self.shared.store.update(&self.name, |job| {
            if super::store::state(job).is_none_or(|current| current >= state) {
                return false;
            }
            job.insert("state".to_owned(), Value::from(self.kind.state_name(state)));
            if state == State::Running {
                job.insert("startTime".to_owned(), Value::from(now()));
            }
            true
        });
        saved.map_err(|error| Failure::internal(format!("saving the job: {error}")))
    }

    pub(super) fn id(&self) -> &str {
        id_of(&self.name)
    }

    pub(super) fn project(&self) -> &str {
        project_of(&self.name)
    }

    /// Name of a custom job beside this one: what a job of another kind runs is one.
    pub(super) fn custom_job(&self, id: &str) -> String {
        let parent = self.name.rsplitn(3, '/').nth(2).unwrap_or_default();
        format!("{parent}/customJobs/{id}")
    }

    /// Where it is told what happens.
    pub(super) fn logging(&self) -> &Logging {
        &self.shared.logs.logging
    }

    /// A directory for one process.
    pub(super) fn directory(&self, task: &str) -> PathBuf {
        self.work.path().join(task)
    }

    /// The job's `/gcs`.
    pub(super) fn mount_root(&self) -> PathBuf {
        self.work.path().join("gcs")
    }

    /// Makes a process of a command and environment as the spec has them: what they
    /// mention is fetched, `/gcs/` is rewritten, and the platform's variables are added.
    pub(super) async fn prepare(
        &self,
        task: &str,
        replica: Replica,
        mut argv: Vec<String>,
        mut env: BTreeMap<String, String>,
    ) -> Result<Process, Failure> {
        let root = self.mount_root();
        let texts = argv.iter().chain(env.values()).cloned().collect::<Vec<_>>();
        self.with_mount(move |mount| mount.fetch(&texts)).await?;
        for text in argv.iter_mut().chain(env.values_mut()) {
            *text = mount::rewrite(&root, text);
        }
        env.insert("CLOUD_STORAGE_MOUNT".to_owned(), root.to_string_lossy().into_owned());
        env.insert("CLOUD_ML_PROJECT_ID".to_owned(), self.project().to_owned());
        env.insert("CLOUD_ML_JOB_ID".to_owned(), self.id().to_owned());
        let log = self.shared.logs.writer(&self.name, task, replica.clone());
        Ok(Process { task: replica.name, argv, env, directory: self.directory(task), log })
    }

    async fn storing_outputs<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut ticks = interval(STORE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick() => {
                    // What cannot be stored yet is tried again, and decides at the end.
                    if let Err(failure) = self.store_outputs(Which::Settled).await {
                        tracing::debug!(vertex.job = self.name, failure.message, "outputs were not stored");
                    }
                }
            }
        }
    }

    async fn store_outputs(&self, which: Which) -> Result<(), Failure> {
        self.with_mount(move |mount| mount.store(which)).await
    }

    async fn with_mount<F>(&self, work: F) -> Result<(), Failure>
    where
        F: FnOnce(&mut Mount) -> Result<(), String> + Send + 'static,
    {
        let mount = self.mount.clone();
        let blocking = move || work(&mut mount.lock().unwrap_or_else(PoisonError::into_inner));
        let done = tokio::task::spawn_blocking(blocking).await;
        done.map_err(|error| Failure::internal(error.to_string()))?.map_err(Failure::invalid)
    }

    /// What an exit means for the job.
    pub(super) fn ending(&self, exit: Exit, deadline: Duration) -> Ending {
        match exit {
            Exit::Succeeded => Ending::Succeeded,
            Exit::Stopped => Ending::Stopped,
            Exit::TimedOut => Ending::Failed(Failure {
                code: 4,
                message: format!(
                    "The job exceeded its timeout of {} seconds.",
                    deadline.as_secs_f64()
                ),
            }),
            Exit::Failed { task, status } => Ending::Failed(Failure::invalid(format!(
                "The replica {task} exited with a non-zero status of {status}. To find out more about \
                 why your job exited please check the logs: https://console.cloud.google.com/logs/viewer\
                 ?project={project}&resource=ml_job%2Fjob_id%2F{id}&advancedFilter=\
                 resource.type%3D%22ml_job%22%0Aresource.labels.job_id%3D%22{id}%22",
                project = self.project(),
                id = self.id(),
            ))),
        }
    }
}
