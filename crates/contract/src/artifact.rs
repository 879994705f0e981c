//! Artifacts: Cloud Storage objects pinned by generation and checksum.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::{Invalid, text_type};

text_type!(
    /// Name of an artifact in `branchline.yaml`, and in `{{ artifacts.NAME.uri }}`.
    ArtifactName,
    "an artifact name (a lower-case letter, then letters, digits, _ or -; at most 63)",
    63,
    "^[a-z][a-z0-9_-]*$"
);
text_type!(
    /// `gs://bucket/object`.
    ObjectUri,
    "a gs://bucket/object URI",
    1_252,
    r"^gs://[a-z0-9._-]{3,222}/[^\x00-\x1f\x7f-\x9f]{1,1024}$"
);

text_type!(
    /// `gs://bucket/` or `gs://bucket/directory/`.
    DirectoryUri,
    "a gs://bucket/directory/ URI",
    1_252,
    r"^gs://[a-z0-9._-]{3,222}/([^\x00-\x1f\x7f-\x9f]{0,1023}/)?$"
);

impl DirectoryUri {
    /// Joins the two halves; no directory is the whole bucket.
    pub fn new(bucket: &str, directory: &str) -> Result<Self, Invalid> {
        Self::parse(format!("gs://{bucket}/{directory}"))
    }
}

impl ObjectUri {
    /// Joins the two halves.
    pub fn new(bucket: &str, name: &str) -> Result<Self, Invalid> {
        Self::parse(format!("gs://{bucket}/{name}"))
    }

    /// The bucket.
    pub fn bucket(&self) -> &str {
        self.halves().0
    }

    /// The object's name within the bucket.
    pub fn object(&self) -> &str {
        self.halves().1
    }

    fn halves(&self) -> (&str, &str) {
        self.as_str()["gs://".len()..].split_once('/').expect("checked when parsed")
    }
}

/// CRC32C as Cloud Storage writes it: base64 of four big-endian bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String", description = "base64 of the big-endian CRC32C")]
#[schemars(extend("pattern" = "^[A-Za-z0-9+/]{5}[AQgw]==$"))]
pub struct Crc32c(pub u32);

impl std::fmt::Display for Crc32c {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&BASE64.encode(self.0.to_be_bytes()))
    }
}

impl From<Crc32c> for String {
    fn from(it: Crc32c) -> String {
        it.to_string()
    }
}

impl TryFrom<String> for Crc32c {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        let bytes = BASE64.decode(&text).ok().and_then(|it| <[u8; 4]>::try_from(it).ok());
        bytes
            .map(|it| Self(u32::from_be_bytes(it)))
            .ok_or_else(|| Invalid::new(&text, "a CRC32C (base64 of four bytes)"))
    }
}

/// SHA-256, 64 lower-case hex digits on the wire.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String", description = "64 lower-case hex digits")]
#[schemars(extend("pattern" = "^[0-9a-f]{64}$"))]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// Digest of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl std::fmt::Display for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl From<Sha256> for String {
    fn from(it: Sha256) -> String {
        it.to_string()
    }
}

impl TryFrom<String> for Sha256 {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        let mut bytes = [0; 32];
        let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
        match hex::decode_to_slice(&text, &mut bytes) {
            Ok(()) if lower => Ok(Self(bytes)),
            Ok(()) | Err(_) => Err(Invalid::new(&text, "a SHA-256 (64 lower-case hex digits)")),
        }
    }
}

/// One object, pinned. Several share a name when they are files of one directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Artifact {
    /// Name by which the training spec refers to it.
    pub name: ArtifactName,
    /// Where it lies.
    pub uri: ObjectUri,
    /// The directory that the name stands for, where the artifact is a glob or a directory; the same for
    /// all objects of the name, however many there are today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<DirectoryUri>,
    /// Generation that was uploaded or looked at.
    pub generation: i64,
    /// Size in bytes.
    pub size: u64,
    /// Checksum that Cloud Storage keeps for every object.
    pub crc32c: Crc32c,
    /// Digest computed by the publisher; absent for objects that it only pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
}
