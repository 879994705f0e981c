//! Whether a token was made by an issuer that is trusted, for us, and in time: GitLab for its jobs,
//! Google for its accounts. Pure: the keys and the time are given.
//!
//! What is checked is a list of named rules; the first that is broken is the reason. Tests leave
//! rules out one by one, to show that each forgery is found by its own rule and by no other.

mod account;
mod agreement;
mod claims;
mod forgery;
mod object;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::Algorithm;
use serde_json::Value;

pub use self::account::Account;
pub use self::agreement::agree;
pub use self::claims::{Claims, GROUPS, NAMES, RefType};
pub use self::forgery::{Forgery, Subject};

pub(crate) use self::claims::host_of;

use self::forgery::shown;
use self::object::Object;
use crate::signing_keys::KeySet;

/// Google's token service takes no longer one either.
const SIZE_MAX: usize = 16 << 10;
/// How far the clocks of GitLab and Pub/Sub may be apart.
pub(crate) const SKEW_MAX: SignedDuration = SignedDuration::from_secs(60);
/// GitLab's tokens live as long as their job may run.
const LIFETIME_MAX: SignedDuration = SignedDuration::from_hours(24);
/// Names of identity providers, which are what Google's token service expects as an audience.
const CLOUD_AUDIENCES: [&str; 3] =
    ["//iam.googleapis.com/", "https://iam.googleapis.com/", "http://iam.googleapis.com/"];

/// What a token is held against.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Keys of the issuers that are trusted, by the issuer's URL as its tokens write it.
    pub issuers: &'a BTreeMap<String, KeySet>,
    /// Audiences of ours, of which a token names one and nothing else.
    pub audiences: &'a [String],
    /// When Google took the message or request in; the token has to have been valid then.
    pub published: Timestamp,
}

/// What is checked, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    Size,
    Segments,
    Encoding,
    Duplicate,
    Algorithm,
    Critical,
    KeyId,
    Issuer,
    Key,
    Signature,
    Present,
    Value,
    CloudAudience,
    Audience,
    Expiry,
    NotBefore,
    IssuedAt,
    Lifetime,
    Host,
    Project,
    ProjectPath,
    Sha,
    Ref,
    Pipeline,
    Job,
}

type Finding = Result<(), Forgery>;
type OfText = fn(&str) -> Finding;
type OfSeal = fn(&Sealed<'_>) -> Finding;
type OfClaims = fn(&Offered<'_>) -> Finding;

/// Of the text, before anything in it is parsed.
const OF_TEXT: [(Check, OfText); 2] = [(Check::Size, size), (Check::Segments, segments)];

/// Of the seal, before any claim but the issuer's name is read.
const OF_SEAL: [(Check, OfSeal); 7] = [
    (Check::Duplicate, duplicate),
    (Check::Algorithm, algorithm),
    (Check::Critical, critical),
    (Check::KeyId, key_id),
    (Check::Issuer, issuer),
    (Check::Key, key),
    (Check::Signature, signature),
];

/// Of what a trusted issuer has signed.
const OF_CLAIMS: [(Check, OfClaims); 6] = [
    (Check::CloudAudience, cloud_audience),
    (Check::Audience, audience),
    (Check::Expiry, expiry),
    (Check::NotBefore, not_before),
    (Check::IssuedAt, issued_at),
    (Check::Lifetime, lifetime),
];

/// Reads the claims of a genuine token of a GitLab job; anything else is refused with the reason.
pub fn verify(token: &str, expected: &Expected<'_>) -> Result<Claims, Forgery> {
    verify_by(Checks::default(), token, expected, Claims::read, Claims::standing)
}

/// The same for a token that Google issued to an account.
pub fn verify_account(token: &str, expected: &Expected<'_>) -> Result<Account, Forgery> {
    verify_by(Checks::default(), token, expected, Account::read, Account::standing)
}

fn verify_by<C>(
    checks: Checks,
    token: &str,
    expected: &Expected<'_>,
    read: fn(Checks, &Object) -> Result<C, Forgery>,
    standing: fn(&C) -> Standing<'_>,
) -> Result<C, Forgery> {
    checks.run(&OF_TEXT, |rule| rule(token))?;
    let sealed = Sealed::open(checks, token, expected)?;
    checks.run(&OF_SEAL, |rule| rule(&sealed))?;
    let claims = read(checks, &sealed.claims)?;
    let offered = Offered { claims: standing(&claims), expected };
    checks.run(&OF_CLAIMS, |rule| rule(&offered))?;
    Ok(claims)
}

/// The checks that apply, which is all of them but in tests.
#[derive(Clone, Copy, Default)]
struct Checks {
    #[cfg(test)]
    left_out: &'static [Check],
}

impl Checks {
    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "the one of the tests uses it")]
    const fn applies(self, _: Check) -> bool {
        true
    }

    #[cfg(test)]
    fn applies(self, check: Check) -> bool {
        !self.left_out.contains(&check)
    }

    fn run<R: Copy>(self, rules: &[(Check, R)], judge: impl Fn(R) -> Finding) -> Finding {
        let mut rules = rules.iter().filter(|(check, _)| self.applies(*check));
        rules.try_for_each(|(_, rule)| judge(*rule))
    }

    /// Refuses what cannot be read. Where the check is left out, something empty stands in.
    fn refuse<T: Default>(self, check: Check, forgery: Forgery) -> Result<T, Forgery> {
        if self.applies(check) { Err(forgery) } else { Ok(T::default()) }
    }
}

/// A token that nothing is known about yet.
struct Sealed<'a> {
    header: Object,
    claims: Object,
    /// What the signature is over.
    signed: &'a str,
    signature: &'a str,
    issuers: &'a BTreeMap<String, KeySet>,
}

impl<'a> Sealed<'a> {
    fn open(checks: Checks, token: &'a str, expected: &Expected<'a>) -> Result<Self, Forgery> {
        let mut segments = token.split('.');
        let mut next = || segments.next().unwrap_or_default();
        let (header, claims, signature) = (next(), next(), next());
        let read = |name, segment| {
            let found = Object::decode(segment);
            found.map_or_else(|| checks.refuse(Check::Encoding, Forgery::Encoding(name)), Ok)
        };
        Ok(Self {
            header: read("header", header)?,
            claims: read("claims", claims)?,
            signed: &token[..token.len().min(header.len() + 1 + claims.len())],
            signature,
            issuers: expected.issuers,
        })
    }

    fn header(&self, name: &str) -> &str {
        self.header.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn issuer(&self) -> &str {
        self.claims.get("iss").and_then(Value::as_str).unwrap_or_default()
    }
}

fn size(token: &str) -> Finding {
    ensure(token.len() <= SIZE_MAX, || Forgery::Size(SIZE_MAX))
}

fn segments(token: &str) -> Finding {
    ensure(token.split('.').count() == 3, || Forgery::Segments)
}

/// Of two claims of one name, two readers may each believe another.
fn duplicate(it: &Sealed<'_>) -> Finding {
    let duplicate = it.header.duplicate().or_else(|| it.claims.duplicate());
    duplicate.map_or(Ok(()), |name| Err(Forgery::Duplicate(shown(name))))
}

/// The algorithm is ours to choose: the header only may not say otherwise.
fn algorithm(it: &Sealed<'_>) -> Finding {
    let algorithm = it.header("alg");
    ensure(algorithm == "RS256", || Forgery::Algorithm(shown(algorithm)))
}

/// Extensions that have to be understood; we understand none.
fn critical(it: &Sealed<'_>) -> Finding {
    ensure(it.header.get("crit").is_none(), || Forgery::Critical)
}

fn key_id(it: &Sealed<'_>) -> Finding {
    ensure(!it.header("kid").is_empty(), || Forgery::KeyId)
}

fn issuer(it: &Sealed<'_>) -> Finding {
    ensure(it.issuers.contains_key(it.issuer()), || Forgery::Issuer(shown(it.issuer())))
}

fn key(it: &Sealed<'_>) -> Finding {
    let (issuer, key) = (it.issuer(), it.header("kid"));
    let known = it.issuers.get(issuer).is_some_and(|keys| keys.get(key).is_some());
    ensure(known, || Forgery::Key { issuer: issuer.to_owned(), key: shown(key) })
}

fn signature(it: &Sealed<'_>) -> Finding {
    let key = it.issuers.get(it.issuer()).and_then(|keys| keys.get(it.header("kid")));
    let genuine = key.is_some_and(|key| {
        let (signature, signed) = (it.signature, it.signed.as_bytes());
        jsonwebtoken::crypto::verify(signature, signed, key, Algorithm::RS256).unwrap_or(false)
    });
    ensure(genuine, || Forgery::Signature)
}

/// For whom a token is, and when.
struct Standing<'a> {
    audience: &'a [String],
    issued_at: Timestamp,
    not_before: Timestamp,
    expires_at: Timestamp,
}

/// Claims under a genuine signature.
struct Offered<'a> {
    claims: Standing<'a>,
    expected: &'a Expected<'a>,
}

/// Whoever reads the subscription could take such a token to Google and be the CI job there.
fn cloud_audience(it: &Offered<'_>) -> Finding {
    let found = it.claims.audience.iter().find(|it| opens_the_cloud(it));
    found.map_or(Ok(()), |audience| Err(Forgery::CloudAudience(shown(audience))))
}

/// Whether Google's token service takes tokens of this audience.
pub(crate) fn opens_the_cloud(audience: &str) -> bool {
    CLOUD_AUDIENCES.iter().any(|it| audience.starts_with(it))
}

fn audience(it: &Offered<'_>) -> Finding {
    let (theirs, ours) = (it.claims.audience, it.expected.audiences);
    let is_ours = matches!(theirs, [one] if ours.contains(one));
    ensure(is_ours, || Forgery::Audience {
        token: shown(&theirs.join(", ")),
        ours: ours.join(" or "),
    })
}

fn expiry(it: &Offered<'_>) -> Finding {
    let (expired, published) = (it.claims.expires_at, it.expected.published);
    ensure(published.duration_since(expired) < SKEW_MAX, || Forgery::Expired { expired, published })
}

fn not_before(it: &Offered<'_>) -> Finding {
    let (from, published) = (it.claims.not_before, it.expected.published);
    let early = from.duration_since(published);
    ensure(early <= SKEW_MAX, || Forgery::NotYetValid { from, published })
}

fn issued_at(it: &Offered<'_>) -> Finding {
    let (issued, published) = (it.claims.issued_at, it.expected.published);
    let early = issued.duration_since(published);
    ensure(early <= SKEW_MAX, || Forgery::IssuedLater { issued, published })
}

fn lifetime(it: &Offered<'_>) -> Finding {
    let lifetime = it.claims.expires_at.duration_since(it.claims.issued_at);
    let bounded = !lifetime.is_negative() && lifetime <= LIFETIME_MAX;
    ensure(bounded, || Forgery::Lifetime { secs: lifetime.as_secs(), max: LIFETIME_MAX.as_secs() })
}

fn ensure(holds: bool, forgery: impl FnOnce() -> Forgery) -> Finding {
    if holds { Ok(()) } else { Err(forgery()) }
}
