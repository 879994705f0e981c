//! An object's content, piece by piece.

use super::{Object, Storage, doing, resource};
use crate::call::{CALL_TIME_MAX, bounded};
use crate::error::{Error, Result};
use bytes::Bytes;
use google_cloud_storage::model_ext::ObjectHighlights;
use google_cloud_storage::read_object::ReadObjectResponse;

impl Storage {
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
