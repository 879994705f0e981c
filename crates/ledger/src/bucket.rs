//! The small objects of one bucket: listed whole, created once, and changed or
//! removed only as they were read.

use std::collections::BTreeMap;
use std::sync::Arc;

use branchline_gcp::storage::{List, Object, Objects, Page};
use branchline_gcp::{Class, Error as GcpError};
use bytes::Bytes;

/// One bucket.
#[derive(Clone)]
pub(crate) struct Bucket {
    storage: Arc<dyn Objects>,
    name: String,
}

impl Bucket {
    pub(crate) const fn new(storage: Arc<dyn Objects>, name: String) -> Self {
        Self { storage, name }
    }

    /// The objects whose names begin so, in the order of names; behind `max` it stops, a page late.
    pub(crate) async fn list(&self, prefix: &str, max: usize) -> Result<Vec<Object>, GcpError> {
        self.list_from(prefix, None, max).await
    }

    /// The same without those whose names are smaller than `start`.
    pub(crate) async fn list_from(
        &self,
        prefix: &str,
        start: Option<&str>,
        max: usize,
    ) -> Result<Vec<Object>, GcpError> {
        let (mut objects, mut page_token) = (Vec::new(), None);
        while objects.len() <= max {
            let page = self.page(prefix, start, page_token).await?;
            objects.extend(page.objects);
            page_token = page.next;
            if page_token.is_none() {
                break;
            }
        }
        Ok(objects)
    }

    /// One page of them.
    pub(crate) async fn page(
        &self,
        prefix: &str,
        start: Option<&str>,
        page_token: Option<String>,
    ) -> Result<Page, GcpError> {
        let bucket = &self.name;
        self.storage.list(List { bucket, prefix, start, page_token, page_size: 1_000 }).await
    }

    /// The first object whose name begins so and is not smaller than `start`.
    pub(crate) async fn first(
        &self,
        prefix: &str,
        start: &str,
    ) -> Result<Option<Object>, GcpError> {
        let start = Some(start);
        let list = List { bucket: &self.name, prefix, start, page_token: None, page_size: 1 };
        Ok(self.storage.list(list).await?.objects.into_iter().next())
    }

    /// What is known of an object, if it is there.
    pub(crate) async fn stat(&self, name: &str) -> Result<Option<Object>, GcpError> {
        found(self.storage.stat(&self.name, name, None).await)
    }

    /// The content of an object; of that generation where one is given.
    pub(crate) async fn read(
        &self,
        name: &str,
        generation: Option<i64>,
        bytes_max: u64,
    ) -> Result<Bytes, GcpError> {
        self.storage.read(&self.name, name, generation, bytes_max).await.map(|(_, bytes)| bytes)
    }

    /// Creates an object. `false` when one is there.
    pub(crate) async fn create(
        &self,
        name: &str,
        content: Bytes,
        metadata: BTreeMap<String, String>,
    ) -> Result<bool, GcpError> {
        // A bucket that is missing is an error, and not somebody else's object.
        match self.storage.create(&self.name, name, content, metadata).await {
            Ok(_) => Ok(true),
            Err(error) if error.class() == Class::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Changes the metadata of an object, which was read in that version, or
    /// creates an empty one where none was. `false` when something happened since.
    pub(crate) async fn set_metadata(
        &self,
        name: &str,
        metageneration: Option<i64>,
        metadata: BTreeMap<String, String>,
    ) -> Result<bool, GcpError> {
        let Some(metageneration) = metageneration else {
            return self.create(name, Bytes::new(), metadata).await;
        };
        let bucket = &self.name;
        undisturbed(self.storage.set_metadata(bucket, name, metageneration, metadata).await)
    }

    /// Removes an object, if it still is the one that was read.
    pub(crate) async fn remove(&self, name: &str, generation: i64) -> Result<(), GcpError> {
        undisturbed(self.storage.delete(&self.name, name, generation).await).map(drop)
    }
}

/// `None` for what does not exist.
pub(crate) fn found<T>(answer: Result<T, GcpError>) -> Result<Option<T>, GcpError> {
    match answer {
        Ok(it) => Ok(Some(it)),
        Err(error) if error.class() == Class::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// `false` when it is gone, or not what it was.
fn undisturbed<T>(answer: Result<T, GcpError>) -> Result<bool, GcpError> {
    match answer {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.class(), Class::NotFound | Class::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}
