//! Cloud Storage: small objects in memory, metadata, listings. Contents of any
//! size are in `reading`, `rewrite` and `transfer`.
//!
//! Every write carries a precondition, so the SDK may repeat it. A repeat of a
//! write that had in fact happened fails with a conflict: the caller reads back
//! what is there before it believes one.

mod reading;
mod rewrite;
mod transfer;

use crate::call::{CALL_TIME_MAX, Call, Observer, RETRY_TIME_MAX, bounded, timestamp};
use crate::config::Config;
use crate::error::Error;
use bytes::Bytes;
use google_cloud_gax::retry_policy::RetryPolicyExt as _;
use google_cloud_storage::client::{Storage as DataClient, StorageControl};
use google_cloud_storage::model;
use google_cloud_storage::read_resume_policy::{ReadResumePolicyExt as _, Recommended};
use google_cloud_storage::retry_policy::RetryableErrors;
use google_cloud_wkt::FieldMask;
use jiff::Timestamp;
use std::collections::BTreeMap;
use tracing::instrument;

/// How often one read may go on after a broken connection.
const READ_RESUMES_MAX: u32 = 8;

/// Cloud Storage.
#[derive(Clone, Debug)]
pub struct Storage {
    data: DataClient,
    control: StorageControl,
    observer: Observer,
}

/// One generation of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The bucket's name, without `projects/_/buckets/`.
    pub bucket: String,
    /// The object's name.
    pub name: String,
    /// Which content this is.
    pub generation: i64,
    /// Which metadata of that content this is.
    pub metageneration: i64,
    /// Bytes.
    pub size: i64,
    /// CRC32C of the content.
    pub crc32c: Option<u32>,
    /// User metadata.
    pub metadata: BTreeMap<String, String>,
    /// When this generation was created; a read of the content does not tell.
    pub created: Option<Timestamp>,
}

/// One page of a listing, in the order of names.
#[derive(Clone, Debug)]
pub struct Page {
    /// The objects, with their metadata.
    pub objects: Vec<Object>,
    /// The token of the next page, if there is one.
    pub next: Option<String>,
}

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct List<'a> {
    /// The bucket's name.
    pub bucket: &'a str,
    /// Only names that begin with this.
    pub prefix: &'a str,
    /// Only names that are not smaller than this.
    pub start: Option<&'a str>,
    /// `next` of the page before.
    pub page_token: Option<String>,
    /// At most this many objects; the server gives at most 1,000.
    pub page_size: u16,
}

/// What to copy: an object, if it still is of that generation.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The bucket's name.
    pub bucket: &'a str,
    /// The object's name.
    pub name: &'a str,
    /// Which content it has to be.
    pub generation: i64,
}

/// The objects of Cloud Storage, as the ledger and the roles use them: Google's
/// clients answer, or a simulated world.
pub trait Objects: Send + Sync {
    /// Creates an object that must not exist yet.
    fn create<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        content: Bytes,
        metadata: BTreeMap<String, String>,
    ) -> Call<'a, Object>;

    /// Replaces the content of an object, if it still is of `if_generation`.
    /// Its metadata is replaced too, by none.
    fn replace<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        if_generation: i64,
        content: Bytes,
    ) -> Call<'a, Object>;

    /// Reads an object of at most `bytes_max`; its checksum has been verified.
    fn read<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        generation: Option<i64>,
        bytes_max: u64,
    ) -> Call<'a, (Object, Bytes)>;

    /// What is known about an object, without its content.
    fn stat<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        generation: Option<i64>,
    ) -> Call<'a, Object>;

    /// One page of a bucket's objects.
    fn list<'a>(&'a self, list: List<'a>) -> Call<'a, Page>;

    /// Replaces an object's metadata, if it still is of `if_metageneration`.
    fn set_metadata<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        if_metageneration: i64,
        metadata: BTreeMap<String, String>,
    ) -> Call<'a, Object>;

    /// Deletes an object, if it still is of `if_generation`.
    fn delete<'a>(&'a self, bucket: &'a str, name: &'a str, if_generation: i64) -> Call<'a, ()>;

    /// The SHA-256 and the size of one generation, of any size.
    fn read_sha256<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        generation: i64,
    ) -> Call<'a, ([u8; 32], u64)>;

    /// Copies an object of any size, with its metadata, to where none must lie yet. The content
    /// passes nobody on its way.
    fn copy<'a>(&'a self, from: Source<'a>, bucket: &'a str, name: &'a str) -> Call<'a, Object>;
}

impl Storage {
    /// Builds the clients; nothing is sent yet.
    pub fn connect(config: &Config) -> Call<'_, Self> {
        const DOING: &str = "connecting to Cloud Storage";
        Box::pin(async move {
            config.check(DOING)?;
            let credentials = config.credentials(DOING)?;
            let mut data = DataClient::builder()
                .with_credentials(credentials.clone())
                .with_retry_policy(RetryableErrors.with_time_limit(RETRY_TIME_MAX))
                .with_read_resume_policy(Recommended.with_attempt_limit(READ_RESUMES_MAX));
            let mut control = StorageControl::builder()
                .with_credentials(credentials)
                .with_retry_policy(RetryableErrors.with_time_limit(RETRY_TIME_MAX));
            if let Some(endpoint) = &config.storage_endpoint {
                data = data.with_endpoint(endpoint);
                control = control.with_endpoint(endpoint);
            }
            let data = data.build().await.map_err(|it| Error::client(DOING, it))?;
            let control = control.build().await.map_err(|it| Error::client(DOING, it))?;
            Ok(Self { data, control, observer: Observer::default() })
        })
    }

    /// The same, with somebody who is told of its calls.
    #[must_use]
    pub fn observed(self, observer: Observer) -> Self {
        Self { observer, ..self }
    }
}

impl Objects for Storage {
    #[instrument(name = "storage.create", skip_all, fields(storage.bucket = bucket, storage.object = name))]
    fn create<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        content: Bytes,
        metadata: BTreeMap<String, String>,
    ) -> Call<'a, Object> {
        Box::pin(async move {
            let call = async move {
                let write = self
                    .data
                    .write_object(resource(bucket), name, content)
                    .set_if_generation_match(0)
                    .set_metadata(metadata);
                let doing = doing("creating", bucket, name);
                Ok(object(bounded(doing, CALL_TIME_MAX, write.send_unbuffered()).await?))
            };
            self.observer.watch("create", call).await
        })
    }

    #[instrument(name = "storage.replace", skip_all, fields(storage.bucket = bucket, storage.object = name))]
    fn replace<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        if_generation: i64,
        content: Bytes,
    ) -> Call<'a, Object> {
        Box::pin(async move {
            let call = async move {
                let write = self
                    .data
                    .write_object(resource(bucket), name, content)
                    .set_if_generation_match(if_generation);
                let doing = doing("replacing", bucket, name);
                Ok(object(bounded(doing, CALL_TIME_MAX, write.send_unbuffered()).await?))
            };
            self.observer.watch("replace", call).await
        })
    }

    #[instrument(name = "storage.read", skip_all, fields(storage.bucket = bucket, storage.object = name))]
    fn read<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        generation: Option<i64>,
        bytes_max: u64,
    ) -> Call<'a, (Object, Bytes)> {
        Box::pin(async move {
            let call = self.read_whole(bucket, name, generation, bytes_max);
            self.observer.watch("read", call).await
        })
    }

    #[instrument(name = "storage.stat", skip_all, fields(storage.bucket = bucket, storage.object = name))]
    fn stat<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        generation: Option<i64>,
    ) -> Call<'a, Object> {
        Box::pin(async move {
            let call = async move {
                let get = self
                    .control
                    .get_object()
                    .set_bucket(resource(bucket))
                    .set_object(name)
                    .set_generation(generation.unwrap_or_default());
                let doing = doing("looking up", bucket, name);
                Ok(object(bounded(doing, CALL_TIME_MAX, get.send()).await?))
            };
            self.observer.watch("stat", call).await
        })
    }

    #[instrument(name = "storage.list", skip_all, fields(storage.bucket = list.bucket, storage.prefix = list.prefix))]
    fn list<'a>(&'a self, list: List<'a>) -> Call<'a, Page> {
        Box::pin(async move {
            let call = async move {
                let doing = doing("listing", list.bucket, list.prefix);
                let request = self
                    .control
                    .list_objects()
                    .set_parent(resource(list.bucket))
                    .set_prefix(list.prefix)
                    .set_lexicographic_start(list.start.unwrap_or_default())
                    .set_page_token(list.page_token.unwrap_or_default())
                    .set_page_size(list.page_size);
                let answer = bounded(doing, CALL_TIME_MAX, request.send()).await?;
                Ok(Page {
                    objects: answer.objects.into_iter().map(object).collect(),
                    next: Some(answer.next_page_token).filter(|it| !it.is_empty()),
                })
            };
            self.observer.watch("list", call).await
        })
    }

    #[instrument(name = "storage.set_metadata", skip_all, fields(storage.bucket = bucket, storage.object = name))]
    fn set_metadata<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        if_metageneration: i64,
        metadata: BTreeMap<String, String>,
    ) -> Call<'a, Object> {
        Box::pin(async move {
            let call = async move {
                let wanted = model::Object::new()
                    .set_bucket(resource(bucket))
                    .set_name(name)
                    .set_metadata(metadata);
                let update = self
                    .control
                    .update_object()
                    .set_object(wanted)
                    .set_if_metageneration_match(if_metageneration)
                    .set_update_mask(FieldMask::default().set_paths(["metadata"]));
                let doing = doing("updating", bucket, name);
                Ok(object(bounded(doing, CALL_TIME_MAX, update.send()).await?))
            };
            self.observer.watch("set_metadata", call).await
        })
    }

    #[instrument(name = "storage.delete", skip_all, fields(storage.bucket = bucket, storage.object = name))]
    fn delete<'a>(&'a self, bucket: &'a str, name: &'a str, if_generation: i64) -> Call<'a, ()> {
        Box::pin(async move {
            let call = async move {
                let delete = self
                    .control
                    .delete_object()
                    .set_bucket(resource(bucket))
                    .set_object(name)
                    .set_if_generation_match(if_generation);
                bounded(doing("deleting", bucket, name), CALL_TIME_MAX, delete.send()).await
            };
            self.observer.watch("delete", call).await
        })
    }

    #[instrument(name = "storage.read_sha256", skip_all, fields(storage.bucket = bucket, storage.object = name))]
    fn read_sha256<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        generation: i64,
    ) -> Call<'a, ([u8; 32], u64)> {
        Box::pin(async move {
            self.observer.watch("read_sha256", self.hash(bucket, name, generation)).await
        })
    }

    #[instrument(name = "storage.copy", skip_all, fields(storage.bucket = bucket, storage.object = name))]
    fn copy<'a>(&'a self, from: Source<'a>, bucket: &'a str, name: &'a str) -> Call<'a, Object> {
        Box::pin(async move { self.observer.watch("copy", self.rewrite(from, bucket, name)).await })
    }
}

/// The bucket as Google's crates name it.
fn resource(bucket: &str) -> String {
    format!("projects/_/buckets/{bucket}")
}

fn doing(verb: &str, bucket: &str, name: &str) -> String {
    format!("{verb} gs://{bucket}/{name}")
}

fn object(it: model::Object) -> Object {
    Object {
        bucket: it.bucket.rsplit('/').next().unwrap_or_default().to_owned(),
        name: it.name,
        generation: it.generation,
        metageneration: it.metageneration,
        size: it.size,
        crc32c: it.checksums.and_then(|it| it.crc32c),
        metadata: it.metadata.into_iter().collect(),
        created: timestamp(it.create_time),
    }
}
