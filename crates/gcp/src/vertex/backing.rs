//! The custom jobs that a job of another kind runs: what they print is logged under their ids.

use crate::call::{CALL_TIME_MAX, Call, bounded};
use branchline_contract::JobKind;
use google_cloud_aiplatform_v1::model::{PipelineJob, pipeline_task_executor_detail::Details};
use tracing::instrument;

use super::{Clients, Vertex};

impl Vertex {
    /// The resource names of the custom jobs that a job runs, as far as it tells by now. A custom
    /// job runs no other one.
    #[instrument(name = "vertex.custom_jobs", skip_all, fields(vertex.job = name))]
    pub fn custom_jobs<'a>(&'a self, kind: JobKind, name: &'a str) -> Call<'a, Vec<String>> {
        Box::pin(async move {
            let doing = format!("reading {name}");
            let Clients { jobs, pipelines } = self.clients_of(kind, name, &doing).await?;
            let call = async {
                let found = match kind {
                    JobKind::CustomJob => Vec::new(),
                    JobKind::HyperparameterTuningJob => {
                        let job =
                            jobs.get_hyperparameter_tuning_job().set_name(name).send().await?;
                        job.trials.into_iter().map(|it| it.custom_job).collect()
                    }
                    JobKind::TrainingPipeline => {
                        let job = pipelines.get_training_pipeline().set_name(name).send().await?;
                        let metadata = job.training_task_metadata.unwrap_or_default();
                        let backing = metadata["backingCustomJob"].as_str().map(str::to_owned);
                        backing.into_iter().collect()
                    }
                    JobKind::PipelineJob => {
                        of_tasks(pipelines.get_pipeline_job().set_name(name).send().await?)
                    }
                };
                Ok(found.into_iter().filter(|it: &String| !it.is_empty()).collect())
            };
            bounded(doing, CALL_TIME_MAX, call).await
        })
    }
}

/// A task that was tried again has had other jobs before.
fn of_tasks(job: PipelineJob) -> Vec<String> {
    let tasks = job.job_detail.map(|it| it.task_details).unwrap_or_default();
    let details = tasks.into_iter().filter_map(|it| it.executor_detail?.details);
    let jobs = details.flat_map(|it| match it {
        Details::ContainerDetail(it) => {
            let mut all = it.failed_main_jobs;
            all.push(it.main_job);
            all
        }
        Details::CustomJobDetail(it) => {
            let mut all = it.failed_jobs;
            all.push(it.job);
            all
        }
        // Google may add executors; one that is not known has no job here.
        _ => Vec::new(),
    });
    jobs.collect()
}
