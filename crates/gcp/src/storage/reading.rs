//! An object's content, piece by piece.

use super::{Object, Storage, doing, resource};
use crate::call::{CALL_TIME_MAX, bounded};
use crate::error::{Error, Result};
use bytes::{Bytes, BytesMut};
use google_cloud_storage::model_ext::ObjectHighlights;
use google_cloud_storage::read_object::ReadObjectResponse;
use sha2::{Digest as _, Sha256};

impl Storage {
    /// The content in memory, if it is not larger than that.
    pub(super) async fn read_whole(
        &self,
        bucket: &str,
        name: &str,
        generation: Option<i64>,
        bytes_max: u64,
    ) -> Result<(Object, Bytes)> {
        let mut reading = self.open(bucket, name, generation).await?;
        let mut content = BytesMut::new();
        // The size that a header promises is a hint; what arrives is counted.
        let mut size = u64::try_from(reading.object.size).unwrap_or_default();
        while size <= bytes_max {
            let Some(piece) = reading.next().await? else {
                return Ok((reading.object, content.freeze()));
            };
            content.extend_from_slice(&piece);
            size = size.max(content.len() as u64);
        }
        let why = format!("it has {size} bytes or more; at most {bytes_max} are read");
        Err(Error::refused(reading.doing, why))
    }

    /// The SHA-256 and the size of content of any size.
    pub(super) async fn hash(
        &self,
        bucket: &str,
        name: &str,
        generation: i64,
    ) -> Result<([u8; 32], u64)> {
        let (mut hash, mut size) = (Sha256::new(), 0);
        let mut reading = self.open(bucket, name, Some(generation)).await?;
        while let Some(piece) = reading.next().await? {
            hash.update(&piece);
            size += piece.len() as u64;
        }
        Ok((hash.finalize().into(), size))
    }

    /// Begins to read an object's content.
    pub(super) async fn open(
        &self,
        bucket: &str,
        name: &str,
        generation: Option<i64>,
    ) -> Result<Reading> {
        let doing = doing("reading", bucket, name);
        let mut read = self.data.read_object(resource(bucket), name);
        if let Some(generation) = generation {
            read = read.set_generation(generation);
        }
        let response = bounded(doing.clone(), CALL_TIME_MAX, read.send()).await?;
        let object = highlighted(bucket, name, response.object());
        if object.crc32c.is_none() {
            // The SDK verifies what the server promises, and nothing was promised.
            return Err(Error::corrupt(doing, "the answer carries no CRC32C"));
        }
        Ok(Reading { doing, object, response })
    }
}

/// An object being read. Each piece may take [`CALL_TIME_MAX`], the whole any time.
pub(super) struct Reading {
    pub(super) doing: String,
    pub(super) object: Object,
    response: ReadObjectResponse,
}

impl Reading {
    /// The next piece. Only the end says that all pieces were right: the SDK
    /// reports a wrong checksum in its place.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        let next = async { self.response.next().await.transpose() };
        bounded(self.doing.clone(), CALL_TIME_MAX, next).await
    }
}

fn highlighted(bucket: &str, name: &str, it: ObjectHighlights) -> Object {
    Object {
        bucket: bucket.to_owned(),
        name: name.to_owned(),
        generation: it.generation,
        metageneration: it.metageneration,
        size: it.size,
        crc32c: it.checksums.and_then(|it| it.crc32c),
        metadata: it.metadata.into_iter().collect(),
        created: None,
    }
}
