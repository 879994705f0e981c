//! A table of records: in memory, and with a directory one file per record, so
//! that nothing that was answered is lost when the process is killed.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads like a map; written only through [`Table::put`]. Rows are never removed.
pub(super) struct Table<K, V> {
    rows: BTreeMap<K, V>,
    dir: Option<PathBuf>,
}

impl<K, V> Table<K, V>
where
    K: Ord + Display + FromStr,
    V: Serialize + DeserializeOwned,
{
    /// Opens the table `name` below `parent` and reads every record of it.
    pub(super) fn open(parent: Option<&Path>, name: &str) -> io::Result<Self> {
        let mut rows = BTreeMap::new();
        let dir = parent.map(|it| it.join(name));
        if let Some(dir) = &dir {
            fs::create_dir_all(dir)?;
            for entry in fs::read_dir(dir)? {
                let path = entry?.path();
                // Anything else is the temporary file of a write that was cut off.
                if path.extension().is_none_or(|it| it != "json") {
                    continue;
                }
                let stem = path.file_stem().and_then(|it| it.to_str());
                let key = stem.and_then(|it| it.parse().ok()).ok_or_else(|| {
                    io::Error::other(format!("{} is no record of this table", path.display()))
                })?;
                rows.insert(key, serde_json::from_slice(&fs::read(&path)?)?);
            }
        }
        Ok(Self { rows, dir })
    }

    /// Writes the record to disk, then to memory: memory is never ahead.
    pub(super) fn put(&mut self, key: K, row: V) -> io::Result<()> {
        if let Some(dir) = &self.dir {
            let path = dir.join(format!("{key}.json"));
            let temporary = path.with_extension("new");
            fs::write(&temporary, serde_json::to_vec(&row)?)?;
            fs::rename(&temporary, &path)?;
        }
        self.rows.insert(key, row);
        Ok(())
    }
}

impl<V> Table<u64, V> {
    /// The id of the next record.
    pub(super) fn next_id(&self) -> u64 {
        self.rows.last_key_value().map_or(1, |(id, _)| id + 1)
    }
}

impl<K, V> Deref for Table<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &Self::Target {
        &self.rows
    }
}
