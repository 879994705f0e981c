//! Where jobs of this installation may be: an object `places/<project>/<region>/<kind>`
//! each, beside the queue, made in the round behind the first create call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use branchline_contract::{JobKind, Vertex};
use branchline_gcp::Error as GcpError;
use branchline_gcp::storage::Objects;
use bytes::Bytes;

use crate::bucket::Bucket;

const PREFIX: &str = "places/";

/// One collection of jobs.
pub type Place = (Vertex, JobKind);

/// The places in the queue's bucket.
#[derive(Clone)]
pub struct Places(Bucket);

impl Places {
    /// The places in that bucket.
    pub const fn new(storage: Arc<dyn Objects>, bucket: String) -> Self {
        Self(Bucket::new(storage, bucket))
    }

    /// Remembers a place.
    pub async fn add(&self, (domain, kind): &Place) -> Result<(), GcpError> {
        let name = format!("{PREFIX}{domain}/{}", kind.key());
        self.0.create(&name, Bytes::new(), BTreeMap::new()).await.map(drop)
    }

    /// Every place.
    pub async fn list(&self) -> Result<BTreeSet<Place>, GcpError> {
        let objects = self.0.list(PREFIX, usize::MAX).await?;
        Ok(objects.iter().filter_map(|it| parse(&it.name)).collect())
    }
}

fn parse(object: &str) -> Option<Place> {
    let (domain, kind) = object.strip_prefix(PREFIX)?.rsplit_once('/')?;
    let kind = JobKind::ALL.into_iter().find(|it| it.key() == kind)?;
    Some((domain.parse().ok()?, kind))
}
