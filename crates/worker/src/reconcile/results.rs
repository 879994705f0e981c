//! What a job left behind: its metrics and its model.

use std::collections::BTreeMap;

use branchline_contract::Crc32c;
use branchline_gcp::storage::{List, Object, Objects};
use branchline_gcp::vertex::Job;
use branchline_gcp::{Class, Error};
use branchline_ledger::ModelFile;

use crate::metrics;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// What Vertex AI knows, and `metrics.json` of the output directory over it.
    pub(crate) metrics: BTreeMap<String, f64>,
    /// Where the model lies, or its name in Vertex AI's registry.
    pub(crate) model_uri: Option<String>,
    /// Its files, where it lies in the output directory.
    pub(crate) model_files: Vec<ModelFile>,
    /// Why `metrics.json` or the model's files were not taken, though they are there.
    pub(crate) problem: Option<String>,
}

/// Reads the answer of Vertex AI and the output directory of the job's own intent, and nothing else.
pub(crate) async fn read(
    storage: &dyn Objects,
    output: Option<&str>,
    job: &Job,
) -> Result<Results, Error> {
    let mut results = Results {
        metrics: job.metrics.clone(),
        model_uri: job.model.clone(),
        ..Results::default()
    };
    let place = output.and_then(|it| it.strip_prefix("gs://")?.split_once('/'));
    let Some((bucket, directory)) = place else {
        return Ok(results);
    };
    match metrics_file(storage, bucket, directory).await? {
        Ok(found) => results.metrics.extend(found),
        Err(problem) => results.problem = Some(problem),
    }
    // Each trial of a tuning job has a directory of its own.
    let trial = job.best_trial.as_ref().map(|it| format!("{it}/")).unwrap_or_default();
    let name = match &results.model_uri {
        None => Some(format!("{directory}{trial}model/")),
        Some(uri) => uri
            .strip_prefix(&format!("gs://{bucket}/"))
            .filter(|it| it.starts_with(directory))
            .map(str::to_owned),
    };
    let Some(name) = name else { return Ok(results) };
    let found = match objects(storage, bucket, &name).await {
        Ok(objects) if objects.is_empty() => Ok(()),
        Ok(objects) => {
            results.model_uri.get_or_insert_with(|| format!("gs://{bucket}/{name}"));
            files(objects).map(|it| results.model_files = it)
        }
        Err(error) => Err(unreadable("the model was not looked for", error)?),
    };
    if let Err(problem) = found {
        results.problem.get_or_insert(problem);
    }
    Ok(results)
}

/// The objects of a directory, as far as they can be on record, and some of the rest. A name that
/// does not say that it is one may be an object's.
async fn objects(storage: &dyn Objects, bucket: &str, name: &str) -> Result<Vec<Object>, Error> {
    let directory = name.trim_end_matches('/');
    let prefix = &format!("{directory}/");
    let (mut objects, mut page_token) = (Vec::new(), None);
    while objects.len() <= ModelFile::COUNT_MAX {
        let list = List { bucket, prefix, start: None, page_token, page_size: 1_000 };
        let page = storage.list(list).await?;
        objects.extend(page.objects);
        page_token = page.next;
        if page_token.is_none() {
            break;
        }
    }
    if objects.is_empty() && directory == name {
        match storage.stat(bucket, name, None).await {
            Ok(object) => objects.push(object),
            Err(error) if error.class() == Class::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(objects)
}

/// The files of a model, or why they are not on record.
fn files(objects: Vec<Object>) -> Result<Vec<ModelFile>, String> {
    if objects.len() > ModelFile::COUNT_MAX {
        let max = ModelFile::COUNT_MAX;
        return Err(format!("the model has more than {max} files, so none of them is on record"));
    }
    let pinned = |it: Object| {
        // Consoles and mounted buckets leave these for directories.
        if it.name.ends_with('/') && it.size == 0 {
            return None;
        }
        let Some((crc32c, size)) = it.crc32c.zip(u64::try_from(it.size).ok()) else {
            return Some(Err(format!("the model is not on record: {} has no CRC32C", it.name)));
        };
        let crc32c = Crc32c(crc32c);
        Some(Ok(ModelFile { object: it.name, generation: it.generation, size, crc32c }))
    };
    objects.into_iter().filter_map(pinned).collect()
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
