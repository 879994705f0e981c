//! Copies what was verified into a bucket that CI cannot write, for the job to read.
//!
//! A copy is made once, of the very generation that was verified, to a place that only this run
//! has. Whoever finds one there has lost a race or goes on after a crash, and compares it.

mod literal;
mod place;

use std::time::Duration;

use branchline_contract::Artifact;
use branchline_gcp::storage::{Objects, Source};
use branchline_gcp::{Class, Error};
use branchline_ledger::Run;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::timeout;
use tracing::info;

use crate::verify;

pub(crate) use literal::problems;

const COPIES_AT_ONCE: usize = 8;
/// A message is not held for much longer; what was copied by then stays.
const TIME_MAX: Duration = Duration::from_mins(30);

/// The copies of all objects, in their order, or everything that is against them.
type Staged = Result<Vec<Artifact>, Vec<String>>;

/// Makes sure that there is a copy of every object of the run.
pub(crate) async fn stage(
    storage: &dyn Objects,
    bucket: &str,
    run: &Run,
    read_contents: bool,
) -> Result<Staged, Error> {
    let objects = &run.request.artifacts;
    let copies: Vec<_> =
        objects.iter().map(|it| copy(storage, bucket, run, it, read_contents)).collect();
    let copies = stream::iter(copies).buffered(COPIES_AT_ONCE).try_collect();
    let copies: Vec<Result<Artifact, String>> =
        timeout(TIME_MAX, copies).await.unwrap_or_else(|_| {
            Err(Error::late(format!("staging the inputs of {}", run.id), TIME_MAX))
        })?;
    let (staged, refused): (Vec<_>, Vec<_>) = copies.into_iter().partition(Result::is_ok);
    if refused.is_empty() {
        info!(objects = staged.len(), "inputs staged");
        return Ok(Ok(staged.into_iter().flatten().collect()));
    }
    Ok(Err(refused.into_iter().filter_map(Result::err).collect()))
}

/// The copy of one object, or what is against it.
async fn copy(
    storage: &dyn Objects,
    bucket: &str,
    run: &Run,
    object: &Artifact,
    read_contents: bool,
) -> Result<Result<Artifact, String>, Error> {
    let mut copy = match place::of(bucket, run, object) {
        Ok(copy) => copy,
        Err(problem) => return Ok(Err(problem)),
    };
    let source = Source {
        bucket: object.uri.bucket(),
        name: object.uri.object(),
        generation: object.generation,
    };
    let difference = match storage.copy(source, bucket, copy.uri.object()).await {
        Ok(made) => {
            copy.generation = made.generation;
            verify::compare(&copy, &made)
        }
        // Cloud Storage does not say what of the two it was, nor need it look for a copy in the way
        // before it refuses to replace one: what is there tells.
        Err(error)
            if matches!(error.class(), Class::Conflict | Class::NotFound | Class::Permission) =>
        {
            match storage.stat(bucket, copy.uri.object(), None).await {
                Ok(there) => {
                    copy.generation = there.generation;
                    verify::difference(storage, &copy, read_contents).await?
                }
                Err(missing) if missing.class() == Class::NotFound => {
                    // Where the source is as it was, something else is wrong.
                    Some(verify::difference(storage, object, false).await?.ok_or(error)?)
                }
                Err(error) => return Err(error),
            }
        }
        Err(error) if error.class() == Class::Refused => {
            let Artifact { name, uri, .. } = object;
            Some(format!("artifact {name}: {uri} cannot be copied: {}", error.message()))
        }
        Err(error) => return Err(error),
    };
    Ok(difference.map_or(Ok(copy), Err))
}
