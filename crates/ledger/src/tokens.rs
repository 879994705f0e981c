//! What each ID token has announced: an object `by-token/<hash>/<run name>` each, beside the
//! queue, whose content is the digest of the request. Nothing of a token is in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use branchline_contract::{RunName, Sha256};
use branchline_gcp::Error as GcpError;
use branchline_gcp::storage::Objects;
use sha2::Digest as _;

use crate::bucket::Bucket;

const PREFIX: &str = "by-token/";
/// A digest in hex.
const BYTES_MAX: u64 = 64;

/// The index in the queue's bucket.
#[derive(Clone)]
pub struct Tokens(Bucket);

impl Tokens {
    /// The index in that bucket.
    pub const fn new(storage: Arc<dyn Objects>, bucket: String) -> Self {
        Self(Bucket::new(storage, bucket))
    }

    /// Tells one token from another, by its issuer and `jti`.
    pub fn tell((issuer, token_id): (&str, &str)) -> Sha256 {
        // An issuer holds no line break, and a path holds no foreign text.
        Sha256(sha2::Sha256::digest(format!("{issuer}\n{token_id}")).into())
    }

    /// Notes that a token announces a request. `false` where it has announced another one under
    /// that name.
    pub async fn announce(
        &self,
        token: Sha256,
        run: &RunName,
        digest: Sha256,
    ) -> Result<bool, GcpError> {
        let (name, digest) = (format!("{PREFIX}{token}/{run}"), digest.to_string());
        if self.0.create(&name, digest.clone().into(), BTreeMap::new()).await? {
            return Ok(true);
        }
        Ok(self.0.read(&name, None, BYTES_MAX).await? == digest)
    }
}
