//! What a job left behind: its metrics and its model.

use std::collections::BTreeMap;

use branchline_gcp::storage::{List, Objects};
use branchline_gcp::vertex::Job;
use branchline_gcp::{Class, Error};

use crate::metrics;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// What Vertex AI knows, and `metrics.json` of the output directory over it.
    pub(crate) metrics: BTreeMap<String, f64>,
    /// Where the model lies, or its name in Vertex AI's registry.
    pub(crate) model_uri: Option<String>,
    /// Why `metrics.json` was not taken, though it is there.
    pub(crate) problem: Option<String>,
}

/// Reads the answer of Vertex AI and the output directory of the job's own intent, and nothing else.
pub(crate) async fn read(
    storage: &dyn Objects,
    output: Option<&str>,
    job: &Job,
) -> Result<Results, Error> {
    let mut results =
        Results { metrics: job.metrics.clone(), model_uri: job.model.clone(), problem: None };
    let place = output.and_then(|it| it.strip_prefix("gs://")?.split_once('/'));
    let Some((bucket, directory)) = place else {
        return Ok(results);
    };
    match metrics_file(storage, bucket, directory).await? {
        Ok(found) => results.metrics.extend(found),
        Err(problem) => results.problem = Some(problem),
    }
    if results.model_uri.is_none() {
        // Each trial of a tuning job has a directory of its own.
        let trial = job.best_trial.as_ref().map(|it| format!("{it}/")).unwrap_or_default();
        let prefix = format!("{directory}{trial}model/");
        let list = List { bucket, prefix: &prefix, start: None, page_token: None, page_size: 1 };
        match storage.list(list).await {
            Ok(page) if page.objects.is_empty() => {}
            Ok(_) => results.model_uri = Some(format!("gs://{bucket}/{prefix}")),
            Err(error) => {
                let problem = unreadable("the model was not looked for", error)?;
                results.problem.get_or_insert(problem);
            }
        }
    }
    Ok(results)
}

/// The numbers of `metrics.json`, none when it is missing, or what is wrong with it.
async fn metrics_file(
    storage: &dyn Objects,
    bucket: &str,
    directory: &str,
) -> Result<Result<BTreeMap<String, f64>, String>, Error> {
    let file = format!("{directory}metrics.json");
    match storage.read(bucket, &file, None, metrics::BYTES_MAX).await {
        Ok((_, bytes)) => Ok(metrics::parse(&bytes)),
        Err(error) => match error.class() {
            Class::NotFound => Ok(Ok(BTreeMap::new())),
            Class::Refused
            | Class::Permission
            | Class::Conflict
            | Class::Quota
            | Class::Transient => unreadable("metrics.json was not read", error).map(Err),
        },
    }
}

/// What is said of something that cannot be read, so that a job which was paid
/// for ends its run; what passes is an error, and tried again.
fn unreadable(what: &str, error: Error) -> Result<String, Error> {
    match error.class() {
        Class::Refused | Class::Permission | Class::NotFound => {
            Ok(format!("{what}: {}", error.message()))
        }
        Class::Conflict | Class::Quota | Class::Transient => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_never_be_read_ends_the_run_and_what_passes_is_tried_again() {
        // The codes are those of `google.rpc`.
        let cases = [
            ("no right", 7, true),
            ("no bucket", 5, true),
            ("wrong name", 3, true),
            ("unavailable", 14, false),
            ("too much", 8, false),
        ];
        for (name, code, ends) in cases {
            let said =
                unreadable("the model was not looked for", Error::answered("listing", code, name));
            assert_eq!(said.is_ok(), ends, "{name}");
            assert!(said.map_or(true, |it| it.ends_with(name)), "{name}");
        }
    }
}
