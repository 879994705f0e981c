//! Foreign tokens: taken apart, and their signatures checked.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

/// A token whose signature has not been checked.
pub(super) struct Jwt {
    header: Value,
    pub(super) claims: Value,
    signed: String,
    signature: Vec<u8>,
}

impl Jwt {
    pub(super) fn read(text: &str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let object = |part| {
            let value: Value = serde_json::from_slice(&decode(part)?).ok()?;
            value.is_object().then_some(value)
        };
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
            signed: signed.to_owned(),
            signature: decode(signature)?,
        })
    }

    /// The key of a set that it says it is signed with.
    pub(super) fn key<'a>(&self, keys: &'a [Value]) -> Option<&'a Value> {
        let id = self.header.get("kid")?.as_str()?;
        keys.iter().find(|it| it["kid"] == id)
    }

    /// Whether that key has signed it, with RS256.
    pub(super) fn is_signed_with(&self, key: &Value) -> bool {
        let part = |name| key[name].as_str().and_then(decode);
        let (Some(n), Some(e)) = (part("n"), part("e")) else { return false };
        let key = RsaPublicKeyComponents { n, e };
        let algorithm = &RSA_PKCS1_2048_8192_SHA256;
        self.header["alg"] == "RS256"
            && key.verify(algorithm, self.signed.as_bytes(), &self.signature).is_ok()
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}
