//! Buckets with exactly these objects: what lies there is a stranger's.

use std::collections::BTreeMap;
use std::sync::Mutex;

use branchline_gcp::storage::{List, Object, Objects, Page, Source};
use branchline_gcp::{Call, Error};
use bytes::Bytes;

/// Objects as they lie there. Every write succeeds, and its name is remembered.
#[derive(Default)]
pub(crate) struct Shelf {
    objects: Vec<(Object, Bytes)>,
    written: Mutex<Vec<String>>,
}

impl Shelf {
    /// Puts an object there.
    pub(crate) fn put(&mut self, name: &str, content: Vec<u8>, metadata: BTreeMap<String, String>) {
        let object = Object {
            bucket: "bucket".to_owned(),
            name: name.to_owned(),
            generation: 1,
            metageneration: 1,
            size: i64::try_from(content.len()).unwrap(),
            crc32c: None,
            metadata,
            created: None,
        };
        self.objects.push((object, content.into()));
    }

    /// The names that were written or deleted since the last time.
    pub(crate) fn written(&self) -> Vec<String> {
        std::mem::take(&mut self.written.lock().unwrap())
    }

    fn find(&self, name: &str) -> Result<(Object, Bytes), Error> {
        const NOT_FOUND: i32 = 5;
        let found = self.objects.iter().find(|(it, _)| it.name == name).cloned();
        found.ok_or_else(|| Error::answered("reading", NOT_FOUND, "no such object"))
    }

    fn write(&self, name: &str) -> Object {
        self.written.lock().unwrap().push(name.to_owned());
        let found = self.find(name).map(|(object, _)| object);
        found.unwrap_or_else(|_| Object {
            bucket: "bucket".to_owned(),
            name: name.to_owned(),
            generation: 1,
            metageneration: 1,
            size: 0,
            crc32c: None,
            metadata: BTreeMap::new(),
            created: None,
        })
    }
}

impl Objects for Shelf {
    fn create<'a>(
        &'a self,
        _: &'a str,
        name: &'a str,
        _: Bytes,
        _: BTreeMap<String, String>,
    ) -> Call<'a, Object> {
        Box::pin(async move { Ok(self.write(name)) })
    }

    fn replace<'a>(&'a self, _: &'a str, name: &'a str, _: i64, _: Bytes) -> Call<'a, Object> {
        Box::pin(async move { Ok(self.write(name)) })
    }

    fn read<'a>(
        &'a self,
        _: &'a str,
        name: &'a str,
        _: Option<i64>,
        _: u64,
    ) -> Call<'a, (Object, Bytes)> {
        Box::pin(async move { self.find(name) })
    }

    fn stat<'a>(&'a self, _: &'a str, name: &'a str, _: Option<i64>) -> Call<'a, Object> {
        Box::pin(async move { self.find(name).map(|(object, _)| object) })
    }

    fn list<'a>(&'a self, list: List<'a>) -> Call<'a, Page> {
        Box::pin(async move {
            let all = self.objects.iter().map(|(object, _)| object);
            let objects = all.filter(|it| it.name.starts_with(list.prefix)).cloned().collect();
            Ok(Page { objects, next: None })
        })
    }

    fn set_metadata<'a>(
        &'a self,
        _: &'a str,
        name: &'a str,
        _: i64,
        metadata: BTreeMap<String, String>,
    ) -> Call<'a, Object> {
        Box::pin(async move { Ok(Object { metadata, ..self.write(name) }) })
    }

    fn delete<'a>(&'a self, _: &'a str, name: &'a str, _: i64) -> Call<'a, ()> {
        Box::pin(async move {
            self.write(name);
            Ok(())
        })
    }

    fn read_sha256<'a>(&'a self, _: &'a str, _: &'a str, _: i64) -> Call<'a, ([u8; 32], u64)> {
        Box::pin(async move { Ok(([0; 32], 0)) })
    }

    fn copy<'a>(&'a self, _: Source<'a>, _: &'a str, name: &'a str) -> Call<'a, Object> {
        Box::pin(async move { Ok(self.write(name)) })
    }
}
