//! The newest pipeline that superseded others: an object `newest/<GitLab project
//! id>/<run name>/<hash of host and ref>` each, beside the queue. It outlives the
//! run, so that an older pipeline's run is recognised however late it comes.

use std::collections::BTreeMap;
use std::sync::Arc;

use branchline_contract::{CommitSha, RunId, Sha256};
use branchline_gcp::Error as GcpError;
use branchline_gcp::storage::{Object, Objects};

use crate::bucket::Bucket;
use crate::run::Run;

const PREFIX: &str = "newest/";
const PIPELINE: &str = "pipeline-id";
const RUN: &str = "run";
const SHA: &str = "sha";
/// Contention on one object is two leaders; more is somebody's loop.
const UPDATES_MAX: u32 = 8;

/// One branch or tag of a project, and one run name. Ordered, and good for nothing else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line(String);

/// What supersedes the older runs of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    /// Its pipeline.
    pub pipeline_id: u64,
    /// Its commit.
    pub sha: CommitSha,
    /// The run.
    pub run: RunId,
}

/// The index in the queue's bucket.
#[derive(Clone)]
pub struct Newests(Bucket);

impl Line {
    /// The line of a run.
    pub fn of(run: &Run) -> Self {
        let gitlab = &run.request.gitlab;
        let hash = Sha256::of(format!("{}\n{}", gitlab.host, gitlab.git_ref).as_bytes());
        Self(format!("{PREFIX}{}/{}/{hash}", gitlab.project_id, run.request.run))
    }
}

impl Newest {
    /// That run.
    pub fn of(run: &Run) -> Self {
        Self {
            pipeline_id: run.pipeline_id,
            sha: run.request.gitlab.sha.clone(),
            run: run.id.clone(),
        }
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (PIPELINE.to_owned(), self.pipeline_id.to_string()),
            (RUN.to_owned(), self.run.to_string()),
            (SHA.to_owned(), self.sha.to_string()),
        ])
    }

    fn read(object: &Object) -> Option<Self> {
        let text = |key: &str| object.metadata.get(key);
        Some(Self {
            pipeline_id: text(PIPELINE)?.parse().ok()?,
            sha: CommitSha::parse(text(SHA)?).ok()?,
            run: RunId::parse(text(RUN)?).ok()?,
        })
    }
}

impl Newests {
    /// The index in that bucket.
    pub const fn new(storage: Arc<dyn Objects>, bucket: String) -> Self {
        Self(Bucket::new(storage, bucket))
    }

    /// Every line that was ever superseded.
    pub async fn list(&self) -> Result<BTreeMap<Line, Newest>, GcpError> {
        let objects = self.0.list(PREFIX, usize::MAX).await?;
        let newest = |it: Object| Newest::read(&it).map(|newest| (Line(it.name), newest));
        Ok(objects.into_iter().filter_map(newest).collect())
    }

    /// Puts `newest` on record unless a newer one is, and tells the one that is then.
    /// `None` where too many write at once.
    pub async fn raise(&self, line: &Line, newest: Newest) -> Result<Option<Newest>, GcpError> {
        for _ in 0..UPDATES_MAX {
            let object = self.0.stat(&line.0).await?;
            let known = object.as_ref().and_then(Newest::read);
            if let Some(known) = known.filter(|it| it.pipeline_id >= newest.pipeline_id) {
                return Ok(Some(known));
            }
            let version = object.map(|it| it.metageneration);
            if self.0.set_metadata(&line.0, version, newest.metadata()).await? {
                return Ok(Some(newest));
            }
        }
        Ok(None)
    }
}
