//! What STS makes of a foreign token: who its bearer is to Google, or why nobody.
//!
//! The texts are Google's. Where its wording is not known, a comment says so.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::jwt::Jwt;
use super::principal::{Federated, Principal};
use super::provider::Provider;
use super::{Iam, cel, issuer};

const HOST: &str = "//iam.googleapis.com/";
/// How far clocks may differ.
const SKEW_SECS: i64 = 60;
/// The oldest token that is taken, and the longest that its exchange lasts.
const AGE_MAX_SECS: i64 = 24 * 60 * 60;
const LIFETIME_MAX_SECS: i64 = 3_600;
/// Bytes of `google.subject`, and of all attributes together.
const SUBJECT_MAX: usize = 127;
const ATTRIBUTES_MAX: usize = 8_192;

/// Why a token is not exchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error(
        "Invalid value for \"audience\". This value should be the full resource name of the \
         Identity Provider. See https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/\
         token for the list of possible formats."
    )]
    MalformedTarget,
    #[error(
        "The target service indicated by the \"audience\" parameters is invalid. This might either \
         be because the pool or provider is disabled or deleted or because it doesn't exist."
    )]
    NoTarget,
    // Unknown wording.
    #[error("Unable to parse the ID Token.")]
    NoToken,
    #[error("The issuer in ID Token {found} does not match the expected one in config: {expected}")]
    Issuer { found: String, expected: String },
    #[error("The audience in ID Token [{0}] does not match the expected audience.")]
    Audience(String),
    #[error("ID Token issued at {0} is stale to sign-in.")]
    Stale(String),
    #[error("Error connecting to the given credential's issuer.")]
    Unreachable,
    #[error("Unable to verify the ID Token signature.")]
    Signature,
    // Unknown wording.
    #[error("The mapping of {0} could not be evaluated to a text.")]
    Mapping(String),
    #[error("The size of mapped attribute exceeds the {SUBJECT_MAX} bytes limit.")]
    SubjectSize,
    // Unknown wording.
    #[error("The size of all mapped attributes exceeds the {ATTRIBUTES_MAX} bytes limit.")]
    AttributesSize,
    #[error("The given credential is rejected by the attribute condition.")]
    Condition,
}

impl Error {
    /// The error code of OAuth that goes with it.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::MalformedTarget => "invalid_request",
            Self::NoTarget => "invalid_target",
            Self::Condition => "unauthorized_client",
            Self::NoToken
            | Self::Issuer { .. }
            | Self::Audience(_)
            | Self::Stale(_)
            | Self::Unreachable
            | Self::Signature
            | Self::Mapping(_)
            | Self::SubjectSize
            | Self::AttributesSize => "invalid_grant",
        }
    }
}

/// Exchanges a foreign token for one of ours, and tells for how many seconds.
pub(super) async fn exchange(
    iam: &Iam,
    audience: &str,
    token: &str,
) -> Result<(String, i64), Error> {
    let name = target(audience)?;
    let (pool, _) = name.split_once("/providers/").ok_or(Error::MalformedTarget)?;
    let provider = {
        let state = iam.lock();
        let enabled = state.pools.get(pool) == Some(&false);
        let provider = state.providers.get(&name).filter(|it| enabled && !it.disabled);
        provider.cloned().ok_or(Error::NoTarget)?
    };
    let token = Jwt::read(token).ok_or(Error::NoToken)?;
    let lifetime = check_claims(&provider, audience, &token.claims)?;
    let keys = match &provider.jwks {
        Some(set) => {
            let set = serde_json::from_str(set).map_err(|_| Error::Unreachable)?;
            issuer::keys_in(&set)
        }
        None => issuer::keys(&provider.issuer).await,
    };
    let keys = keys.map_err(|_| Error::Unreachable)?;
    // An unknown key might be a new one, which the issuer has not told in time.
    let key = token.key(&keys).ok_or(Error::Unreachable)?;
    if !token.is_signed_with(key) {
        return Err(Error::Signature);
    }
    let who = Principal::Federated(admit(&provider, pool, &token.claims)?);
    let (token, _) = iam.lock().issue(who, lifetime);
    Ok((token, lifetime))
}

/// The provider that an audience names. It names the project by its number: by its id it names
/// no provider that there is.
fn target(audience: &str) -> Result<String, Error> {
    let name = audience.strip_prefix(HOST).ok_or(Error::MalformedTarget)?;
    let segments: Vec<_> = name.split('/').collect();
    let [
        "projects",
        project,
        "locations",
        "global",
        "workloadIdentityPools",
        pool,
        "providers",
        id,
    ] = segments[..]
    else {
        return Err(Error::MalformedTarget);
    };
    if [project, pool, id].iter().any(|it| it.is_empty()) {
        return Err(Error::MalformedTarget);
    }
    Ok(name.to_owned())
}

/// How long the exchange lasts, if the token is for us and of our time.
fn check_claims(provider: &Provider, audience: &str, claims: &Value) -> Result<i64, Error> {
    let issuer = claims["iss"].as_str().unwrap_or_default();
    if issuer != provider.issuer {
        let (found, expected) = (issuer.to_owned(), provider.issuer.clone());
        return Err(Error::Issuer { found, expected });
    }
    let found: Vec<&str> = match &claims["aud"] {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let is_ours = |it: &&str| {
        if provider.audiences.is_empty() {
            it.strip_prefix("https:").unwrap_or(it) == audience
        } else {
            provider.audiences.iter().any(|allowed| allowed == it)
        }
    };
    if !found.iter().any(is_ours) {
        return Err(Error::Audience(found.join(", ")));
    }
    let number = |name| claims.get(name).and_then(Value::as_i64);
    let stale = || Error::Stale(number("iat").map_or_else(String::new, |it| it.to_string()));
    let (since, expires) = (number("iat").ok_or_else(stale)?, number("exp").ok_or_else(stale)?);
    let now = Timestamp::now().as_second();
    let begins = since.max(number("nbf").unwrap_or(since)).saturating_sub(SKEW_SECS);
    let ends = expires.min(since.saturating_add(AGE_MAX_SECS)).saturating_add(SKEW_SECS);
    if now < begins || ends <= now {
        return Err(stale());
    }
    Ok(expires.saturating_sub(now).clamp(1, LIFETIME_MAX_SECS))
}

/// Who the claims say it is, by the provider's mapping, if its condition lets them in.
fn admit(provider: &Provider, pool: &str, claims: &Value) -> Result<Federated, Error> {
    let assertion = [("assertion", claims.clone())];
    let (mut google, mut own) = (Map::new(), Map::new());
    for (name, text) in &provider.mapping {
        let value = cel::evaluate(text, &assertion).map_err(|_| Error::Mapping(name.clone()))?;
        let (space, name) = name.split_once('.').ok_or_else(|| Error::Mapping(name.clone()))?;
        let values = if space == "google" { &mut google } else { &mut own };
        values.insert(name.to_owned(), value);
    }
    let text = |name: &str, value: &Value| {
        value.as_str().map(str::to_owned).ok_or_else(|| Error::Mapping(name.to_owned()))
    };
    let subject = text("google.subject", &google["subject"])?;
    let attribute = |(name, value): (&String, &Value)| Ok((name.clone(), text(name, value)?));
    let attributes: BTreeMap<_, _> = own.iter().map(attribute).collect::<Result<_, Error>>()?;
    if subject.is_empty() {
        return Err(Error::Mapping("google.subject".to_owned()));
    }
    if subject.len() > SUBJECT_MAX {
        return Err(Error::SubjectSize);
    }
    if attributes.values().map(String::len).sum::<usize>() > ATTRIBUTES_MAX {
        return Err(Error::AttributesSize);
    }
    let groups = google.get("groups").and_then(Value::as_array).into_iter().flatten();
    let groups = groups.filter_map(Value::as_str).map(str::to_owned).collect();
    if let Some(condition) = &provider.condition {
        let [assertion] = assertion;
        let variables = [assertion, ("google", google.into()), ("attribute", own.into())];
        let holds = cel::evaluate(condition, &variables);
        if !holds.is_ok_and(|it| it == true) {
            return Err(Error::Condition);
        }
    }
    Ok(Federated { pool: pool.to_owned(), subject, groups, attributes })
}
