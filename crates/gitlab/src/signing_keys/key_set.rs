//! The public keys of one issuer, as it publishes them (a JWK set). Pure.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;

/// GitLab has two, and for the time of a rotation some more.
const KEYS_MAX: usize = 32;
const KEY_ID_MAX: usize = 256;
/// In bytes, without leading zeros: 2048 to 8192 bits.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;
/// 65537. Everybody's, and GitLab's.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// Keys that sign by RS256, by their id.
#[derive(Clone, Default)]
pub struct KeySet(BTreeMap<String, DecodingKey>);

/// A document that is no set of keys.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Not JSON, or other JSON.
    #[error("it is no JWK set")]
    Decode(#[from] serde_json::Error),
    /// Nobody needs so many.
    #[error("it has more than {KEYS_MAX} keys")]
    TooMany,
    /// One of them would be the wrong one.
    #[error("two of its keys have the same id")]
    Ambiguous,
    /// Nothing but keys of other kinds, or weak ones.
    #[error("it has no RSA key of at least 2048 bits for RS256 signatures")]
    Empty,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Key>,
}

/// One key; what an RSA key has is empty in keys of other kinds.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Key {
    kty: String,
    kid: String,
    n: String,
    e: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
}

impl KeySet {
    /// Reads the keys that are fit for RS256, and passes over others.
    pub fn decode(document: &[u8]) -> Result<Self, Unusable> {
        let Document { keys } = serde_json::from_slice(document)?;
        if keys.len() > KEYS_MAX {
            return Err(Unusable::TooMany);
        }
        let mut found = BTreeMap::new();
        for key in keys {
            if let Some(decoding) = key.decoding()
                && found.insert(key.kid, decoding).is_some()
            {
                return Err(Unusable::Ambiguous);
            }
        }
        if found.is_empty() { Err(Unusable::Empty) } else { Ok(Self(found)) }
    }

    /// The key of that id.
    pub fn get(&self, id: &str) -> Option<&DecodingKey> {
        self.0.get(id)
    }
}

impl Key {
    fn decoding(&self) -> Option<DecodingKey> {
        let named = !self.kid.is_empty() && self.kid.len() <= KEY_ID_MAX;
        let signs = self.purpose.as_deref().is_none_or(|it| it == "sig");
        let fits = self.kty == "RSA" && self.alg.as_deref().is_none_or(|it| it == "RS256");
        let bytes = |text: &str| {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
            Some(bytes.into_iter().skip_while(|it| *it == 0).collect::<Vec<_>>())
        };
        let (modulus, exponent) = (bytes(&self.n)?, bytes(&self.e)?);
        // 2048 bits begin with a set one.
        let strong = MODULUS.contains(&modulus.len())
            && (modulus.len() > *MODULUS.start() || modulus[0] >= 0x80);
        let usable = named && signs && fits && strong && exponent == EXPONENT;
        usable.then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::id_token::tests::world::Signer;

    fn check(change: impl FnOnce(&mut Value), expected: Result<&[&str], &str>) {
        let mut keys = json!([Signer::First.public(), Signer::Rotated.public()]);
        change(&mut keys);
        let set = KeySet::decode(json!({"keys": keys}).to_string().as_bytes());
        let ids = set.as_ref().map(|it| it.0.keys().map(String::as_str).collect::<Vec<_>>());
        match (ids, expected) {
            (Ok(ids), Ok(expected)) => assert_eq!(ids, expected, "{keys}"),
            (Err(error), Err(expected)) => assert_eq!(error.to_string(), expected, "{keys}"),
            (ids, expected) => panic!("{keys}: {ids:?} and not {expected:?}"),
        }
    }

    #[test]
    fn keys_that_are_not_for_rs256_signatures_are_passed_over() {
        check(|_| (), Ok(&["First", "Rotated"]));
        check(|it| it[0]["alg"] = json!(null), Ok(&["First", "Rotated"]));
        check(|it| it[0]["use"] = json!("enc"), Ok(&["Rotated"]));
        check(|it| it[0]["alg"] = json!("RS512"), Ok(&["Rotated"]));
        check(|it| it[0] = json!({"kty": "EC", "kid": "k", "crv": "P-256"}), Ok(&["Rotated"]));
        check(|it| it[0] = json!({"kty": "oct", "kid": "k", "k": "c2VjcmV0"}), Ok(&["Rotated"]));
        check(|it| it[0]["kid"] = json!(""), Ok(&["Rotated"]));
        check(|it| it[0]["kid"] = json!("k".repeat(257)), Ok(&["Rotated"]));
        check(|it| it[0]["n"] = json!("%"), Ok(&["Rotated"]));
    }

    #[test]
    fn weak_keys_are_passed_over() {
        let modulus = |first: u8, length: usize| {
            let bytes: Vec<u8> = [first].into_iter().chain(vec![0xff; length - 1]).collect();
            json!(BASE64_URL_SAFE_NO_PAD.encode(bytes))
        };
        check(|it| it[0]["n"] = modulus(0x80, 256), Ok(&["First", "Rotated"]));
        check(|it| it[0]["n"] = modulus(0x7f, 256), Ok(&["Rotated"]));
        check(|it| it[0]["n"] = modulus(0xff, 128), Ok(&["Rotated"]));
        check(|it| it[0]["n"] = modulus(0x00, 256), Ok(&["Rotated"]));
        check(|it| it[0]["n"] = modulus(0xff, 1025), Ok(&["Rotated"]));
        check(|it| it[0]["e"] = json!("AQ"), Ok(&["Rotated"]));
        check(|it| it[0]["e"] = json!("Aw"), Ok(&["Rotated"]));
    }

    #[test]
    fn a_set_that_leaves_a_doubt_is_refused_as_a_whole() {
        check(|it| it[1]["kid"] = json!("First"), Err("two of its keys have the same id"));
        check(
            |it| *it = json!([]),
            Err("it has no RSA key of at least 2048 bits for RS256 signatures"),
        );
        check(|it| *it = json!(vec![it[0].clone(); 33]), Err("it has more than 32 keys"));
        check(|it| *it = json!("none"), Err("it is no JWK set"));
        check(|it| it[0]["n"] = json!(7), Err("it is no JWK set"));
    }
}
