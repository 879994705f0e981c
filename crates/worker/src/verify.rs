//! Whether the announced objects are the ones that lie in Cloud Storage.

use branchline_contract::{Artifact, Crc32c, Sha256};
use branchline_gcp::storage::{Object, Objects};
use branchline_gcp::{Class, Error};
use futures::{StreamExt as _, TryStreamExt as _, stream};

const LOOKS_AT_ONCE: usize = 16;

/// Looks at every object and tells everything that differs, one sentence each.
pub(crate) async fn differences(
    storage: &dyn Objects,
    artifacts: &[Artifact],
    read_contents: bool,
) -> Result<Vec<String>, Error> {
    let looks: Vec<_> = artifacts.iter().map(|it| difference(storage, it, read_contents)).collect();
    let looks = stream::iter(looks).buffered(LOOKS_AT_ONCE);
    let found: Vec<Option<String>> = looks.try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// Looks at one object and tells what differs.
pub(crate) async fn difference(
    storage: &dyn Objects,
    artifact: &Artifact,
    read_contents: bool,
) -> Result<Option<String>, Error> {
    match look(storage, artifact, read_contents).await {
        // What Cloud Storage will never take is wrong with the request.
        Err(error) if error.class() == Class::Refused => {
            let Artifact { name, uri, .. } = artifact;
            Ok(Some(format!("artifact {name}: {uri} cannot be looked at: {}", error.message())))
        }
        looked => looked,
    }
}

async fn look(
    storage: &dyn Objects,
    artifact: &Artifact,
    read_contents: bool,
) -> Result<Option<String>, Error> {
    let (bucket, name) = (artifact.uri.bucket(), artifact.uri.object());
    // Vertex AI reads what is live, so that is what has to be the announced generation:
    // in a bucket with versions the announced one may be there and not be read.
    let live = match storage.stat(bucket, name, None).await {
        Ok(object) => Some(object),
        Err(error) if error.class() == Class::NotFound => None,
        Err(error) => return Err(error),
    };
    let found = live.as_ref().map(|it| it.generation);
    let Some(object) = live.filter(|it| it.generation == artifact.generation) else {
        return Ok(Some(absent(artifact, found)));
    };
    if let Some(difference) = compare(artifact, &object) {
        return Ok(Some(difference));
    }
    match artifact.sha256 {
        Some(announced) if read_contents => {
            let (found, _) = storage.read_sha256(bucket, name, artifact.generation).await?;
            Ok(other(artifact, "sha256", &announced, &Sha256(found)))
        }
        Some(_) | None => Ok(None),
    }
}

fn absent(artifact: &Artifact, live: Option<i64>) -> String {
    let Artifact { name, uri, generation, .. } = artifact;
    match live {
        None => format!("artifact {name}: {uri} does not exist"),
        Some(live) => format!(
            "artifact {name}: {uri} was replaced: generation {live} lies there, and {generation} was announced"
        ),
    }
}

/// What Cloud Storage says of an object against what was announced.
pub(crate) fn compare(artifact: &Artifact, object: &Object) -> Option<String> {
    let crc32c = object.crc32c.map_or_else(|| "none".to_owned(), |it| Crc32c(it).to_string());
    other(artifact, "size", &artifact.size, &object.size)
        .or_else(|| other(artifact, "crc32c", &artifact.crc32c, &crc32c))
}

fn other(
    artifact: &Artifact,
    what: &str,
    announced: &impl ToString,
    found: &impl ToString,
) -> Option<String> {
    let (announced, found) = (announced.to_string(), found.to_string());
    let Artifact { name, uri, .. } = artifact;
    (announced != found).then(|| {
        format!("artifact {name}: {uri} has {what} {found}, and {announced} was announced")
    })
}
