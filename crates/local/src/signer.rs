//! RSA keys, and the tokens that they sign: of the embedded GitLab and of the embedded Google.
//!
//! A token is put together by hand, so that it shares nothing with the library that verifies it
//! but the arithmetic: `aws-lc-rs`, which is there for TLS anyway.

use std::io;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A key as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SigningKey {
    /// PKCS #8, in base64.
    private: String,
}

/// Signs tokens with one key.
pub struct Signer {
    pair: RsaKeyPair,
    id: String,
}

impl SigningKey {
    /// A new one. That takes a moment.
    pub(crate) fn generate() -> io::Result<Self> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(io::Error::other)?;
        let private: Pkcs8V1Der<'_> = pair.as_der().map_err(io::Error::other)?;
        Ok(Self { private: BASE64_STANDARD.encode(private.as_ref()) })
    }
}

impl Signer {
    pub(crate) fn open(key: &SigningKey) -> io::Result<Self> {
        let private = BASE64_STANDARD.decode(&key.private).map_err(io::Error::other)?;
        let pair = RsaKeyPair::from_pkcs8(&private).map_err(io::Error::other)?;
        let (modulus, exponent) = components(&pair);
        // The key's thumbprint (RFC 7638).
        let canonical = format!(r#"{{"e":"{exponent}","kty":"RSA","n":"{modulus}"}}"#);
        let id = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(canonical));
        Ok(Self { pair, id })
    }

    /// Its public half, as a JWK set lists it.
    pub fn public(&self) -> Value {
        let (n, e) = components(&self.pair);
        json!({"kty": "RSA", "kid": self.id, "e": e, "n": n, "use": "sig", "alg": "RS256"})
    }

    /// A token with these claims, whatever they say.
    pub fn sign(&self, claims: &Value) -> io::Result<String> {
        let header = json!({"kid": self.id, "typ": "JWT", "alg": "RS256"});
        let [header, claims] =
            [&header, claims].map(|it| BASE64_URL_SAFE_NO_PAD.encode(it.to_string()));
        let signed = format!("{header}.{claims}");
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = SystemRandom::new();
        let signing = self.pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature);
        signing.map_err(io::Error::other)?;
        Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Modulus and exponent, as a JWK writes them.
fn components(pair: &RsaKeyPair) -> (String, String) {
    let key = pair.public_key();
    let encode = |it: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(it);
    let modulus = encode(key.modulus().big_endian_without_leading_zero());
    (modulus, encode(key.exponent().big_endian_without_leading_zero()))
}
