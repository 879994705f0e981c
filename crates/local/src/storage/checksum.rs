//! CRC32C and MD5 in the forms that Cloud Storage writes them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

use super::error::Error;

/// The checksums of an object's content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksums {
    /// CRC-32C (Castagnoli).
    pub crc32c: u32,
    /// MD5.
    pub md5: [u8; 16],
}

impl Checksums {
    /// Base64 over the big-endian number, as every Google API has it.
    pub(super) fn crc32c_base64(&self) -> String {
        BASE64_STANDARD.encode(self.crc32c.to_be_bytes())
    }

    pub(super) fn md5_base64(&self) -> String {
        BASE64_STANDARD.encode(self.md5)
    }
}

/// Computes both checksums while the content passes by.
#[derive(Clone, Default)]
pub(super) struct Hasher {
    crc32c: u32,
    md5: Md5,
}

impl Hasher {
    pub(super) fn update(&mut self, chunk: &[u8]) {
        self.crc32c = crc32c::crc32c_append(self.crc32c, chunk);
        self.md5.update(chunk);
    }

    pub(super) fn finish(self) -> Checksums {
        Checksums { crc32c: self.crc32c, md5: self.md5.finalize().into() }
    }
}

/// What the client says that the checksums are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Declared {
    crc32c: Option<u32>,
    md5: Option<[u8; 16]>,
}

impl Declared {
    pub(super) fn set_crc32c(&mut self, text: &str) -> Result<(), Error> {
        self.crc32c = Some(u32::from_be_bytes(decode(text, "crc32c")?));
        Ok(())
    }

    pub(super) fn set_md5(&mut self, text: &str) -> Result<(), Error> {
        self.md5 = Some(decode(text, "md5Hash")?);
        Ok(())
    }

    /// Takes over one `x-goog-hash` header: `crc32c=…,md5=…`.
    pub(super) fn set_from_header(&mut self, value: &str) -> Result<(), Error> {
        for item in value.split(',') {
            match item.trim().split_once('=') {
                Some(("crc32c", text)) => self.set_crc32c(text)?,
                Some(("md5", text)) => self.set_md5(text)?,
                Some(_) | None => {
                    return Err(Error::invalid(format!("Invalid x-goog-hash: {value}.")));
                }
            }
        }
        Ok(())
    }

    pub(super) fn check(&self, actual: &Checksums) -> Result<(), Error> {
        if let Some(crc32c) = self.crc32c
            && crc32c != actual.crc32c
        {
            return Err(Error::invalid(format!(
                "Provided CRC32C \"{}\" doesn't match calculated CRC32C \"{}\".",
                BASE64_STANDARD.encode(crc32c.to_be_bytes()),
                actual.crc32c_base64()
            )));
        }
        if let Some(md5) = self.md5
            && md5 != actual.md5
        {
            return Err(Error::invalid(format!(
                "Provided MD5 hash \"{}\" doesn't match calculated MD5 hash \"{}\".",
                BASE64_STANDARD.encode(md5),
                actual.md5_base64()
            )));
        }
        Ok(())
    }
}

fn decode<const N: usize>(text: &str, field: &str) -> Result<[u8; N], Error> {
    BASE64_STANDARD
        .decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| Error::invalid(format!("Invalid value for {field}: {text}.")))
}
