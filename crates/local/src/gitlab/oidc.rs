//! The issuer of ID tokens: its keys, and what its tokens say about a job.
//!
//! A token is put together by hand, so that it shares nothing with the library that verifies it
//! but the arithmetic: `aws-lc-rs`, which is there for TLS anyway.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::error::Error;
use super::pipeline::{Job, JobKind};
use super::state::State;
use super::variables::Variables;

/// GitLab's default for the time that a job may run, and so for the life of its tokens.
const JOB_TIMEOUT_SECS: i64 = 3_600;
/// Where GitLab looks for a project's pipeline.
const CI_CONFIG: &str = ".gitlab-ci.yml";

/// A key as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SigningKey {
    /// PKCS #8, in base64.
    private: String,
}

/// Signs tokens with one key.
pub struct Signer {
    pair: RsaKeyPair,
    id: String,
}

impl State {
    /// A token for a CI job, as `id_tokens:` in its configuration asks for one.
    pub(super) fn id_token(&mut self, job_id: u64, audience: &Value) -> Result<String, Error> {
        let job = self.jobs.get(&job_id).filter(|it| it.kind == JobKind::Build);
        let job = job.ok_or(Error::NotFound("Job"))?.clone();
        let claims = self.claims(&job, audience)?;
        self.signer()?.sign(&claims)
    }

    /// The variables in which a job finds the tokens that its configuration asks for.
    pub(super) fn id_token_variables(&mut self, job: &Job) -> Result<Variables, Error> {
        let mut all = Variables::new();
        for (name, audience) in self.wanted_id_tokens(job)? {
            all.insert(name, self.id_token(job.id, &audience)?);
        }
        Ok(all)
    }

    /// Makes a new key, which signs from now on. Those before it stay published.
    pub(super) fn rotate_key(&mut self) -> Result<(), Error> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(broken)?;
        let private: Pkcs8V1Der<'_> = pair.as_der().map_err(broken)?;
        let key = SigningKey { private: BASE64_STANDARD.encode(private.as_ref()) };
        Ok(self.signing_keys.put(self.signing_keys.next_id(), key)?)
    }

    /// All keys as a JWK set lists them.
    pub(super) fn public_keys(&mut self) -> Result<Vec<Value>, Error> {
        self.signer()?;
        let keys = self.signing_keys.values().map(Signer::open);
        keys.map(|it| Ok(it?.public())).collect()
    }

    /// The newest key. The first is made when it is needed, for that takes a moment.
    pub(super) fn signer(&mut self) -> Result<Signer, Error> {
        if self.signing_keys.is_empty() {
            self.rotate_key()?;
        }
        let (_, newest) = self.signing_keys.last_key_value().ok_or(Error::NotFound("Key"))?;
        Signer::open(newest)
    }

    /// `id_tokens:` of the job, or else of all jobs, in the commit's own configuration; what it
    /// includes from elsewhere is not read.
    fn wanted_id_tokens(&self, job: &Job) -> Result<Vec<(String, Value)>, Error> {
        let config = match self.read_file(job.project_id, &job.sha, CI_CONFIG) {
            Err(Error::NotFound(_)) => return Ok(Vec::new()),
            other => other?,
        };
        let refused = |why: &str| Error::Refused(json!({"base": [format!("{CI_CONFIG}: {why}")]}));
        let config: Value = serde_saphyr::from_slice(&config)
            .map_err(|_| refused("Invalid configuration format"))?;
        let of = |section: &str| config.get(section)?.get("id_tokens")?.as_object();
        let wanted = of(&job.name).or_else(|| of("default")).into_iter().flatten();
        let token = |(name, it): (&String, &Value)| {
            let audience = it.get("aud").filter(|it| it.is_string() || it.is_array());
            let audience = audience.ok_or_else(|| refused("id_tokens config missing aud"))?;
            Ok((name.clone(), audience.clone()))
        };
        wanted.map(token).collect()
    }

    /// Ids and booleans are texts, but for the runner's id: that is how GitLab writes them.
    fn claims(&self, job: &Job, audience: &Value) -> Result<Value, Error> {
        let project = self.project(job.project_id)?;
        let pipeline = self.pipeline(job.project_id, job.pipeline_id)?;
        let user = self.user(job.user_id)?;
        // In a merge request pipeline, the ref is the source branch.
        let reference = match pipeline.merge_request_iid {
            Some(iid) => &self.merge_request(project.id, iid)?.source_branch,
            None => &pipeline.reference,
        };
        let (kind, path) =
            if project.is_tag(reference) { ("tag", "tags") } else { ("branch", "heads") };
        let ref_path = format!("refs/{path}/{reference}");
        let host = self.external_url.split_once("://").map_or("", |(_, host)| host);
        // Groups are no records here: one is known by its first project.
        let mut siblings = self.projects.values();
        let first = siblings.find(|it| it.namespace() == project.namespace());
        let namespace_id = first.map_or(project.id, |it| it.id).to_string();
        let protected = kind == "branch" && project.is_protected(reference);
        let iat = Timestamp::now().as_second();
        let mut claims = Map::new();
        let mut add = |more: Value| claims.extend(more.as_object().cloned().unwrap_or_default());
        add(json!({
            "namespace_id": namespace_id,
            "namespace_path": project.namespace(),
            "project_id": project.id.to_string(),
            "project_path": project.path,
            "user_id": user.id.to_string(),
            "user_login": user.username,
            "user_email": user.email(),
            "user_access_level": user.access_level.name(),
            "job_project_id": project.id.to_string(),
            "job_project_path": project.path,
            "job_namespace_id": namespace_id,
            "job_namespace_path": project.namespace(),
        }));
        add(json!({
            "pipeline_id": pipeline.id.to_string(),
            "pipeline_source": pipeline.source.name(),
            "job_id": job.id.to_string(),
            "job_source": pipeline.source.name(),
            "ref": reference,
            "ref_type": kind,
            "ref_path": ref_path,
            "ref_protected": protected.to_string(),
            "runner_id": 1,
            "runner_environment": "self-hosted",
            "sha": job.sha,
            "project_visibility": "private",
            "ci_config_ref_uri": format!("{host}/{}//{CI_CONFIG}@{ref_path}", project.path),
            "ci_config_sha": job.sha,
        }));
        add(json!({
            "jti": uuid(),
            "iat": iat,
            "nbf": iat - 5,
            "exp": iat + JOB_TIMEOUT_SECS,
            "iss": self.external_url,
            "sub": format!("project_path:{}:ref_type:{kind}:ref:{reference}", project.path),
            "aud": audience,
        }));
        Ok(Value::Object(claims))
    }
}

impl Signer {
    fn open(key: &SigningKey) -> Result<Self, Error> {
        let private = BASE64_STANDARD.decode(&key.private).map_err(broken)?;
        let pair = RsaKeyPair::from_pkcs8(&private).map_err(broken)?;
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
    pub fn sign(&self, claims: &Value) -> Result<String, Error> {
        let header = json!({"kid": self.id, "typ": "JWT", "alg": "RS256"});
        let [header, claims] =
            [&header, claims].map(|it| BASE64_URL_SAFE_NO_PAD.encode(it.to_string()));
        let signed = format!("{header}.{claims}");
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = SystemRandom::new();
        let signing = self.pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature);
        signing.map_err(broken)?;
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

/// A random one (version 4).
fn uuid() -> String {
    let random = fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{random:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// A key that cannot be made, kept or read.
fn broken(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Store(std::io::Error::other(error))
}
