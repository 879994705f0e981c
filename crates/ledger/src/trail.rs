//! The facts of all runs as they lie in their bucket, decoded or not: for
//! whoever audits them. It only reads, a page or a few facts at a time.

use std::sync::Arc;

use branchline_contract::RunId;
use branchline_gcp::Error as GcpError;
use branchline_gcp::storage::{Object, Objects};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use crate::bucket::Bucket;
use crate::name::{FACTS, directory};
use crate::store::{FACT_BYTES_MAX, FACTS_MAX, READS_AT_ONCE};

/// The ledger's bucket, for reading.
#[derive(Clone)]
pub struct Trail(Bucket);

/// One object of the ledger, as it lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub object: String,
    /// When Cloud Storage took it in, whatever the fact says.
    pub created: Option<Timestamp>,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl Trail {
    /// The ledger in that bucket.
    pub const fn new(storage: Arc<dyn Objects>, bucket: String) -> Self {
        Self(Bucket::new(storage, bucket))
    }

    /// The GitLab project of a run: two small listings for each project in the ledger.
    pub async fn project_of(&self, run: &RunId) -> Result<Option<u64>, GcpError> {
        let mut start = FACTS.to_owned();
        while let Some(object) = self.0.first(FACTS, &start).await? {
            let project = object.name[FACTS.len()..].split('/').next().unwrap_or_default();
            if let Ok(project_id) = project.parse() {
                let directory = directory(project_id, run);
                if self.0.first(&directory, &directory).await?.is_some() {
                    return Ok(Some(project_id));
                }
            }
            // Behind a directory: 0 is the character that follows the slash.
            start = format!("{FACTS}{project}0");
        }
        Ok(None)
    }

    /// Every object of a run, oldest first.
    pub async fn run(&self, project_id: u64, run: &RunId) -> Result<Vec<Stored>, GcpError> {
        self.run_from(project_id, run, 0).await
    }

    /// The same from a position on, for whoever follows a run.
    pub async fn run_from(
        &self,
        project_id: u64,
        run: &RunId,
        position: usize,
    ) -> Result<Vec<Stored>, GcpError> {
        let objects = self.0.list(&directory(project_id, run), FACTS_MAX).await?;
        let newer = objects.into_iter().skip(position);
        self.read(stream::iter(newer).map(Ok)).try_collect().await
    }

    /// Every object of the ledger, in the order of names: run by run, and oldest first in each.
    pub fn objects(&self) -> impl Stream<Item = Result<Object, GcpError>> + '_ {
        self.below(FACTS.to_owned())
    }

    fn below(&self, prefix: String) -> impl Stream<Item = Result<Object, GcpError>> + '_ {
        let pages = stream::try_unfold(Some((prefix, None)), async |at| {
            let Some((prefix, token)) = at else { return Ok(None) };
            let page = self.0.page(&prefix, None, token).await?;
            Ok::<_, GcpError>(Some((page.objects, page.next.map(|it| (prefix, Some(it))))))
        });
        pages.map_ok(|it| stream::iter(it).map(Ok)).try_flatten()
    }

    /// The objects of each run, in the order of names. A run of more than any has comes in parts.
    pub fn runs(&self) -> impl Stream<Item = Result<Vec<Object>, GcpError>> + '_ {
        self.runs_below(FACTS.to_owned())
    }

    /// The same of one GitLab project.
    pub fn runs_of(
        &self,
        project_id: u64,
    ) -> impl Stream<Item = Result<Vec<Object>, GcpError>> + '_ {
        self.runs_below(format!("{FACTS}{project_id}/"))
    }

    fn runs_below(&self, prefix: String) -> impl Stream<Item = Result<Vec<Object>, GcpError>> + '_ {
        let begin = (Box::pin(self.below(prefix).fuse()), None);
        stream::try_unfold(begin, async |(mut objects, first)| {
            let mut run: Vec<Object> = Vec::from_iter(first);
            loop {
                match objects.try_next().await? {
                    Some(next) if run.is_empty() || goes_on(&run, &next) => run.push(next),
                    None if run.is_empty() => return Ok(None),
                    next => return Ok(Some((run, (objects, next)))),
                }
            }
        })
    }

    /// Reads the objects, some at once, and keeps their order.
    pub fn read<'a>(
        &'a self,
        objects: impl Stream<Item = Result<Object, GcpError>> + 'a,
    ) -> impl Stream<Item = Result<Stored, GcpError>> + 'a {
        objects.map_ok(|it| self.stored(it)).try_buffered(READS_AT_ONCE)
    }

    async fn stored(&self, object: Object) -> Result<Stored, GcpError> {
        let generation = Some(object.generation);
        let bytes = self.0.read(&object.name, generation, FACT_BYTES_MAX).await?;
        Ok(Stored { object: object.name, created: object.created, bytes: bytes.into() })
    }
}

/// Whether an object is the next one of a run.
fn goes_on(run: &[Object], next: &Object) -> bool {
    run.len() < FACTS_MAX && directory_of(&run[0]) == directory_of(next)
}

fn directory_of(object: &Object) -> &str {
    object.name.rsplit_once('/').map_or("", |(directory, _)| directory)
}
