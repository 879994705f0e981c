//! The newest pipeline that superseded others: an object `newest/<GitLab project
//! id>/<run name>/<hash of host and ref>` each, beside the queue. It outlives the
//! run, so that an older pipeline's run is recognised however late it comes.

use std::collections::BTreeMap;
use std::sync::Arc;

use branchline_contract::{CommitSha, RunId, Sha256};
use branchline_gcp::storage::{List, Object, Objects};
use branchline_gcp::{Class, Error as GcpError};
use bytes::Bytes;

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
pub struct Newests {
    storage: Arc<dyn Objects>,
    bucket: String,
}

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
        Self { storage, bucket }
    }

    /// Every line that was ever superseded.
    pub async fn list(&self) -> Result<BTreeMap<Line, Newest>, GcpError> {
        let mut newests = BTreeMap::new();
        let mut token = None;
        loop {
            let page = self
                .storage
                .list(List {
                    bucket: &self.bucket,
                    prefix: PREFIX,
                    start: None,
                    page_token: token,
                    page_size: 1_000,
                })
                .await?;
            for object in page.objects {
                if let Some(newest) = Newest::read(&object) {
                    newests.insert(Line(object.name), newest);
                }
            }
            token = page.next;
            if token.is_none() {
                return Ok(newests);
            }
        }
    }

    /// Puts `newest` on record unless a newer one is, and tells the one that is then.
    /// `None` where too many write at once.
    pub async fn raise(&self, line: &Line, newest: Newest) -> Result<Option<Newest>, GcpError> {
        let (bucket, name) = (self.bucket.as_str(), line.0.as_str());
        for _ in 0..UPDATES_MAX {
            let written = match self.storage.stat(bucket, name, None).await {
                Ok(object) => match Newest::read(&object) {
                    Some(known) if known.pipeline_id >= newest.pipeline_id => {
                        return Ok(Some(known));
                    }
                    Some(_) | None => {
                        let version = object.metageneration;
                        self.storage.set_metadata(bucket, name, version, newest.metadata()).await
                    }
                },
                Err(error) if error.class() == Class::NotFound => {
                    self.storage.create(bucket, name, Bytes::new(), newest.metadata()).await
                }
                Err(error) => return Err(error),
            };
            match written {
                Ok(_) => return Ok(Some(newest)),
                Err(error) if matches!(error.class(), Class::Conflict | Class::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
