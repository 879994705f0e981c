//! The data directory: what is answered survives a process being killed.
//!
//! ```text
//! drafts/                            uploads that are not finished
//! buckets/NAME/bucket.json           the bucket exists once this does
//! buckets/NAME/objects/SHA256.json   the live object of the name so hashed
//! buckets/NAME/content/GENERATION    its content, never changed
//! ```
//!
//! The rename of `SHA256.json` is what makes a new generation live. Content
//! that no object refers to is removed at the next start. Nothing is synced to
//! the medium: a power cut may cost the last writes, a killed process does not.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::content::Content;
use super::object::{Bucket, Object};
use super::store::{Entry, Namespace};

pub(super) struct Disk {
    root: PathBuf,
    drafts: AtomicU64,
}

impl Disk {
    /// Opens or creates the directory and removes what a crash left behind.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let drafts = root.join("drafts");
        if drafts.exists() {
            fs::remove_dir_all(&drafts)?;
        }
        fs::create_dir_all(&drafts)?;
        fs::create_dir_all(root.join("buckets"))?;
        Ok(Self { root: root.to_owned(), drafts: AtomicU64::new(0) })
    }

    /// Everything that was stored, by bucket name.
    pub(super) fn load(&self) -> io::Result<BTreeMap<String, Namespace>> {
        let mut namespaces = BTreeMap::new();
        for folder in fs::read_dir(self.root.join("buckets"))? {
            let folder = folder?.path();
            let record = folder.join("bucket.json");
            if record.exists() {
                let bucket: Bucket = read_json(&record)?;
                let objects = self.load_objects(&folder)?;
                namespaces.insert(bucket.name.clone(), Namespace { bucket, objects });
            }
        }
        Ok(namespaces)
    }

    fn load_objects(&self, folder: &Path) -> io::Result<BTreeMap<String, Entry>> {
        let mut objects = BTreeMap::new();
        let mut live = BTreeSet::new();
        for record in fs::read_dir(folder.join("objects"))? {
            let object: Object = read_json(&record?.path())?;
            live.insert(OsString::from(object.generation.to_string()));
            let content = Content::File(self.content_path(&object.bucket, object.generation));
            objects.insert(object.name.clone(), Entry { object, content });
        }
        for content in fs::read_dir(folder.join("content"))? {
            let content = content?;
            if !live.contains(&content.file_name()) {
                fs::remove_file(content.path())?;
            }
        }
        Ok(objects)
    }

    /// A path under `drafts/` that nobody else uses.
    pub(super) fn draft_path(&self) -> PathBuf {
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        self.root.join("drafts").join(number.to_string())
    }

    pub(super) fn content_path(&self, bucket: &str, generation: i64) -> PathBuf {
        self.folder(bucket).join("content").join(generation.to_string())
    }

    pub(super) fn save_bucket(&self, bucket: &Bucket) -> io::Result<()> {
        let folder = self.folder(&bucket.name);
        fs::create_dir_all(folder.join("objects"))?;
        fs::create_dir_all(folder.join("content"))?;
        self.write_json(&folder.join("bucket.json"), bucket)
    }

    pub(super) fn save_object(&self, object: &Object) -> io::Result<()> {
        self.write_json(&self.record_path(&object.bucket, &object.name), object)
    }

    pub(super) fn delete_object(&self, object: &Object) -> io::Result<()> {
        fs::remove_file(self.record_path(&object.bucket, &object.name))?;
        self.delete_content(object)
    }

    pub(super) fn delete_content(&self, object: &Object) -> io::Result<()> {
        fs::remove_file(self.content_path(&object.bucket, object.generation))
    }

    fn folder(&self, bucket: &str) -> PathBuf {
        self.root.join("buckets").join(bucket)
    }

    /// Names are hashed: they may hold slashes and be longer than a file name.
    fn record_path(&self, bucket: &str, name: &str) -> PathBuf {
        let hash = hex::encode(Sha256::digest(name));
        self.folder(bucket).join("objects").join(format!("{hash}.json"))
    }

    fn write_json(&self, path: &Path, value: &impl Serialize) -> io::Result<()> {
        let draft = self.draft_path();
        fs::write(&draft, serde_json::to_vec(value)?)?;
        fs::rename(draft, path)
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    serde_json::from_slice(&fs::read(path)?)
        .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
}
