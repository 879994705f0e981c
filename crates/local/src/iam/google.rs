//! Google as an issuer of ID tokens: of people, and of service accounts.

use std::io;
use std::time::Duration;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::Iam;
use super::state::{State, ago, unique_id};
use crate::signer::{Signer, SigningKey};

const ISSUER: &str = "https://accounts.google.com";
const LIFETIME_SECS: i64 = 3_600;

impl Iam {
    /// An ID token of a person for an audience, issued so long ago; it lasts an hour from then.
    pub fn google_id_token(
        &self,
        email: &str,
        audience: &str,
        age: Duration,
    ) -> io::Result<String> {
        let iat = ago(SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX));
        self.google_signer()?.sign(&json!({
            "iss": ISSUER,
            "aud": audience,
            "sub": unique_id(email),
            "email": email,
            "email_verified": true,
            "iat": iat,
            "exp": iat + LIFETIME_SECS,
        }))
    }

    /// An ID token of a service account; one asks for the e-mail in it.
    pub(super) fn account_id_token(
        &self,
        email: &str,
        audience: &str,
        with_email: bool,
    ) -> io::Result<String> {
        let iat = ago(SignedDuration::ZERO);
        let mut claims = json!({
            "iss": ISSUER,
            "aud": audience,
            "azp": unique_id(email),
            "sub": unique_id(email),
            "iat": iat,
            "exp": iat + LIFETIME_SECS,
        });
        if with_email {
            claims["email"] = json!(email);
            claims["email_verified"] = json!(true);
        }
        self.google_signer()?.sign(&claims)
    }

    /// What signs Google's ID tokens now, for tests that put them together themselves.
    pub fn google_signer(&self) -> io::Result<Signer> {
        self.lock().signer()
    }

    /// Replaces the key that signs Google's ID tokens; those before it stay published.
    pub fn rotate_google_key(&self) -> io::Result<()> {
        self.lock().rotate_key()
    }
}

impl State {
    fn rotate_key(&mut self) -> io::Result<()> {
        self.keys.push(SigningKey::generate()?);
        Ok(())
    }

    /// The newest key. The first is made when it is needed, for that takes a moment.
    fn signer(&mut self) -> io::Result<Signer> {
        if self.keys.is_empty() {
            self.rotate_key()?;
        }
        let newest = self.keys.last().ok_or_else(|| io::Error::other("there is no key"))?;
        Signer::open(newest)
    }

    fn public_keys(&mut self) -> io::Result<Vec<Value>> {
        self.signer()?;
        self.keys.iter().map(|it| Ok(Signer::open(it)?.public())).collect()
    }
}

/// `GET /oauth2/v3/certs`.
pub(super) async fn certs(Shared(iam): Shared<Iam>) -> Response {
    let keys = iam.lock().public_keys();
    match keys {
        Ok(keys) => {
            let policy = "public, max-age=19845, must-revalidate, no-transform";
            ([(header::CACHE_CONTROL, policy)], Json(json!({"keys": keys}))).into_response()
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "no key could be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Google's discovery document, with the keys at this place.
pub(super) async fn configuration(headers: HeaderMap) -> Json<Value> {
    let host = headers.get(header::HOST).and_then(|it| it.to_str().ok()).unwrap_or("localhost");
    Json(json!({
        "issuer": ISSUER,
        "jwks_uri": format!("http://{host}/oauth2/v3/certs"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
}
