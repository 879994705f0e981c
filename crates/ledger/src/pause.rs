//! Paused domains: an object `pauses/<project>/<region>` each, beside the queue.
//! It holds the last request that paused or resumed the domain and is never
//! removed, so that a leader that was asleep cannot carry an older one out again.
//! All of it is metadata: one listing tells all.

use std::collections::BTreeMap;
use std::sync::Arc;

use branchline_contract::Vertex;
use branchline_gcp::Error as GcpError;
use branchline_gcp::storage::{Object, Objects};
use jiff::Timestamp;

use crate::bucket::Bucket;

const PREFIX: &str = "pauses/";
const ACTOR: &str = "actor";
const REASON: &str = "reason";
const REQUEST: &str = "request";
const ASKED_AT: &str = "asked-at";
const OVER: &str = "over";
/// Contention on one object is two leaders; more is somebody's loop.
const UPDATES_MAX: u32 = 8;

/// The pauses in the queue's bucket.
#[derive(Clone)]
pub struct Pauses(Bucket);

/// What was asked of a domain last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Which request that was.
    pub order: Order,
    /// Whether it resumed the domain.
    pub is_over: bool,
    /// Who asked for it.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// Requests are ordered by the time at which Cloud Storage took them in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order {
    /// That time.
    pub asked_at: Option<Timestamp>,
    /// Name of the request.
    pub request: String,
}

/// What became of a pause or its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It stands, in place of this.
    Stands(Option<Pause>),
    /// It came too late: this was asked for since.
    Late(Pause),
}

impl Pauses {
    /// The pauses in that bucket.
    pub const fn new(storage: Arc<dyn Objects>, bucket: String) -> Self {
        Self(Bucket::new(storage, bucket))
    }

    /// Every domain that is paused.
    pub async fn list(&self) -> Result<BTreeMap<Vertex, Pause>, GcpError> {
        let objects = self.0.list(PREFIX, usize::MAX).await?;
        // An object whose name is no domain pauses nothing: nothing can be dispatched there.
        let pause =
            |it: Object| Some((it.name.strip_prefix(PREFIX)?.parse().ok()?, Pause::read(it)));
        Ok(objects.into_iter().filter_map(pause).filter(|(_, it)| !it.is_over).collect())
    }

    /// Pauses or resumes a domain, unless something was asked for since. `None`
    /// where too many write at once.
    pub async fn apply(&self, domain: &Vertex, pause: &Pause) -> Result<Option<Applied>, GcpError> {
        let name = format!("{PREFIX}{domain}");
        for _ in 0..UPDATES_MAX {
            let object = self.0.stat(&name).await?;
            let version = object.as_ref().map(|it| it.metageneration);
            let before = object.map(Pause::read);
            match before {
                Some(since) if since.order > pause.order => return Ok(Some(Applied::Late(since))),
                Some(_) | None => {}
            }
            if self.0.set_metadata(&name, version, pause.metadata()).await? {
                return Ok(Some(Applied::Stands(before)));
            }
        }
        Ok(None)
    }
}

impl Pause {
    fn metadata(&self) -> BTreeMap<String, String> {
        let mut metadata = BTreeMap::from([
            (ACTOR.to_owned(), self.actor.clone()),
            (REASON.to_owned(), self.reason.clone()),
            (REQUEST.to_owned(), self.order.request.clone()),
            (OVER.to_owned(), self.is_over.to_string()),
        ]);
        metadata.extend(self.order.asked_at.map(|it| (ASKED_AT.to_owned(), it.to_string())));
        metadata
    }

    fn read(object: Object) -> Self {
        let mut metadata = object.metadata;
        let mut text = |key: &str| metadata.remove(key).unwrap_or_default();
        Self {
            is_over: text(OVER) == true.to_string(),
            actor: text(ACTOR),
            reason: text(REASON),
            order: Order { asked_at: text(ASKED_AT).parse().ok(), request: text(REQUEST) },
        }
    }
}
