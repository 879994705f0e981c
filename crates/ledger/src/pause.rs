//! Paused domains: an object `pauses/<project>/<region>` each, beside the
//! queue. Who asked, and why, is in its metadata, so that one listing tells all.

use std::collections::BTreeMap;
use std::sync::Arc;

use branchline_contract::{CloudProject, Region, Vertex};
use branchline_gcp::storage::{List, Object, Objects};
use branchline_gcp::{Class, Error as GcpError};
use bytes::Bytes;
use jiff::Timestamp;

const PREFIX: &str = "pauses/";
const ACTOR: &str = "actor";
const REASON: &str = "reason";
const REQUEST: &str = "request";
const ASKED_AT: &str = "asked-at";

/// The pauses in the queue's bucket.
#[derive(Clone)]
pub struct Pauses {
    storage: Arc<dyn Objects>,
    bucket: String,
}

/// Why nothing is dispatched in a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Who asked for it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The request that it answers.
    pub request: String,
    /// When Cloud Storage took that request in.
    pub asked_at: Option<Timestamp>,
}

/// A pause that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// What it says.
    pub pause: Pause,
    generation: i64,
}

impl Pauses {
    /// The pauses in that bucket.
    pub const fn new(storage: Arc<dyn Objects>, bucket: String) -> Self {
        Self { storage, bucket }
    }

    /// Every pause that is in force.
    pub async fn list(&self) -> Result<BTreeMap<Vertex, InForce>, GcpError> {
        let mut pauses = BTreeMap::new();
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
            pauses.extend(page.objects.into_iter().filter_map(read));
            token = page.next;
            if token.is_none() {
                return Ok(pauses);
            }
        }
    }

    /// Puts a pause in force; `None` when one is in force already.
    pub async fn begin(&self, domain: &Vertex, pause: Pause) -> Result<Option<InForce>, GcpError> {
        let mut metadata = BTreeMap::from([
            (ACTOR.to_owned(), pause.actor.clone()),
            (REASON.to_owned(), pause.reason.clone()),
            (REQUEST.to_owned(), pause.request.clone()),
        ]);
        metadata.extend(pause.asked_at.map(|it| (ASKED_AT.to_owned(), it.to_string())));
        let name = object(domain);
        match self.storage.create(&self.bucket, &name, Bytes::new(), metadata).await {
            Ok(object) => Ok(Some(InForce { pause, generation: object.generation })),
            Err(error) if error.class() == Class::Conflict => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lifts that pause, and no other that took its place.
    pub async fn end(&self, domain: &Vertex, pause: &InForce) -> Result<(), GcpError> {
        match self.storage.delete(&self.bucket, &object(domain), pause.generation).await {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.class(), Class::NotFound | Class::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn object(domain: &Vertex) -> String {
    format!("{PREFIX}{}/{}", domain.project, domain.region)
}

/// `None` for an object whose name is no domain: nothing can be dispatched there anyway.
fn read(object: Object) -> Option<(Vertex, InForce)> {
    let (project, region) = object.name.strip_prefix(PREFIX)?.split_once('/')?;
    let domain =
        Vertex { project: CloudProject::parse(project).ok()?, region: Region::parse(region).ok()? };
    let mut metadata = object.metadata;
    let mut text = |key: &str| metadata.remove(key).unwrap_or_default();
    let pause = Pause {
        actor: text(ACTOR),
        reason: text(REASON),
        request: text(REQUEST),
        asked_at: text(ASKED_AT).parse().ok(),
    };
    Some((domain, InForce { pause, generation: object.generation }))
}
