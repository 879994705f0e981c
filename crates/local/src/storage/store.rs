//! The core: buckets, live objects, generations and preconditions, strongly
//! consistent under one lock. Knows nothing of HTTP or gRPC.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use jiff::{Timestamp, Unit};

use super::content::{Content, Draft, Opened, duplicate};
use super::copy::Copy;
use super::disk::Disk;
use super::error::Error;
use super::list::{self, Listing, Page};
use super::object::{Attributes, Bucket, Object, check_bucket_name, check_object_name};
use super::precondition::Preconditions;

pub(super) struct Store {
    state: Mutex<State>,
    disk: Option<Disk>,
}

struct State {
    namespaces: BTreeMap<String, Namespace>,
    /// The newest generation given out: the next is larger, whatever the clock says.
    generation: i64,
}

/// A bucket and its live objects by name.
pub(super) struct Namespace {
    pub(super) bucket: Bucket,
    pub(super) objects: BTreeMap<String, Entry>,
}

pub(super) struct Entry {
    pub(super) object: Object,
    pub(super) content: Content,
}

/// Which object a request means. Only the live generation is kept, so a pinned
/// older one does not exist.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) bucket: String,
    pub(super) name: String,
    pub(super) generation: Option<i64>,
}

impl Target {
    pub(super) fn live(bucket: impl Into<String>, name: impl Into<String>) -> Self {
        Self { bucket: bucket.into(), name: name.into(), generation: None }
    }

    fn missing(&self) -> Error {
        Error::NoSuchObject { bucket: self.bucket.clone(), object: self.name.clone() }
    }
}

impl Store {
    pub(super) fn open(data_dir: Option<&Path>) -> io::Result<Self> {
        let disk = data_dir.map(Disk::open).transpose()?;
        let namespaces = match &disk {
            Some(disk) => disk.load()?,
            None => BTreeMap::new(),
        };
        let entries = namespaces.values().flat_map(|it| it.objects.values());
        let generation = entries.map(|it| it.object.generation).max().unwrap_or(0);
        Ok(Self { state: Mutex::new(State { namespaces, generation }), disk })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }

    /// Where arriving content is put until it is complete.
    pub(super) fn draft(&self) -> Result<Draft, Error> {
        Ok(match &self.disk {
            Some(disk) => Draft::in_file(disk.draft_path())?,
            None => Draft::in_memory(),
        })
    }

    pub(super) fn create_bucket(&self, name: &str) -> Result<Bucket, Error> {
        check_bucket_name(name)?;
        let mut state = self.lock();
        if state.namespaces.contains_key(name) {
            return Err(Error::BucketExists);
        }
        let bucket = Bucket { name: name.to_owned(), created: milliseconds(Timestamp::now()) };
        if let Some(disk) = &self.disk {
            disk.save_bucket(&bucket)?;
        }
        let namespace = Namespace { bucket: bucket.clone(), objects: BTreeMap::new() };
        state.namespaces.insert(name.to_owned(), namespace);
        Ok(bucket)
    }

    pub(super) fn bucket(&self, name: &str) -> Result<Bucket, Error> {
        Ok(self.lock().namespace(name)?.bucket.clone())
    }

    pub(super) fn buckets(&self) -> Vec<Bucket> {
        let state = self.lock();
        state.namespaces.values().map(|it| it.bucket.clone()).collect()
    }

    /// Whether a write would be taken now: lets an upload fail before its content arrives.
    pub(super) fn check_write(&self, to: &Target, when: &Preconditions) -> Result<(), Error> {
        check_object_name(&to.name)?;
        when.check_write(self.lock().live(to)?)
    }

    /// Makes the draft the live generation of an object.
    pub(super) fn write(
        &self,
        to: &Target,
        attributes: Attributes,
        draft: Draft,
        when: &Preconditions,
    ) -> Result<Object, Error> {
        check_object_name(&to.name)?;
        attributes.check()?;
        let mut state = self.lock();
        when.check_write(state.live(to)?)?;
        let mut object = state.next_object(to, attributes);
        object.size = draft.size();
        object.checksums = draft.checksums();
        let content = draft.keep(|| self.content_path(&object))?;
        self.replace(&mut state, Entry { object, content })
    }

    /// The object that would be copied now, if it may.
    pub(super) fn check_copy(&self, copy: &Copy) -> Result<Object, Error> {
        check_object_name(&copy.to.name)?;
        let state = self.lock();
        let source = &state.entry(&copy.from)?.object;
        copy.only.check_write(Some(source))?;
        copy.when.check_write(state.live(&copy.to)?)?;
        Ok(source.clone())
    }

    /// Copies an object.
    pub(super) fn copy(&self, copy: Copy) -> Result<Object, Error> {
        let Copy { from, only, to, attributes, when } = copy;
        check_object_name(&to.name)?;
        let mut state = self.lock();
        let source = state.entry(&from)?;
        only.check_write(Some(&source.object))?;
        let attributes = attributes.unwrap_or_else(|| source.object.attributes.clone());
        attributes.check()?;
        let (size, checksums) = (source.object.size, source.object.checksums);
        let content = source.content.clone();
        when.check_write(state.live(&to)?)?;
        let mut object = state.next_object(&to, attributes);
        (object.size, object.checksums) = (size, checksums);
        let content = duplicate(&content, || self.content_path(&object))?;
        self.replace(&mut state, Entry { object, content })
    }

    pub(super) fn stat(&self, from: &Target, when: &Preconditions) -> Result<Object, Error> {
        let state = self.lock();
        let entry = state.entry(from)?;
        when.check_read(&entry.object)?;
        Ok(entry.object.clone())
    }

    pub(super) fn read(
        &self,
        from: &Target,
        when: &Preconditions,
    ) -> Result<(Object, Opened), Error> {
        let state = self.lock();
        let entry = state.entry(from)?;
        when.check_read(&entry.object)?;
        Ok((entry.object.clone(), entry.content.open()?))
    }

    /// Changes an object's attributes within its generation.
    pub(super) fn update(
        &self,
        target: &Target,
        when: &Preconditions,
        change: impl FnOnce(&mut Attributes) -> Result<(), Error>,
    ) -> Result<Object, Error> {
        let mut state = self.lock();
        let mut object = state.entry(target)?.object.clone();
        when.check_write(Some(&object))?;
        change(&mut object.attributes)?;
        object.attributes.check()?;
        object.metageneration += 1;
        object.updated = milliseconds(Timestamp::now()).max(object.updated);
        if let Some(disk) = &self.disk {
            disk.save_object(&object)?;
        }
        state.entry_mut(target)?.object = object.clone();
        Ok(object)
    }

    pub(super) fn delete(&self, target: &Target, when: &Preconditions) -> Result<(), Error> {
        let mut state = self.lock();
        let object = &state.entry(target)?.object;
        when.check_write(Some(object))?;
        if let Some(disk) = &self.disk {
            disk.delete_object(object)?;
        }
        state.namespace_mut(&target.bucket)?.objects.remove(&target.name);
        Ok(())
    }

    pub(super) fn list(&self, bucket: &str, listing: &Listing) -> Result<Page, Error> {
        Ok(list::page(&self.lock().namespace(bucket)?.objects, listing))
    }

    fn content_path(&self, object: &Object) -> std::path::PathBuf {
        let disk = self.disk.as_ref().expect("content is in files with a data directory only");
        disk.content_path(&object.bucket, object.generation)
    }

    fn replace(&self, state: &mut State, entry: Entry) -> Result<Object, Error> {
        let object = entry.object.clone();
        if let Some(disk) = &self.disk {
            disk.save_object(&object)?;
        }
        let objects = &mut state.namespace_mut(&object.bucket)?.objects;
        let replaced = objects.insert(object.name.clone(), entry);
        if let (Some(disk), Some(replaced)) = (&self.disk, replaced) {
            disk.delete_content(&replaced.object)?;
        }
        Ok(object)
    }
}

impl State {
    fn namespace(&self, bucket: &str) -> Result<&Namespace, Error> {
        self.namespaces.get(bucket).ok_or(Error::NoSuchBucket)
    }

    fn namespace_mut(&mut self, bucket: &str) -> Result<&mut Namespace, Error> {
        self.namespaces.get_mut(bucket).ok_or(Error::NoSuchBucket)
    }

    /// The live object of that name, whatever generation was asked for.
    fn live(&self, target: &Target) -> Result<Option<&Object>, Error> {
        let namespace = self.namespace(&target.bucket)?;
        Ok(namespace.objects.get(&target.name).map(|it| &it.object))
    }

    fn entry(&self, target: &Target) -> Result<&Entry, Error> {
        let namespace = self.namespace(&target.bucket)?;
        let entry = namespace.objects.get(&target.name);
        entry
            .filter(|it| target.generation.is_none_or(|wanted| wanted == it.object.generation))
            .ok_or_else(|| target.missing())
    }

    fn entry_mut(&mut self, target: &Target) -> Result<&mut Entry, Error> {
        let namespace = self.namespace_mut(&target.bucket)?;
        let entry = namespace.objects.get_mut(&target.name);
        entry.ok_or_else(|| target.missing())
    }

    /// A new generation of an object, its content not yet described.
    fn next_object(&mut self, to: &Target, attributes: Attributes) -> Object {
        let now = Timestamp::now();
        self.generation = now.as_microsecond().max(self.generation + 1);
        let created = milliseconds(now);
        Object {
            bucket: to.bucket.clone(),
            name: to.name.clone(),
            generation: self.generation,
            metageneration: 1,
            size: 0,
            checksums: super::checksum::Checksums::default(),
            created,
            updated: created,
            attributes,
        }
    }
}

/// Cloud Storage keeps its times to the millisecond.
fn milliseconds(time: Timestamp) -> Timestamp {
    time.round(Unit::Millisecond).unwrap_or(time)
}
