//! Filters in Cloud Logging's query language. Pure.

use branchline_contract::JobKind;
use jiff::Timestamp;

/// Custom jobs that one filter asks for; Cloud Logging takes 20,000 characters.
const JOBS_MAX: usize = 200;

/// The entries of a job and of the custom jobs that it runs, by their resource names; of many, in
/// several filters. A name that no resource of Vertex AI can have is left out; without any, there is
/// no filter.
///
/// Every comparison is written out: a bare value behind an OR would match any field.
pub fn of_jobs(kind: JobKind, job: &str, custom_jobs: &[String]) -> Vec<String> {
    let own = match kind {
        JobKind::CustomJob | JobKind::HyperparameterTuningJob | JobKind::TrainingPipeline => {
            id(job).map(ml_job)
        }
        JobKind::PipelineJob => id(job).map(|id| {
            format!(
                "(resource.type=\"aiplatform.googleapis.com/PipelineJob\" \
                 AND resource.labels.pipeline_job_id=\"{id}\")"
            )
        }),
    };
    let custom_jobs = custom_jobs.iter().filter_map(|it| id(it)).map(ml_job);
    let all: Vec<_> = own.into_iter().chain(custom_jobs).collect();
    all.chunks(JOBS_MAX).map(|it| format!("({})", it.join(" OR "))).collect()
}

/// The same entries, as far as they are that new: by the clock of whoever wrote them, and by the
/// time when Cloud Logging got them.
pub fn since(filter: &str, written: Option<Timestamp>, received: Option<Timestamp>) -> String {
    let written = written.map(|it| format!(" AND timestamp>=\"{it}\""));
    let received = received.map(|it| format!(" AND receiveTimestamp>=\"{it}\""));
    let [written, received] = [written, received].map(Option::unwrap_or_default);
    format!("{filter}{written}{received}")
}

fn ml_job(id: &str) -> String {
    format!("(resource.type=\"ml_job\" AND resource.labels.job_id=\"{id}\")")
}

/// The last part of a resource name, if nothing in it could end the quotes.
fn id(name: &str) -> Option<&str> {
    let id = name.rsplit('/').next()?;
    let fits = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
    ((1..=128).contains(&id.len()) && id.chars().all(fits)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_the_job_and_the_custom_jobs_that_it_runs() {
        let name = |collection: &str, id: &str| format!("projects/1/locations/r/{collection}/{id}");
        let ml =
            |id: &str| format!("(resource.type=\"ml_job\" AND resource.labels.job_id=\"{id}\")");
        let pipeline = "(resource.type=\"aiplatform.googleapis.com/PipelineJob\" \
                        AND resource.labels.pipeline_job_id=\"iris-1\")";
        let children = [name("customJobs", "7"), name("customJobs", "8\" OR \""), String::new()];
        let cases = [
            (JobKind::CustomJob, name("customJobs", "5"), &[][..], Some(ml("5"))),
            (
                JobKind::HyperparameterTuningJob,
                name("hyperparameterTuningJobs", "5"),
                &children[..],
                Some(format!("{} OR {}", ml("5"), ml("7"))),
            ),
            (
                JobKind::TrainingPipeline,
                name("trainingPipelines", "5"),
                &children[..1],
                Some(format!("{} OR {}", ml("5"), ml("7"))),
            ),
            (
                JobKind::PipelineJob,
                name("pipelineJobs", "iris-1"),
                &children[..1],
                Some(format!("{pipeline} OR {}", ml("7"))),
            ),
            (JobKind::CustomJob, name("customJobs", "\" OR \""), &[][..], None),
        ];
        for (kind, job, custom_jobs, expected) in cases {
            let filters = of_jobs(kind, &job, custom_jobs);
            let expected: Vec<_> = expected.iter().map(|it| format!("({it})")).collect();
            assert_eq!(filters, expected, "{job}");
        }
    }

    #[test]
    fn a_filter_stays_below_what_cloud_logging_takes_and_all_of_them_name_every_job() {
        let jobs: Vec<_> = (0..5_000).map(|it| format!("customJobs/{it:019}")).collect();
        let filters = of_jobs(JobKind::HyperparameterTuningJob, "1", &jobs);
        let named: usize = filters.iter().map(|it| it.matches("resource.type").count()).sum();
        assert_eq!(named, 5_001);
        let end = " AND timestamp>=\"1970-01-01T00:00:00Z\" AND receiveTimestamp>=\"1970-01-01T00:00:00Z\"";
        for filter in filters {
            let filter = since(&filter, Some(Timestamp::UNIX_EPOCH), Some(Timestamp::UNIX_EPOCH));
            assert!(filter.len() < 20_000 && filter.ends_with(end), "{}: {filter}", filter.len());
        }
    }
}
