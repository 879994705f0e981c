//! Cloud Storage: the JSON API and what the Rust client sends over gRPC.
//!
//! Only the live generation of an object is kept. There are no object versions
//! and no rate limits; access rules are what [`crate::iam`] says before this.

mod checksum;
mod content;
mod copy;
mod disk;
mod error;
mod grpc;
mod json;
mod list;
mod object;
mod policy;
mod precondition;
mod replacing;
mod store;

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use axum::Router;
use bytes::Bytes;

pub use self::checksum::Checksums;
pub use self::content::OBJECT_BYTES_MAX;
pub use self::error::Error;
pub use self::object::{Attributes, Bucket, Object};

use self::copy::RewriteMax;
use self::json::Sessions;
use self::list::Listing;
use self::precondition::Preconditions;
use self::store::{Store, Target};

/// A handle on the service; clones share its state.
#[derive(Clone)]
pub struct Storage {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Storage")
    }
}

struct Shared {
    store: Store,
    sessions: Sessions,
    external_url: OnceLock<String>,
    rewrite_max: RewriteMax,
}

impl Storage {
    /// Opens the service over a data directory, or in memory without one.
    pub fn open(data_dir: Option<&Path>) -> io::Result<Self> {
        let shared = Shared {
            store: Store::open(data_dir)?,
            sessions: Sessions::default(),
            external_url: OnceLock::new(),
            rewrite_max: RewriteMax::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Where clients reach the service, for the links in its answers; the first
    /// call counts. Without it a link repeats the host that the request names,
    /// which is wrong for the Rust client: it names no port.
    pub fn set_external_url(&self, url: &str) {
        self.shared.external_url.get_or_init(|| url.to_owned());
    }

    /// The JSON API and gRPC on one router.
    pub fn router(&self) -> Router {
        json::router().merge(grpc::router()).with_state(self.clone())
    }

    /// Creates a bucket.
    pub fn create_bucket(&self, name: &str) -> Result<Bucket, Error> {
        self.store().create_bucket(name)
    }

    /// Writes an object, whether or not it is there already.
    pub fn put(
        &self,
        bucket: &str,
        name: &str,
        content: impl Into<Bytes>,
    ) -> Result<Object, Error> {
        let mut draft = self.store().draft()?;
        draft.write(&content.into())?;
        let to = Target::live(bucket, name);
        self.store().write(&to, Attributes::default(), draft, &Preconditions::default())
    }

    /// The live object of that name with its whole content; `None` also when
    /// its file cannot be read.
    pub fn get(&self, bucket: &str, name: &str) -> Option<(Object, Bytes)> {
        let from = Target::live(bucket, name);
        let (object, content) = self.store().read(&from, &Preconditions::default()).ok()?;
        Some((object, content.read_all().ok()?))
    }

    /// All live objects whose names begin with the prefix, in order; none in a
    /// bucket that does not exist.
    pub fn list(&self, bucket: &str, prefix: &str) -> Vec<Object> {
        let mut listing = Listing::new(prefix);
        let mut objects = Vec::new();
        while let Ok(page) = self.store().list(bucket, &listing) {
            objects.extend(page.objects);
            let Some(next) = page.next else { break };
            listing.continue_after(&next).expect("the token is our own");
        }
        objects
    }

    fn store(&self) -> &Store {
        &self.shared.store
    }
}
