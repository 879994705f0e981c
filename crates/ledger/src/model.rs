//! What a run's model consisted of when its attempt ended.

use branchline_contract::Crc32c;
use serde::{Deserialize, Serialize};

/// One file of a model, pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFile {
    /// Its name in the bucket. Training code chose the end of it.
    pub object: String,
    /// Generation that lay there.
    pub generation: i64,
    /// Size in bytes.
    pub size: u64,
    /// Checksum that Cloud Storage keeps.
    pub crc32c: Crc32c,
}

impl ModelFile {
    /// Of a model of more files none is on record.
    pub const COUNT_MAX: usize = 1_000;
}
