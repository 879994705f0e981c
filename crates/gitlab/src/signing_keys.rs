//! The door to the signing keys of the issuers that are trusted, and what they prove.
//!
//! Keys are fetched when a token needs them and are remembered for a while. Nobody can make us
//! ask an issuer more often than twice a minute; a token whose key is unknown is a forgery only if
//! its issuer was asked since it was sent or read, and until then it has to come again.

mod key_set;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use branchline_contract::GitlabHost;
use jiff::Timestamp;
use reqwest::Url;
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;
use tracing::instrument;

pub use self::key_set::{KeySet, Unusable};

use crate::error::Error;
use crate::http;
use crate::id_token::{
    Account, Claims, Expected, Forgery, SKEW_MAX, host_of, opens_the_cloud, verify, verify_account,
};

/// Between two questions to one issuer, whatever came of the first.
const INTERVAL: Duration = Duration::from_secs(30);
/// A key that its issuer withdraws is believed for so long.
const AGE_MAX: Duration = Duration::from_hours(1);
/// Of the discovery document, and of the keys.
const DOCUMENT_MAX: usize = 64 << 10;
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Whoever signs tokens that are believed: a GitLab instance, or Google.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the key of the configuration is the claim's name")]
pub struct Issuer {
    /// Its URL as its tokens write it in `iss`, such as `https://gitlab.com`.
    pub issuer: String,
    /// File with its JWK set, for an instance that cannot be reached from here.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// URL of its JWK set, where that is not what the issuer's own address leads to.
    #[serde(default)]
    pub jwks_uri: Option<String>,
    /// The GitLab's own host, as CI jobs call it, where its tokens name another one in `iss`.
    #[serde(default)]
    pub host: Option<GitlabHost>,
}

impl Issuer {
    /// Google, for its accounts. Its keys lie at another host than its name says.
    pub fn google() -> Self {
        Self {
            issuer: "https://accounts.google.com".to_owned(),
            jwks_file: None,
            jwks_uri: Some("https://www.googleapis.com/oauth2/v3/certs".to_owned()),
            host: None,
        }
    }
}

/// An issuer that cannot be trusted as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum Misconfigured {
    /// Nobody could listen in to, or answer for, such an address.
    #[error(
        "{0:?} is not an https URL without a slash at the end, user, query or fragment \
         (http is for loopback addresses only)"
    )]
    Issuer(String),
    /// Of two ways to get its keys one would be ignored.
    #[error("the issuer {0:?} is configured twice, or with both jwks_file and jwks_uri")]
    Twice(String),
    /// A project of the one could speak for that of the other.
    #[error("two issuers are of the GitLab at {0:?}")]
    Host(String),
    /// Whoever reads a message could take its token to Google.
    #[error(
        "the audience {0:?} is empty or an identity provider's; Branchline needs one of its own"
    )]
    Audience(String),
    /// The HTTP client could not be set up.
    #[error(transparent)]
    Client(#[from] Error),
}

/// Why an origin is not proven.
#[derive(Debug, thiserror::Error)]
pub enum Unproven {
    /// The token proves nothing, and never will.
    #[error(transparent)]
    Forgery(#[from] Forgery),
    /// The keys are not known well enough to tell; the same token may be good later.
    #[error("the signing keys of {issuer} are not known well enough")]
    Transient {
        /// Who has the keys.
        issuer: String,
        /// Why they are not known.
        source: KeysError,
    },
}

/// Why there are no new keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The issuer was asked a moment ago, and it is not asked at everybody's will.
    #[error("they were asked for less than {} s ago", INTERVAL.as_secs())]
    Recently,
    /// The issuer did not answer as it should.
    #[error(transparent)]
    Fetch(#[from] Error),
    /// The file of keys could not be read.
    #[error("reading {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The discovery document is another issuer's.
    #[error("the discovery document says that the issuer is {0:?}")]
    OtherIssuer(String),
    /// The discovery document leads elsewhere.
    #[error("the keys lie at {0:?}, which is not below the issuer's own address")]
    Elsewhere(String),
    /// What was there is no set of keys.
    #[error("the JWK set cannot be used")]
    Unusable(#[from] Unusable),
}

/// A proof under way.
pub type Proving<'a> = Pin<Box<dyn Future<Output = Result<Claims, Unproven>> + Send + 'a>>;

/// Tells what an ID token proves.
pub trait Prove: Send + Sync {
    /// Reads the claims of a token that came with a message published at that time.
    fn prove<'a>(&'a self, token: &'a str, published: Timestamp) -> Proving<'a>;
}

impl Prove for SigningKeys {
    fn prove<'a>(&'a self, token: &'a str, published: Timestamp) -> Proving<'a> {
        Box::pin(self.prove(token, published))
    }
}

/// The keys of all issuers that are configured.
#[derive(Debug)]
pub struct SigningKeys {
    http: reqwest::Client,
    audiences: Vec<String>,
    sources: BTreeMap<String, Source>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Source {
    issuer: Issuer,
    /// Of the GitLab that it signs for.
    host: String,
    /// Held while its keys are fetched.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

/// Keys by issuer; of an issuer whose keys are not known, none.
#[derive(Debug)]
struct Known {
    keys: BTreeMap<String, KeySet>,
    fetched: BTreeMap<String, Fetched>,
}

/// When keys were asked for.
#[derive(Clone, Copy, Debug)]
struct Fetched {
    at: Instant,
    /// The same by the clock that the times of messages are compared with.
    time: Timestamp,
}

impl SigningKeys {
    /// Trusts these issuers for tokens of one of these audiences. Nothing is fetched yet.
    pub fn new(issuers: &[Issuer], audiences: &[String]) -> Result<Self, Misconfigured> {
        let unfit = |it: &&String| it.is_empty() || opens_the_cloud(it);
        if let Some(unfit) = audiences.iter().find(unfit) {
            return Err(Misconfigured::Audience(unfit.clone()));
        }
        let (mut sources, mut hosts) = (BTreeMap::new(), BTreeSet::new());
        for issuer in issuers {
            let name = issuer.issuer.clone();
            if !is_issuer(&name) {
                return Err(Misconfigured::Issuer(without_user(&name)));
            }
            if let Some(uri) = issuer.jwks_uri.as_ref().filter(|it| !is_issuer(it)) {
                return Err(Misconfigured::Issuer(without_user(uri)));
            }
            let host = issuer.host.as_ref().map_or_else(|| host_of(&name), GitlabHost::as_str);
            let (host, asked) = (host.to_owned(), tokio::sync::Mutex::default());
            let source = Source { issuer: issuer.clone(), host: host.clone(), asked };
            let twice = issuer.jwks_file.is_some() && issuer.jwks_uri.is_some();
            if sources.insert(name.clone(), source).is_some() || twice {
                return Err(Misconfigured::Twice(name));
            }
            if !hosts.insert(host.to_ascii_lowercase()) {
                return Err(Misconfigured::Host(host));
            }
        }
        let keys = sources.keys().map(|it| (it.clone(), KeySet::default())).collect();
        let known = Mutex::new(Known { keys, fetched: BTreeMap::new() });
        Ok(Self { http: http::client()?, audiences: audiences.to_vec(), sources, known })
    }

    /// Reads the claims of a job's token that came with a message published at that time.
    #[instrument(name = "gitlab.prove", skip_all)]
    pub async fn prove(&self, token: &str, published: Timestamp) -> Result<Claims, Unproven> {
        let mut claims = self.prove_by(verify, token, published).await?;
        if let Some(source) = self.sources.get(&claims.issuer) {
            claims.host.clone_from(&source.host);
        }
        Ok(claims)
    }

    /// Tells whose token it is that came with a request made at that time.
    #[instrument(name = "google.identify", skip_all)]
    pub async fn identify(&self, token: &str, asked: Timestamp) -> Result<Account, Unproven> {
        self.prove_by(verify_account, token, asked).await
    }

    async fn prove_by<C>(
        &self,
        read: Read<C>,
        token: &str,
        published: Timestamp,
    ) -> Result<C, Unproven> {
        let came = Instant::now();
        let first = self.verify(read, token, published);
        let Err(Forgery::Key { issuer, .. }) = &first else { return Ok(first?) };
        let Some(source) = self.sources.get(issuer) else { return Ok(first?) };

        // One at a time; who has waited finds what the one before has fetched.
        let mut asked = source.asked.lock().await;
        let second = self.verify(read, token, published);
        let Err(Forgery::Key { .. }) = second else { return Ok(second?) };
        // Whoever signed before it was sent had published the key by then.
        let since = |it: Fetched| it.at >= came || it.time.duration_since(published) > SKEW_MAX;
        if self.fetched(issuer).is_some_and(since) {
            return Ok(second?);
        }
        let transient = |source| Unproven::Transient { issuer: issuer.clone(), source };
        if asked.is_some_and(|it| it.elapsed() < INTERVAL) {
            return Err(transient(KeysError::Recently));
        }
        let now = Fetched { at: Instant::now(), time: Timestamp::now() };
        *asked = Some(now.at);
        let keys = self.fetch(&source.issuer).await.map_err(transient)?;
        self.remember(issuer, keys, now);
        Ok(self.verify(read, token, published)?)
    }

    /// Fetches the keys of every issuer, for whoever wants to know whether they can be had.
    pub async fn reach(&self) -> Vec<(String, Result<(), KeysError>)> {
        let mut reached = Vec::new();
        for (name, source) in &self.sources {
            reached.push((name.clone(), self.fetch(&source.issuer).await.map(drop)));
        }
        reached
    }

    fn verify<C>(&self, read: Read<C>, token: &str, published: Timestamp) -> Result<C, Forgery> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { keys, fetched } = &mut *known;
        fetched.retain(|issuer, fetched| {
            let fresh = fetched.at.elapsed() < AGE_MAX;
            if !fresh {
                keys.insert(issuer.clone(), KeySet::default());
            }
            fresh
        });
        read(token, &Expected { issuers: keys, audiences: &self.audiences, published })
    }

    /// When the keys that are known were asked for.
    fn fetched(&self, issuer: &str) -> Option<Fetched> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.fetched.get(issuer).copied()
    }

    fn remember(&self, issuer: &str, keys: KeySet, asked: Fetched) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.keys.insert(issuer.to_owned(), keys);
        known.fetched.insert(issuer.to_owned(), asked);
    }

    async fn fetch(&self, issuer: &Issuer) -> Result<KeySet, KeysError> {
        let document = match (&issuer.jwks_file, &issuer.jwks_uri) {
            (Some(path), _) => read_file(path)
                .await
                .map_err(|source| KeysError::File { path: path.clone(), source })?,
            (None, Some(uri)) => {
                let uri = Url::parse(uri).map_err(|_| Error::Address(uri.clone()))?;
                self.read_keys(uri).await?
            }
            (None, None) => self.discover(&issuer.issuer).await?,
        };
        Ok(KeySet::decode(&document)?)
    }

    async fn discover(&self, issuer: &str) -> Result<Vec<u8>, KeysError> {
        #[derive(Deserialize)]
        struct Document {
            issuer: String,
            jwks_uri: String,
        }
        let call = "read the OpenID configuration";
        let url = format!("{issuer}{DISCOVERY}");
        let own = Url::parse(&url).map_err(|_| Error::Address(url))?;
        let origin = own.origin();
        let body = http::read_public(&self.http, call, own, DOCUMENT_MAX).await?;
        let document = serde_json::from_slice::<Document>(&body);
        let document = document.map_err(|source| Error::Decode { call, source })?;
        if document.issuer != issuer {
            return Err(KeysError::OtherIssuer(cut(&document.issuer)));
        }
        // Of the issuer's own origin, it is as safe to ask as the issuer itself.
        let keys = Url::parse(&document.jwks_uri).ok().filter(|it| it.origin() == origin);
        let keys = keys.ok_or_else(|| KeysError::Elsewhere(cut(&document.jwks_uri)))?;
        Ok(self.read_keys(keys).await?)
    }

    async fn read_keys(&self, keys: Url) -> Result<Vec<u8>, Error> {
        http::read_public(&self.http, "read the signing keys", keys, DOCUMENT_MAX).await
    }
}

/// Reads one kind of token.
type Read<C> = fn(&str, &Expected<'_>) -> Result<C, Forgery>;

async fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = tokio::fs::File::open(path).await?;
    let mut bytes = Vec::new();
    file.take(DOCUMENT_MAX as u64 + 1).read_to_end(&mut bytes).await?;
    if bytes.len() > DOCUMENT_MAX {
        return Err(std::io::Error::other(format!("it is larger than {DOCUMENT_MAX} bytes")));
    }
    Ok(bytes)
}

/// Whether it is an address that nobody else can answer for, written as in a token.
fn is_issuer(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let loopback = host == "localhost" || address.is_ok_and(|it| it.is_loopback());
    let safe = url.scheme() == "https" || url.scheme() == "http" && loopback;
    let plain = url.query().is_none() && url.fragment().is_none();
    let alone = url.username().is_empty() && url.password().is_none();
    safe && !host.is_empty() && plain && alone && !text.ends_with('/')
}

/// An address as an error shows it: a password goes with a user.
fn without_user(address: &str) -> String {
    address.rsplit_once('@').map_or(address, |(_, host)| host).to_owned()
}

/// As much of a foreign text as an error shows.
fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
