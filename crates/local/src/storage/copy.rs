//! Copies of objects: whole, or by rewrites that move a part each. Only a rewrite's last call
//! makes anything; until then all it leaves is a token, which holds how far it came.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::Storage;
use super::error::Error;
use super::object::{Attributes, Object};
use super::precondition::Preconditions;
use super::store::Target;

/// What a client asks for has to be a multiple of this.
const PART: u64 = 1 << 20;

/// What to copy where.
pub(super) struct Copy {
    pub(super) from: Target,
    /// What has to hold for the source.
    pub(super) only: Preconditions,
    pub(super) to: Target,
    /// Without them the copy has those of the source.
    pub(super) attributes: Option<Attributes>,
    /// What has to hold for the copy's place.
    pub(super) when: Preconditions,
}

/// How far a rewrite came with one more call.
pub(super) struct Rewritten {
    pub(super) bytes: u64,
    pub(super) size: u64,
    /// With the next call; empty when it is done.
    pub(super) token: String,
    /// The copy, when it is done.
    pub(super) object: Option<Object>,
}

/// The most that a call moves on its own account: nothing unless it is told.
pub(super) struct RewriteMax(AtomicU64);

impl Default for RewriteMax {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Storage {
    /// Moves at most so many bytes with one call of a rewrite, as between buckets far apart.
    pub fn limit_rewrites(&self, bytes: u64) {
        self.shared.rewrite_max.0.store(bytes.max(1), Ordering::Relaxed);
    }

    /// One call of a rewrite; the first has no token, and 0 bytes are any number.
    pub(super) fn rewrite(
        &self,
        copy: Copy,
        token: &str,
        bytes_max: i64,
    ) -> Result<Rewritten, Error> {
        let asked = u64::try_from(bytes_max).ok().filter(|it| it.is_multiple_of(PART));
        let asked = asked.ok_or_else(|| {
            Error::invalid("maxBytesRewrittenPerCall must be a positive multiple of 1048576.")
        })?;
        let asked = if asked == 0 { u64::MAX } else { asked };
        let part = asked.min(self.shared.rewrite_max.0.load(Ordering::Relaxed));
        let source = self.store().check_copy(&copy)?;
        let names = names(&copy);
        let before = if token.is_empty() { 0 } else { read(token, source.generation, names)? };
        let (bytes, size) = (before.saturating_add(part).min(source.size), source.size);
        if bytes < size {
            let token = format!("{}/{names}/{bytes}", source.generation);
            let token = BASE64_URL_SAFE_NO_PAD.encode(token);
            return Ok(Rewritten { bytes, size, token, object: None });
        }
        let object = Some(self.store().copy(copy)?);
        Ok(Rewritten { bytes, size, token: String::new(), object })
    }
}

/// What a token is good for.
fn names(copy: &Copy) -> u32 {
    let Copy { from, to, .. } = copy;
    let names = [&from.bucket, &from.name, &to.bucket, &to.name];
    names.into_iter().fold(0, |sum, it| crc32c::crc32c_append(sum, format!("{it}\n").as_bytes()))
}

/// The bytes that were moved before.
fn read(token: &str, generation: i64, names: u32) -> Result<u64, Error> {
    let text = BASE64_URL_SAFE_NO_PAD.decode(token).ok();
    let text = text.and_then(|it| String::from_utf8(it).ok());
    let bytes = text.as_ref().and_then(|it| {
        it.strip_prefix(&format!("{generation}/{names}/")).and_then(|it| it.parse().ok())
    });
    bytes.ok_or_else(|| Error::invalid("Invalid rewrite token."))
}
