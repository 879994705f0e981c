//! Objects and buckets as Cloud Storage describes them, and the rules for
//! their names.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use prost::encoding::encode_varint;
use serde::{Deserialize, Serialize};

use super::checksum::Checksums;
use super::error::Error;

const OBJECT_NAME_BYTES_MAX: usize = 1024;
const METADATA_BYTES_MAX: usize = 8 * 1024;

/// A bucket. Only its name can be chosen here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Its globally unique name.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
}

/// The live generation of an object, without its content. This is also its
/// record on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// The name of its bucket.
    pub bucket: String,
    /// Its name in the bucket.
    pub name: String,
    /// Changes with the content: microseconds since the epoch, always growing.
    pub generation: i64,
    /// Counts the changes of the attributes within this generation, from 1.
    pub metageneration: i64,
    /// The length of its content in bytes.
    pub size: u64,
    /// The checksums of its content.
    pub checksums: Checksums,
    /// When this generation was written.
    pub created: Timestamp,
    /// When its attributes changed last.
    pub updated: Timestamp,
    /// What its owner says about it.
    pub attributes: Attributes,
}

/// The part of an object's description that its owner chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    /// The media type, `application/octet-stream` when nobody said.
    pub content_type: Option<String>,
    /// Such as `gzip`: the content is kept and served as it came.
    pub content_encoding: Option<String>,
    /// How a browser should present a download.
    pub content_disposition: Option<String>,
    /// The language of the content.
    pub content_language: Option<String>,
    /// How long caches may keep the content.
    pub cache_control: Option<String>,
    /// A time that means something to the owner.
    pub custom_time: Option<Timestamp>,
    /// Keys and values of the owner's own.
    pub metadata: BTreeMap<String, String>,
}

impl Object {
    /// Changes with every generation and metageneration.
    pub(super) fn etag(&self) -> String {
        let mut bytes = vec![0x08];
        encode_varint(self.generation.cast_unsigned(), &mut bytes);
        bytes.push(0x10);
        encode_varint(self.metageneration.cast_unsigned(), &mut bytes);
        BASE64_STANDARD.encode(bytes)
    }
}

impl Attributes {
    pub(super) fn content_type(&self) -> &str {
        self.content_type.as_deref().unwrap_or("application/octet-stream")
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let metadata = &self.metadata;
        let bytes: usize = metadata.iter().map(|(k, v)| k.len() + v.len()).sum();
        if bytes > METADATA_BYTES_MAX {
            return Err(Error::invalid(format!(
                "The metadata for your object is too large: {bytes} bytes of {METADATA_BYTES_MAX}."
            )));
        }
        Ok(())
    }
}

/// 1 to 1024 bytes without line ends; `.`, `..` and ACME challenges are taken.
pub(super) fn check_object_name(name: &str) -> Result<(), Error> {
    let taken = matches!(name, "." | "..") || name.starts_with(".well-known/acme-challenge/");
    if name.is_empty() {
        Err(Error::invalid("Required"))
    } else if name.len() > OBJECT_NAME_BYTES_MAX || name.contains(['\r', '\n']) || taken {
        Err(Error::invalid(format!(
            "The specified object name is not valid: '{}'.",
            name.escape_default()
        )))
    } else {
        Ok(())
    }
}

/// 3 to 63 of `a-z 0-9 - _`, or up to 222 with dots between such components.
pub(super) fn check_bucket_name(name: &str) -> Result<(), Error> {
    let letter = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    let bytes_max = if name.contains('.') { 222 } else { 63 };
    let valid = (3..=bytes_max).contains(&name.len())
        && name.bytes().all(|it| letter(it) || matches!(it, b'-' | b'_' | b'.'))
        && name.bytes().next().is_some_and(letter)
        && name.bytes().last().is_some_and(letter)
        && name.split('.').all(|part| (1..=63).contains(&part.len()) && !edged_by_dash(part))
        && name.parse::<Ipv4Addr>().is_err()
        && !name.starts_with("goog")
        && !name.contains("google");
    if valid { Ok(()) } else { Err(Error::invalid(format!("Invalid bucket name: '{name}'."))) }
}

/// A component of a dotted name must be valid in a host name.
fn edged_by_dash(part: &str) -> bool {
    part.starts_with('-') || part.ends_with('-')
}
