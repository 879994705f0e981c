//! Whole files to and from Cloud Storage.

use super::{Object, Storage, object, resource};
use crate::call::{CALL_TIME_MAX, Call, bounded};
use crate::error::{Error, Result};
use bytes::Bytes;
use google_cloud_storage::streaming_source::{Seek, SizeHint, StreamingSource};
use std::io::{self, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tracing::instrument;

/// An upload slower than this has stalled.
const BYTES_PER_SECOND_MIN: u64 = 64 * 1024;

/// How much is read from a file at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Told the bytes sent or received so far; goes back when a part is sent again.
type Progress = Arc<dyn Fn(u64) + Send + Sync>;

impl Storage {
    /// Uploads a file as an object that must not exist yet. The server refuses
    /// content that does not match `crc32c`.
    pub fn upload<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        path: &'a Path,
        size: u64,
        crc32c: u32,
        on_progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Call<'a, Object> {
        self.upload_file(bucket, name, path, size, crc32c, Arc::new(on_progress))
    }

    #[instrument(name = "storage.upload", skip_all, fields(storage.bucket = bucket, storage.object = name))]
    fn upload_file<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        path: &'a Path,
        size: u64,
        crc32c: u32,
        on_progress: Progress,
    ) -> Call<'a, Object> {
        Box::pin(async move {
            let doing = format!("uploading {} to gs://{bucket}/{name}", path.display());
            let file = File::open(path).await.map_err(|it| Error::file(&*doing, it))?;
            let source = Source { file, size, sent: 0, on_progress };
            let write = self
                .data
                .write_object(resource(bucket), name, source)
                .set_if_generation_match(0)
                .with_known_crc32c(crc32c);
            let time_max = CALL_TIME_MAX + Duration::from_secs(size / BYTES_PER_SECOND_MIN);
            Ok(object(bounded(doing, time_max, write.send_unbuffered()).await?))
        })
    }

    /// Downloads one generation to a file, which stays only if it is complete and its checksum
    /// has been verified.
    pub fn download<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        generation: i64,
        path: &'a Path,
        on_progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Call<'a, Object> {
        self.download_file(bucket, name, generation, path, Arc::new(on_progress))
    }

    #[instrument(name = "storage.download", skip_all, fields(storage.bucket = bucket, storage.object = name))]
    fn download_file<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        generation: i64,
        path: &'a Path,
        on_progress: Progress,
    ) -> Call<'a, Object> {
        Box::pin(async move {
            let downloaded = self.download_to(bucket, name, generation, path, on_progress).await;
            if downloaded.is_err() {
                tokio::fs::remove_file(path).await.ok();
            }
            downloaded
        })
    }

    async fn download_to(
        &self,
        bucket: &str,
        name: &str,
        generation: i64,
        path: &Path,
        on_progress: Progress,
    ) -> Result<Object> {
        let failed = |it| Error::file(format!("writing {}", path.display()), it);
        let mut file = File::create(path).await.map_err(failed)?;
        let mut reading = self.open(bucket, name, Some(generation)).await?;
        let mut received = 0;
        while let Some(piece) = reading.next().await? {
            file.write_all(&piece).await.map_err(failed)?;
            received += piece.len() as u64;
            on_progress(received);
        }
        file.sync_all().await.map_err(failed)?;
        Ok(reading.object)
    }
}

/// A file that tells how much of it has been read.
struct Source {
    file: File,
    size: u64,
    sent: u64,
    on_progress: Progress,
}

impl StreamingSource for Source {
    type Error = io::Error;

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let mut buffer = vec![0; CHUNK_BYTES];
        match self.file.read(&mut buffer).await {
            Ok(0) => None,
            Ok(read) => {
                buffer.truncate(read);
                self.sent += read as u64;
                (self.on_progress)(self.sent);
                Some(Ok(buffer.into()))
            }
            Err(error) => Some(Err(error)),
        }
    }

    async fn size_hint(&self) -> io::Result<SizeHint> {
        Ok(SizeHint::with_exact(self.size))
    }
}

impl Seek for Source {
    type Error = io::Error;

    async fn seek(&mut self, offset: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset)).await?;
        self.sent = offset;
        Ok(())
    }
}
