//! Where jobs of this installation may be: an object `places/<project>/<region>/<kind>`
//! each, beside the queue, made in the round behind the first create call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use branchline_contract::{CloudProject, JobKind, Region, Vertex};
use branchline_gcp::storage::{List, Objects};
use branchline_gcp::{Class, Error as GcpError};
use bytes::Bytes;

const PREFIX: &str = "places/";

/// One collection of jobs.
pub type Place = (Vertex, JobKind);

/// The places in the queue's bucket.
#[derive(Clone)]
pub struct Places {
    storage: Arc<dyn Objects>,
    bucket: String,
}

impl Places {
    /// The places in that bucket.
    pub const fn new(storage: Arc<dyn Objects>, bucket: String) -> Self {
        Self { storage, bucket }
    }

    /// Remembers a place.
    pub async fn add(&self, (domain, kind): &Place) -> Result<(), GcpError> {
        let name = format!("{PREFIX}{}/{}/{}", domain.project, domain.region, kind.key());
        match self.storage.create(&self.bucket, &name, Bytes::new(), BTreeMap::new()).await {
            Ok(_) => Ok(()),
            Err(error) if error.class() == Class::Conflict => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Every place.
    pub async fn list(&self) -> Result<BTreeSet<Place>, GcpError> {
        let mut places = BTreeSet::new();
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
            places.extend(page.objects.iter().filter_map(|it| parse(&it.name)));
            token = page.next;
            if token.is_none() {
                return Ok(places);
            }
        }
    }
}

fn parse(object: &str) -> Option<Place> {
    let mut parts = object.strip_prefix(PREFIX)?.splitn(3, '/');
    let domain = Vertex {
        project: CloudProject::parse(parts.next()?).ok()?,
        region: Region::parse(parts.next()?).ok()?,
    };
    let kind = parts.next()?;
    Some((domain, JobKind::ALL.into_iter().find(|it| it.key() == kind)?))
}
