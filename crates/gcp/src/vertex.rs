//! Vertex AI: create, read, list and cancel the four kinds of training jobs.
//!
//! A create is one POST. It is never repeated here, because a job may exist
//! after any failure that is not [`definite`](crate::Error::definite).

mod backing;
mod body;
mod job;
mod name;

pub use job::{Job, JobError, JobState};

use crate::call::{CALL_TIME_MAX, Call, Observer, RETRY_TIME_MAX, bounded};
use crate::config::Config;
use crate::error::{Error, Result};
use body::parse;
use branchline_contract::JobKind;
use google_cloud_aiplatform_v1::client::{JobService, PipelineService};
use google_cloud_aiplatform_v1::model;
use google_cloud_auth::credentials::Credentials;
use google_cloud_gax::options::RequestOptionsBuilder as _;
use google_cloud_gax::retry_policy::{Aip194Strict, NeverRetry, RetryPolicyExt as _};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tracing::instrument;

/// Jobs per page of a list.
const PAGE_SIZE: i32 = 100;

/// Vertex AI in every region.
#[derive(Clone, Debug)]
pub struct Vertex {
    config: Config,
    credentials: Credentials,
    regions: Arc<Mutex<HashMap<String, Clients>>>,
    observer: Observer,
}

/// The clients of one region.
#[derive(Clone, Debug)]
struct Clients {
    jobs: JobService,
    pipelines: PipelineService,
}

/// What to create.
#[derive(Clone, Copy, Debug)]
pub struct CreateJob<'a> {
    /// Which collection it goes to.
    pub kind: JobKind,
    /// The project that pays.
    pub project: &'a str,
    /// Where it runs.
    pub region: &'a str,
    /// The resource in Vertex AI's own JSON.
    pub body: &'a Value,
    /// The id of a pipeline job; no other kind can have one.
    pub pipeline_job_id: Option<&'a str>,
    /// When the whole call has to be over; behind it nothing is sent.
    pub deadline: Instant,
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// The token of the next page, if there is one.
    pub next: Option<String>,
}

/// The training jobs of Vertex AI: Google's clients answer, or a simulated world.
pub trait Jobs: Send + Sync {
    /// Builds a region's clients and fetches a token, so that a following
    /// [`create`](Self::create) spends none of its deadline on them.
    fn warm_up<'a>(&'a self, region: &'a str) -> Call<'a, ()>;

    /// Creates a job: one POST, bounded by the deadline, never repeated.
    fn create<'a>(&'a self, job: CreateJob<'a>) -> Call<'a, Job>;

    /// Reads a job by its resource name.
    fn get<'a>(&'a self, kind: JobKind, name: &'a str) -> Call<'a, Job>;

    /// One page of the jobs of one kind that match Vertex AI's own `filter`.
    fn list<'a>(
        &'a self,
        kind: JobKind,
        project: &'a str,
        region: &'a str,
        filter: &'a str,
        page_token: Option<String>,
    ) -> Call<'a, JobPage>;

    /// Asks for a job to be cancelled. It may still end in any way.
    fn cancel<'a>(&'a self, kind: JobKind, name: &'a str) -> Call<'a, ()>;
}

impl Vertex {
    /// Finds the credentials; the clients of a region are built when it is used.
    pub fn connect(config: &Config) -> Call<'_, Self> {
        const DOING: &str = "connecting to Vertex AI";
        Box::pin(async move {
            config.check(DOING)?;
            Ok(Self {
                credentials: config.credentials(DOING)?,
                config: config.clone(),
                regions: Arc::default(),
                observer: Observer::default(),
            })
        })
    }

    /// The same, with somebody who is told of its calls.
    #[must_use]
    pub fn observed(self, observer: Observer) -> Self {
        Self { observer, ..self }
    }

    async fn post(&self, job: &CreateJob<'_>, parent: String, doing: &str) -> Result<Job> {
        if job.pipeline_job_id.is_some() && job.kind != JobKind::PipelineJob {
            return Err(Error::refused(doing, "only a pipeline job can be given an id"));
        }
        name::check(doing, job.project, job.region)?;
        let Clients { jobs, pipelines } = self.clients(job.region).await?;
        // The SDK's own default repeats a POST that could not connect.
        macro_rules! send_once {
            ($request:expr) => {{
                let request = $request.set_parent(parent).with_retry_policy(NeverRetry);
                request.with_idempotency(false).send().await.map(Job::from)
            }};
        }
        let sent = match job.kind {
            JobKind::CustomJob => {
                let body: model::CustomJob = parse(job.body, doing)?;
                send_once!(jobs.create_custom_job().set_custom_job(body))
            }
            JobKind::HyperparameterTuningJob => {
                let body: model::HyperparameterTuningJob = parse(job.body, doing)?;
                let request = jobs.create_hyperparameter_tuning_job();
                send_once!(request.set_hyperparameter_tuning_job(body))
            }
            JobKind::TrainingPipeline => {
                let body: model::TrainingPipeline = parse(job.body, doing)?;
                send_once!(pipelines.create_training_pipeline().set_training_pipeline(body))
            }
            JobKind::PipelineJob => {
                let body: model::PipelineJob = parse(job.body, doing)?;
                let request = pipelines.create_pipeline_job().set_pipeline_job(body);
                let id = job.pipeline_job_id.unwrap_or_default();
                send_once!(request.set_pipeline_job_id(id))
            }
        };
        sent.map_err(|source| Error::api(doing, source))
    }

    async fn clients_of(&self, kind: JobKind, name: &str, doing: &str) -> Result<Clients> {
        self.clients(name::region(doing, kind, name)?).await
    }

    async fn clients(&self, region: &str) -> Result<Clients> {
        let mut regions = self.regions.lock().await;
        if let Some(clients) = regions.get(region) {
            return Ok(clients.clone());
        }
        let doing = || format!("connecting to Vertex AI in {region}");
        let jobs = JobService::builder()
            .with_endpoint(self.config.vertex_endpoint(region))
            .with_credentials(self.credentials.clone())
            .with_retry_policy(Aip194Strict.with_time_limit(RETRY_TIME_MAX));
        let pipelines = PipelineService::builder()
            .with_endpoint(self.config.vertex_endpoint(region))
            .with_credentials(self.credentials.clone())
            .with_retry_policy(Aip194Strict.with_time_limit(RETRY_TIME_MAX));
        let clients = Clients {
            jobs: jobs.build().await.map_err(|it| Error::client(doing(), it))?,
            pipelines: pipelines.build().await.map_err(|it| Error::client(doing(), it))?,
        };
        regions.insert(region.to_owned(), clients.clone());
        Ok(clients)
    }
}

impl Jobs for Vertex {
    #[instrument(name = "vertex.warm_up", skip_all, fields(vertex.region = region))]
    fn warm_up<'a>(&'a self, region: &'a str) -> Call<'a, ()> {
        Box::pin(async move {
            let call = async move {
                let doing = format!("fetching credentials for Vertex AI in {region}");
                self.clients(region).await?;
                let token = self.credentials.headers(<_>::default());
                match timeout(RETRY_TIME_MAX, token).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(source)) => Err(Error::api(
                        doing,
                        google_cloud_gax::error::Error::authentication(source),
                    )),
                    Err(_) => Err(Error::late(doing, RETRY_TIME_MAX)),
                }
            };
            self.observer.watch("warm_up", call).await
        })
    }

    #[instrument(name = "vertex.create_job", skip_all, fields(vertex.kind = job.kind.key(), vertex.region = job.region))]
    fn create<'a>(&'a self, job: CreateJob<'a>) -> Call<'a, Job> {
        Box::pin(async move {
            let call = async move {
                let parent = format!("projects/{}/locations/{}", job.project, job.region);
                let doing = format!("creating {} in {parent}", label(job.kind));
                let left = job.deadline.saturating_duration_since(Instant::now());
                // A process that was frozen since must not send what is settled already.
                if left.is_zero() {
                    return Err(Error::overdue(doing));
                }
                match timeout(left, self.post(&job, parent, &doing)).await {
                    Ok(created) => created,
                    Err(_) => Err(Error::late(doing, left)),
                }
            };
            self.observer.watch("create", call).await
        })
    }

    #[instrument(name = "vertex.get_job", skip_all, fields(vertex.job = name))]
    fn get<'a>(&'a self, kind: JobKind, name: &'a str) -> Call<'a, Job> {
        Box::pin(async move {
            let call = async move {
                let doing = format!("reading {name}");
                let Clients { jobs, pipelines } = self.clients_of(kind, name, &doing).await?;
                let call = async {
                    match kind {
                        JobKind::CustomJob => {
                            jobs.get_custom_job().set_name(name).send().await.map(Job::from)
                        }
                        JobKind::HyperparameterTuningJob => jobs
                            .get_hyperparameter_tuning_job()
                            .set_name(name)
                            .send()
                            .await
                            .map(Job::from),
                        JobKind::TrainingPipeline => pipelines
                            .get_training_pipeline()
                            .set_name(name)
                            .send()
                            .await
                            .map(Job::from),
                        JobKind::PipelineJob => {
                            pipelines.get_pipeline_job().set_name(name).send().await.map(Job::from)
                        }
                    }
                };
                bounded(doing, CALL_TIME_MAX, call).await
            };
            self.observer.watch("get", call).await
        })
    }

    #[instrument(name = "vertex.list_jobs", skip_all, fields(vertex.kind = kind.key(), vertex.region = region))]
    fn list<'a>(
        &'a self,
        kind: JobKind,
        project: &'a str,
        region: &'a str,
        filter: &'a str,
        page_token: Option<String>,
    ) -> Call<'a, JobPage> {
        Box::pin(async move {
            let call = async move {
                let parent = format!("projects/{project}/locations/{region}");
                let doing = format!("listing {}s in {parent}", label(kind));
                name::check(&doing, project, region)?;
                let Clients { jobs, pipelines } = self.clients(region).await?;
                let token = page_token.unwrap_or_default();
                // The four requests and answers differ in their types only.
                macro_rules! list {
                    ($request:expr, $jobs:ident) => {{
                        let request = $request.set_parent(parent).set_filter(filter);
                        let request = request.set_page_size(PAGE_SIZE).set_page_token(token);
                        let answer = bounded(doing, CALL_TIME_MAX, request.send()).await?;
                        Ok(JobPage {
                            jobs: answer.$jobs.into_iter().map(Job::from).collect(),
                            next: Some(answer.next_page_token).filter(|it| !it.is_empty()),
                        })
                    }};
                }
                match kind {
                    JobKind::CustomJob => list!(jobs.list_custom_jobs(), custom_jobs),
                    JobKind::HyperparameterTuningJob => {
                        list!(jobs.list_hyperparameter_tuning_jobs(), hyperparameter_tuning_jobs)
                    }
                    JobKind::TrainingPipeline => {
                        list!(pipelines.list_training_pipelines(), training_pipelines)
                    }
                    JobKind::PipelineJob => list!(pipelines.list_pipeline_jobs(), pipeline_jobs),
                }
            };
            self.observer.watch("list", call).await
        })
    }

    #[instrument(name = "vertex.cancel_job", skip_all, fields(vertex.job = name))]
    fn cancel<'a>(&'a self, kind: JobKind, name: &'a str) -> Call<'a, ()> {
        Box::pin(async move {
            let call = async move {
                let doing = format!("cancelling {name}");
                let Clients { jobs, pipelines } = self.clients_of(kind, name, &doing).await?;
                let call = async {
                    match kind {
                        JobKind::CustomJob => jobs.cancel_custom_job().set_name(name).send().await,
                        JobKind::HyperparameterTuningJob => {
                            jobs.cancel_hyperparameter_tuning_job().set_name(name).send().await
                        }
                        JobKind::TrainingPipeline => {
                            pipelines.cancel_training_pipeline().set_name(name).send().await
                        }
                        JobKind::PipelineJob => {
                            pipelines.cancel_pipeline_job().set_name(name).send().await
                        }
                    }
                };
                bounded(doing, CALL_TIME_MAX, call).await
            };
            self.observer.watch("cancel", call).await
        })
    }
}

/// The kind in a sentence.
fn label(kind: JobKind) -> &'static str {
    match kind {
        JobKind::CustomJob => "custom job",
        JobKind::PipelineJob => "pipeline job",
        JobKind::HyperparameterTuningJob => "hyperparameter tuning job",
        JobKind::TrainingPipeline => "training pipeline",
    }
}
