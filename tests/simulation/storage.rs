//! Cloud Storage, as far as its promises go: strongly consistent, one
//! generation per content, preconditions.

use std::collections::BTreeMap;
use std::ops::Bound;

use branchline_gcp::storage::{List, Object, Objects, Page, Source};
use branchline_gcp::{Call, Error};
use branchline_ledger::{Body, Entry};
use bytes::Bytes;

use crate::story::{ARTIFACTS, STAGING};
use crate::world::{Door, FAILED_PRECONDITION, NOT_FOUND, State, Texts};

/// Smaller than the real one, so that listings have pages.
const PAGE_MAX: usize = 20;

/// Every object by bucket and name.
#[derive(Default)]
pub(crate) struct Buckets {
    objects: BTreeMap<(String, String), Stored>,
    generations: i64,
}

struct Stored {
    object: Object,
    content: Bytes,
}

impl Buckets {
    /// Puts an object there, whatever lies there.
    pub(crate) fn put(
        &mut self,
        bucket: &str,
        name: &str,
        content: Bytes,
        metadata: Texts,
    ) -> Object {
        self.generations += 1;
        let object = Object {
            bucket: bucket.to_owned(),
            name: name.to_owned(),
            generation: self.generations,
            metageneration: 1,
            size: i64::try_from(content.len()).expect("small"),
            crc32c: Some(crc32c::crc32c(&content)),
            metadata,
            created: None,
        };
        let key = (bucket.to_owned(), name.to_owned());
        self.objects.insert(key, Stored { object: object.clone(), content });
        object
    }

    /// The names in a bucket that begin so, in order.
    pub(crate) fn names(&self, bucket: &str, prefix: &str) -> impl Iterator<Item = &str> {
        self.range(bucket, prefix.to_owned(), prefix).map(|it| it.object.name.as_str())
    }

    fn range(&self, bucket: &str, from: String, prefix: &str) -> impl Iterator<Item = &Stored> {
        let from = Bound::Included((bucket.to_owned(), from));
        let found = self.objects.range((from, Bound::Unbounded));
        found
            .take_while(move |((b, name), _)| b == bucket && name.starts_with(prefix))
            .map(|(_, it)| it)
    }

    fn get(&self, bucket: &str, name: &str) -> Option<&Stored> {
        self.objects.get(&(bucket.to_owned(), name.to_owned()))
    }

    fn page(&self, list: &List<'_>) -> Page {
        let start = list.start.unwrap_or_default().max(list.prefix).to_owned();
        let from = list.page_token.clone().unwrap_or(start);
        let size = PAGE_MAX.min(usize::from(list.page_size));
        let mut found = self.range(list.bucket, from, list.prefix).map(|it| it.object.clone());
        let objects = found.by_ref().take(size).collect();
        Page { objects, next: found.next().map(|it| it.name) }
    }
}

impl State {
    /// Where inputs are staged, what was verified names copies that lie there, with the content of
    /// what was announced.
    pub(crate) fn has_copies(&mut self, name: &str, fact: &[u8]) {
        let Ok(Entry { fact, .. }) = Entry::decode(fact) else { return };
        let Body::Verified { staged, .. } = fact.body else { return };
        let copied = staged.iter().all(|it| {
            let (found, original) = (
                self.buckets.get(it.uri.bucket(), it.uri.object()),
                self.buckets.range(ARTIFACTS, String::new(), "").next(),
            );
            let original = original.map(|it| &it.content);
            it.uri.bucket() == STAGING
                && found.is_some_and(|it| Some(&it.content) == original)
                && found.is_some_and(|found| found.object.generation == it.generation)
        });
        let expected = usize::from(self.staging);
        let holds = copied && staged.len() == expected;
        self.law.check(holds, || format!("{name} names copies that are none: {staged:?}"));
    }
}

fn missing(what: &str) -> Error {
    Error::answered(what, NOT_FOUND, "no such object")
}

fn conflict(what: &str) -> Error {
    Error::answered(what, FAILED_PRECONDITION, "the precondition does not hold")
}

impl Objects for Door {
    fn create<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        content: Bytes,
        metadata: Texts,
    ) -> Call<'a, Object> {
        Box::pin(async move {
            let what = format!("create {bucket}/{name}");
            self.call(&what, |state| {
                if state.buckets.get(bucket, name).is_some() {
                    return Err(conflict(&what));
                }
                let object = state.buckets.put(bucket, name, content.clone(), metadata.clone());
                State::created(state, bucket, name, &content);
                Ok(object)
            })
            .await
        })
    }

    fn replace<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        if_generation: i64,
        content: Bytes,
    ) -> Call<'a, Object> {
        Box::pin(async move {
            let what = format!("replace {bucket}/{name}");
            self.call(&what, |state| {
                let found = state.buckets.get(bucket, name).ok_or_else(|| missing(&what))?;
                if found.object.generation != if_generation {
                    return Err(conflict(&what));
                }
                state.law.changed(name);
                Ok(state.buckets.put(bucket, name, content.clone(), Texts::new()))
            })
            .await
        })
    }

    fn read<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        generation: Option<i64>,
        bytes_max: u64,
    ) -> Call<'a, (Object, Bytes)> {
        Box::pin(async move {
            let what = format!("read {bucket}/{name}");
            self.call(&what, |state| {
                let found = state.buckets.get(bucket, name).ok_or_else(|| missing(&what))?;
                let wanted = generation.is_none_or(|it| it == found.object.generation);
                let fits = found.content.len() as u64 <= bytes_max;
                assert!(fits, "nothing that the product reads is as large as that");
                wanted
                    .then(|| (found.object.clone(), found.content.clone()))
                    .ok_or_else(|| missing(&what))
            })
            .await
        })
    }

    fn stat<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        generation: Option<i64>,
    ) -> Call<'a, Object> {
        Box::pin(async move {
            let what = format!("stat {bucket}/{name}");
            self.call(&what, |state| {
                let found = state.buckets.get(bucket, name).ok_or_else(|| missing(&what))?;
                let wanted = generation.is_none_or(|it| it == found.object.generation);
                wanted.then(|| found.object.clone()).ok_or_else(|| missing(&what))
            })
            .await
        })
    }

    fn list<'a>(&'a self, list: List<'a>) -> Call<'a, Page> {
        Box::pin(async move {
            let what = format!("list {}/{}", list.bucket, list.prefix);
            self.call(&what, |state| Ok(state.buckets.page(&list))).await
        })
    }

    fn set_metadata<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        if_metageneration: i64,
        metadata: Texts,
    ) -> Call<'a, Object> {
        Box::pin(async move {
            let what = format!("update {bucket}/{name}");
            self.call(&what, |state| {
                state.law.changed(name);
                let key = (bucket.to_owned(), name.to_owned());
                let found = state.buckets.objects.get_mut(&key).ok_or_else(|| missing(&what))?;
                if found.object.metageneration != if_metageneration {
                    return Err(conflict(&what));
                }
                found.object.metageneration += 1;
                found.object.metadata.clone_from(&metadata);
                Ok(found.object.clone())
            })
            .await
        })
    }

    fn delete<'a>(&'a self, bucket: &'a str, name: &'a str, if_generation: i64) -> Call<'a, ()> {
        Box::pin(async move {
            let what = format!("delete {bucket}/{name}");
            self.call(&what, |state| {
                let found = state.buckets.get(bucket, name).ok_or_else(|| missing(&what))?;
                // Zero is how the wire says that there is no precondition.
                state.law.removed(name, if_generation);
                if if_generation != 0 && found.object.generation != if_generation {
                    return Err(conflict(&what));
                }
                state.buckets.objects.remove(&(bucket.to_owned(), name.to_owned()));
                State::deleted(state, bucket, name);
                Ok(())
            })
            .await
        })
    }

    fn read_sha256<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        _generation: i64,
    ) -> Call<'a, ([u8; 32], u64)> {
        Box::pin(async move {
            let what = format!("digest {bucket}/{name}");
            self.call(&what, |_| Err(missing(&what))).await
        })
    }

    fn copy<'a>(&'a self, from: Source<'a>, bucket: &'a str, name: &'a str) -> Call<'a, Object> {
        Box::pin(async move {
            let what = format!("copy {}/{} to {bucket}/{name}", from.bucket, from.name);
            self.call(&what, |state| {
                let found = state.buckets.get(from.bucket, from.name);
                let found = found.ok_or_else(|| missing(&what))?;
                let (content, metadata) = (found.content.clone(), found.object.metadata.clone());
                let taken = state.buckets.get(bucket, name).is_some();
                if taken || found.object.generation != from.generation {
                    return Err(conflict(&what));
                }
                Ok(state.buckets.put(bucket, name, content, metadata))
            })
            .await
        })
    }
}
