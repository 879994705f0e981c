//! Two GitLab instances, a stranger with a key of his own, and what each of them can sign.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use branchline_contract::Gitlab;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::id_token::agreement::agree_by;
use crate::id_token::{
    Account, Check, Checks, Claims, Expected, Forgery, verify_account, verify_by,
};
use crate::signing_keys::KeySet;

/// When the genuine token was issued and its message published.
pub(crate) const AT: i64 = 1_795_000_000;
pub(crate) const ISSUER: &str = "https://gitlab.example.com";
pub(crate) const SECOND_ISSUER: &str = "https://git.second.example:8443/gitlab";
pub(crate) const STS: &str = "https://iam.googleapis.com/projects/1/locations/global/\
                              workloadIdentityPools/p";
pub(crate) const SHA: &str = "1111111111111111111111111111111111111111";

/// Whose key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signer {
    First,
    Rotated,
    SecondInstance,
    Stranger,
}

/// How it signs.
#[derive(Clone, Copy)]
pub(crate) enum Seal {
    Rsa(&'static dyn RsaEncoding),
    /// With the public key as the secret.
    Hmac,
    None,
}

pub(crate) const RS256: Seal = Seal::Rsa(&RSA_PKCS1_SHA256);
pub(crate) const RS512: Seal = Seal::Rsa(&RSA_PKCS1_SHA512);
pub(crate) const PS256: Seal = Seal::Rsa(&RSA_PSS_SHA256);

/// A token, and the message that it comes with. Genuine, until it is changed.
pub(crate) struct Offer {
    pub(crate) header: Value,
    pub(crate) claims: Value,
    pub(crate) signer: Signer,
    pub(crate) seal: Seal,
    /// Changes the texts of header and claims before they are signed.
    pub(crate) rewrite: fn([String; 2]) -> [String; 2],
    /// Changes the token afterwards.
    pub(crate) tamper: fn(String) -> String,
    pub(crate) message: Gitlab,
    pub(crate) audience: &'static str,
    pub(crate) published: i64,
}

impl Offer {
    pub(crate) fn changed(change: fn(&mut Self)) -> Self {
        let mut offer = Self {
            header: json!({"alg": "RS256", "kid": Signer::First.id(), "typ": "JWT"}),
            claims: claims(),
            signer: Signer::First,
            seal: RS256,
            rewrite: |it| it,
            tamper: |it| it,
            message: message(),
            audience: "branchline",
            published: AT,
        };
        change(&mut offer);
        offer
    }

    pub(crate) fn also(mut self, change: fn(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn sign_by(&mut self, signer: Signer) {
        self.signer = signer;
        self.header["kid"] = json!(signer.id());
    }

    pub(crate) fn come_from_the_second_instance(&mut self) {
        self.sign_by(Signer::SecondInstance);
        self.claims["iss"] = json!(SECOND_ISSUER);
        self.message.host = "git.second.example:8443".parse().unwrap();
    }

    pub(crate) fn remove(&mut self, claim: &str) {
        self.claims.as_object_mut().unwrap().remove(claim).unwrap();
    }

    pub(crate) fn publish_at(&mut self, second: i64) {
        self.published = second;
    }

    pub(crate) fn token(&self) -> String {
        let texts = (self.rewrite)([self.header.to_string(), self.claims.to_string()]);
        let [header, claims] = texts.map(|it| BASE64_URL_SAFE_NO_PAD.encode(it));
        let signed = format!("{header}.{claims}");
        let signature = self.signer.sign(self.seal, signed.as_bytes());
        (self.tamper)(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The same as a token of Google's.
    pub(crate) fn account(&self) -> Result<Account, Forgery> {
        let published = Timestamp::from_second(self.published).unwrap();
        let audiences = [self.audience.to_owned()];
        let expected = Expected { issuers: &ISSUERS, audiences: &audiences, published };
        verify_account(&self.token(), &expected)
    }

    /// What comes of it, without these checks.
    pub(crate) fn judge(&self, left_out: &[Check]) -> Result<Claims, Forgery> {
        let checks = Checks { left_out: left_out.to_vec().leak() };
        let published = Timestamp::from_second(self.published).unwrap();
        let expected =
            Expected { issuers: &ISSUERS, audiences: &[self.audience.to_owned()], published };
        let claims = verify_by(checks, &self.token(), &expected, Claims::read, Claims::standing)?;
        agree_by(checks, &claims, &self.message)?;
        Ok(claims)
    }
}

/// The claims of a job's token, as GitLab writes them.
fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "project_path:ml/iris:ref_type:branch:ref:topic", "aud": "branchline",
        "iat": AT, "nbf": AT - 5, "exp": AT + 3_600, "jti": "0f9b5a3e-6a0c-4b5e-9c57-2d0d7a3a1f11",
        "namespace_id": "12", "namespace_path": "ml", "project_id": "42", "project_path": "ml/iris",
        "user_id": "5", "user_login": "ada", "user_email": "ada@example.com",
        "user_access_level": "developer", "pipeline_id": "7", "pipeline_source": "push",
        "job_id": "70", "ref": "topic", "ref_type": "branch", "ref_path": "refs/heads/topic",
        "ref_protected": "true", "runner_id": 3, "runner_environment": "self-hosted", "sha": SHA,
        "project_visibility": "private", "ci_config_sha": SHA,
        "ci_config_ref_uri": "gitlab.example.com/ml/iris//.gitlab-ci.yml@refs/heads/topic",
        "job_project_id": "42", "job_project_path": "ml/iris", "job_namespace_id": "12",
        "job_namespace_path": "ml", "job_source": "push",
    })
}

fn message() -> Gitlab {
    Gitlab {
        host: "gitlab.example.com".parse().unwrap(),
        project_id: 42,
        project_path: "ml/iris".parse().unwrap(),
        sha: SHA.parse().unwrap(),
        git_ref: "topic".parse().unwrap(),
        pipeline_id: 7,
        job_id: 70,
        merge_request: None,
    }
}

/// As each instance publishes them.
static ISSUERS: LazyLock<BTreeMap<String, KeySet>> = LazyLock::new(|| {
    let set = |keys: &[Signer]| {
        let keys: Vec<_> = keys.iter().map(|it| it.public()).collect();
        KeySet::decode(json!({"keys": keys}).to_string().as_bytes()).unwrap()
    };
    BTreeMap::from([
        (ISSUER.to_owned(), set(&[Signer::First, Signer::Rotated])),
        (SECOND_ISSUER.to_owned(), set(&[Signer::SecondInstance])),
    ])
});

static PAIRS: LazyLock<[RsaKeyPair; 4]> =
    LazyLock::new(|| [(); 4].map(|()| RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));

impl Signer {
    pub(crate) fn id(self) -> String {
        format!("{self:?}")
    }

    fn pair(self) -> &'static RsaKeyPair {
        &PAIRS[self as usize]
    }

    pub(crate) fn public(self) -> Value {
        let key = self.pair().public_key();
        let encode = |it: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(it);
        json!({
            "kty": "RSA", "kid": self.id(), "use": "sig", "alg": "RS256",
            "n": encode(key.modulus().big_endian_without_leading_zero()),
            "e": encode(key.exponent().big_endian_without_leading_zero()),
        })
    }

    fn sign(self, seal: Seal, signed: &[u8]) -> Vec<u8> {
        match seal {
            Seal::None => Vec::new(),
            Seal::Hmac => {
                let secret = self.pair().public_key().as_ref();
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed).as_ref().to_vec()
            }
            Seal::Rsa(encoding) => {
                let mut signature = vec![0; self.pair().public_modulus_len()];
                let rng = SystemRandom::new();
                self.pair().sign(encoding, &rng, signed, &mut signature).unwrap();
                signature
            }
        }
    }
}

/// The token with other text in one of its segments; the two differ in one bit.
pub(crate) fn flip(token: &str, segment: usize, from: &str, to: &str) -> String {
    let bits = from.bytes().zip(to.bytes()).map(|(from, to)| (from ^ to).count_ones());
    assert_eq!((from.len(), bits.sum::<u32>()), (to.len(), 1));
    let mut segments: Vec<_> = token.split('.').map(str::to_owned).collect();
    let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(&segments[segment]).unwrap());
    segments[segment] = BASE64_URL_SAFE_NO_PAD.encode(text.unwrap().replacen(from, to, 1));
    segments.join(".")
}

/// The token with one bit of its signature changed.
pub(crate) fn flip_bit(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    signature[100] ^= 1;
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}
