//! Vertex AI: jobs that are created once, listed late, and end as they like.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use branchline_contract::JobKind;
use branchline_gcp::vertex::{CreateJob, Job, JobError, JobPage, JobState, Jobs as JobsApi};
use branchline_gcp::{Call, Error};
use bytes::Bytes;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::world::{
    ALREADY_EXISTS, Door, NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED, State, Texts,
};

/// What is said when there are no accelerators, at once or late.
const QUOTA: &str = "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_nvidia_a100_gpus";

/// Every job of the world.
#[derive(Default)]
pub(crate) struct Jobs {
    all: Vec<Planned>,
    /// Time after which a list shows a job, at most.
    pub(crate) list_lag: Duration,
    /// Time that a request may be on its way after its sender gave up, at most.
    pub(crate) wire_lag: Duration,
    /// How many times as long as usual a job stays in each of its states.
    pub(crate) pace: u32,
    /// While it lasts, every create call is refused for want of a role.
    pub(crate) forbidden_until: Duration,
    /// Runs whose accelerators cannot be had before that time.
    pub(crate) exhausted_until: Duration,
}

impl Jobs {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { pace: 1, ..Self::default() }
    }
}

/// A job and what will become of it.
struct Planned {
    job: Job,
    listed_from: Duration,
    /// States by the time from which they hold; the first holds at once.
    plan: Vec<(Duration, JobState)>,
    /// Whether it fails for want of quota, should it fail.
    short: bool,
}

impl Planned {
    fn at(&self, now: Duration) -> Job {
        let held = self.plan.iter().rev().find(|(from, _)| *from <= now);
        let mut job = self.job.clone();
        job.state = held.map_or(JobState::Queued, |(_, state)| state.clone());
        if job.state == JobState::Failed {
            let (code, message) = if self.short { (8, QUOTA) } else { (13, "the training failed") };
            job.error = Some(JobError { code, message: message.to_owned() });
        }
        job
    }
}

fn is_over(state: &JobState) -> bool {
    match state {
        JobState::Succeeded
        | JobState::Failed
        | JobState::Cancelled
        | JobState::Expired
        | JobState::PartiallySucceeded => true,
        JobState::Queued
        | JobState::Pending
        | JobState::Running
        | JobState::Cancelling
        | JobState::Paused
        | JobState::Updating
        | JobState::Unknown(_) => false,
    }
}

impl State {
    /// Those that have not ended and are not about to.
    pub(crate) fn live_jobs(&self) -> Vec<Job> {
        let live = |it: &Job| !is_over(&it.state) && it.state != JobState::Cancelling;
        self.jobs.all.iter().map(|it| it.at(self.now())).filter(live).collect()
    }

    /// Carries a create call out, whether or not anybody still waits for its answer.
    fn create_job(&mut self, what: &str, order: &Order) -> Result<Job, Error> {
        let Order { kind, parent, body, id } = order;
        let labels: Texts =
            serde_json::from_value(body["labels"].clone()).expect("labels are texts");
        self.law.create_arrived(&labels);
        let now = self.now();
        if now < self.jobs.forbidden_until {
            return Err(Error::answered(
                what,
                PERMISSION_DENIED,
                "Permission 'aiplatform.customJobs.create' denied",
            ));
        }
        if now < self.jobs.exhausted_until {
            return Err(Error::answered(what, RESOURCE_EXHAUSTED, QUOTA));
        }
        let number = self.jobs.all.len() + 1;
        let id = id.clone().unwrap_or_else(|| number.to_string());
        let name = format!("{parent}/{}/{id}", kind.collection());
        if self.jobs.all.iter().any(|it| it.job.name == name) {
            return Err(Error::answered(what, ALREADY_EXISTS, "it already exists"));
        }
        let listed_from =
            now + Duration::from_millis(self.rng.u64(0..=as_millis(self.jobs.list_lag)));
        let (plan, short) = (self.plan(*kind), self.rng.bool());
        let job = Job {
            name: name.clone(),
            kind: *kind,
            state: JobState::Queued,
            labels: labels.clone(),
            error: None,
            created: None,
            ended: None,
            metrics: [].into(),
            model: None,
            best_trial: None,
        };
        let created = self.law.job_created(&job);
        self.leave_metrics(created, *kind, body);
        if *kind == JobKind::PipelineJob {
            // Vertex AI copies a pipeline's labels to the jobs of its steps.
            let child = format!("{parent}/{}/step-{number}", JobKind::CustomJob.collection());
            let job = Job { name: child, kind: JobKind::CustomJob, ..job.clone() };
            self.jobs.all.push(Planned { job, listed_from, plan: plan.clone(), short });
        }
        self.jobs.all.push(Planned { job: job.clone(), listed_from, plan, short });
        Ok(job)
    }

    fn plan(&mut self, kind: JobKind) -> Vec<(Duration, JobState)> {
        let mut at = self.now();
        let mut plan = Vec::new();
        let mut then = |state: &mut Self, to: JobState| {
            plan.push((at, to));
            at += state.millis(500..40_000) * state.jobs.pace;
        };
        then(self, JobState::Queued);
        then(self, JobState::Pending);
        if self.rng.u32(..10) == 0 {
            then(self, JobState::Unknown("NEVER_HEARD_OF".to_owned()));
        }
        then(self, JobState::Running);
        if self.rng.u32(..5) == 0 {
            then(self, JobState::Paused);
            then(self, JobState::Running);
        }
        let pipeline = matches!(kind, JobKind::PipelineJob | JobKind::TrainingPipeline);
        let end = match self.rng.u32(..8) {
            0 => JobState::Failed,
            1 if !pipeline => JobState::Expired,
            2 if !pipeline => JobState::PartiallySucceeded,
            3 => JobState::Cancelled,
            _ => JobState::Succeeded,
        };
        then(self, end);
        plan
    }

    /// The training writes its metrics where its body says, and a number that is its own.
    fn leave_metrics(&mut self, number: usize, kind: JobKind, body: &Value) {
        let pointer = match kind {
            JobKind::CustomJob => "/jobSpec/baseOutputDirectory/outputUriPrefix",
            JobKind::HyperparameterTuningJob => "/trialJobSpec/baseOutputDirectory/outputUriPrefix",
            JobKind::TrainingPipeline => "/trainingTaskInputs/baseOutputDirectory/outputUriPrefix",
            JobKind::PipelineJob => "/runtimeConfig/gcsOutputDirectory",
        };
        let output = body.pointer(pointer).and_then(Value::as_str).expect("an output directory");
        let (bucket, prefix) =
            output.strip_prefix("gs://").expect("a URI").split_once('/').expect("a path");
        let metrics = Bytes::from(format!("{{\"job\": {number}}}"));
        self.buckets.put(bucket, &format!("{prefix}metrics.json"), metrics, Texts::new());
    }

    fn list_jobs(&self, kind: JobKind, parent: &str, filter: &str) -> Vec<Job> {
        let now = self.now();
        let shown = self.jobs.all.iter().filter(|it| it.listed_from <= now && it.job.kind == kind);
        let here = shown.filter(|it| it.job.name.starts_with(parent)).map(|it| it.at(now));
        here.filter(|it| matches(filter, it)).collect()
    }

    fn cancel_job(&mut self, what: &str, name: &str) -> Result<(), Error> {
        let (now, after) = (self.now(), self.millis(500..20_000));
        let cancelled = self.rng.u32(..4) != 0;
        let found = self.jobs.all.iter_mut().find(|it| it.job.name == name);
        let it = found.ok_or_else(|| Error::answered(what, NOT_FOUND, "no such job"))?;
        self.law.cancelled(&it.job);
        if !is_over(&it.at(now).state) {
            it.plan.retain(|(from, _)| *from <= now);
            it.plan.push((now, JobState::Cancelling));
            let end = if cancelled { JobState::Cancelled } else { JobState::Succeeded };
            it.plan.push((now + after, end));
        }
        Ok(())
    }
}

/// The two shapes of filter that are used: labels, and labels with a choice of states.
fn matches(filter: &str, job: &Job) -> bool {
    filter.split(" AND ").all(|term| {
        if let Some(states) = term.strip_prefix('(') {
            let wanted = states.trim_end_matches(')').split(" OR ");
            // A state that is unknown here is none that a filter names.
            return wanted.into_iter().any(|it| {
                it.trim_end_matches('"').ends_with(&format!("STATE_{}", state_name(&job.state)))
            });
        }
        let (label, value) =
            term.strip_prefix("labels.").and_then(|it| it.split_once('=')).expect("a label");
        job.labels.get(label).map(String::as_str) == Some(value.trim_matches('"'))
    })
}

fn state_name(state: &JobState) -> &str {
    match state {
        JobState::Queued => "QUEUED",
        JobState::Pending => "PENDING",
        JobState::Running => "RUNNING",
        JobState::Succeeded => "SUCCEEDED",
        JobState::Failed => "FAILED",
        JobState::Cancelling => "CANCELLING",
        JobState::Cancelled => "CANCELLED",
        JobState::Paused => "PAUSED",
        JobState::Expired => "EXPIRED",
        JobState::Updating => "UPDATING",
        JobState::PartiallySucceeded => "PARTIALLY_SUCCEEDED",
        JobState::Unknown(name) => name,
    }
}

fn as_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("a short time")
}

/// A create call on its way.
#[derive(Clone)]
struct Order {
    kind: JobKind,
    parent: String,
    body: Value,
    id: Option<String>,
}

impl JobsApi for Door {
    fn warm_up<'a>(&'a self, region: &'a str) -> Call<'a, ()> {
        Box::pin(async move { self.call(&format!("warm up {region}"), |_| Ok(())).await })
    }

    fn create<'a>(&'a self, job: CreateJob<'a>) -> Call<'a, Job> {
        Box::pin(async move {
            let order = Order {
                kind: job.kind,
                parent: format!("projects/{}/locations/{}", job.project, job.region),
                body: job.body.clone(),
                id: job.pipeline_job_id.map(str::to_owned),
            };
            let run = job.body["labels"]["branchline-run"].as_str().unwrap_or("-");
            let what = format!("create {} {run}", job.kind.key());
            let late = || Err(Error::late(what.as_str(), Duration::ZERO));
            let sent = Sent { door: self, what: &what, order, open: AtomicBool::new(true) };
            let once = |state: &mut State| {
                // One POST: nobody repeats it. A request that names its job is safe to
                // repeat, and a proxy on the way may do so.
                let first = sent.open.swap(false, Ordering::Relaxed);
                if !first && sent.order.id.is_none() {
                    return late();
                }
                state.create_job(&what, &sent.order)
            };
            let time_max = job.deadline.saturating_duration_since(Instant::now());
            if time_max.is_zero() {
                return late();
            }
            match timeout(time_max, self.call(&what, once)).await {
                Ok(answer) => {
                    sent.open.store(false, Ordering::Relaxed);
                    answer
                }
                Err(_) => late(),
            }
        })
    }

    fn get<'a>(&'a self, _kind: JobKind, name: &'a str) -> Call<'a, Job> {
        Box::pin(async move {
            let what = format!("get {name}");
            self.call(&what, |state| {
                let found = state.jobs.all.iter().find(|it| it.job.name == name);
                let job = found.map(|it| it.at(state.now()));
                job.ok_or_else(|| Error::answered(what.as_str(), NOT_FOUND, "no such job"))
            })
            .await
        })
    }

    fn list<'a>(
        &'a self,
        kind: JobKind,
        project: &'a str,
        region: &'a str,
        filter: &'a str,
        page_token: Option<String>,
    ) -> Call<'a, JobPage> {
        Box::pin(async move {
            let parent = format!("projects/{project}/locations/{region}");
            let what = format!("list {} {filter}", kind.collection());
            self.call(&what, |state| {
                // A page may be empty and not be the last.
                if page_token.is_none() && state.rng.u32(..4) == 0 {
                    return Ok(JobPage { jobs: Vec::new(), next: Some("more".to_owned()) });
                }
                Ok(JobPage { jobs: state.list_jobs(kind, &parent, filter), next: None })
            })
            .await
        })
    }

    fn cancel<'a>(&'a self, _kind: JobKind, name: &'a str) -> Call<'a, ()> {
        Box::pin(async move {
            let what = format!("cancel {name}");
            self.call(&what, |state| state.cancel_job(&what, name)).await
        })
    }
}

/// A request whose sender may give up or die while it is on its way: it may arrive all the same.
struct Sent<'a> {
    door: &'a Door,
    what: &'a str,
    order: Order,
    /// It has neither arrived nor been answered for.
    open: AtomicBool,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if !self.open.load(Ordering::Relaxed) {
            return;
        }
        let (world, what) = (self.door.world.clone(), self.what.to_owned());
        let order = self.order.clone();
        let lag = {
            let mut state = world.state();
            if state.rng.bool() {
                return;
            }
            let lag = as_millis(state.jobs.wire_lag);
            Duration::from_millis(state.rng.u64(0..=lag))
        };
        tokio::spawn(async move {
            sleep(lag).await;
            let mut state = world.state();
            let created = state.create_job(&what, &order).is_ok();
            state.note(format_args!("{what}: arrived late, created: {created}"));
        });
    }
}
