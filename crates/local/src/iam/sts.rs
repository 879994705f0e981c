//! Security Token Service: the wire of a token exchange, as a form or as JSON.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Iam;
use super::exchange::exchange;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const FOREIGN: [&str; 2] =
    ["urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"];
/// Bytes of a token.
const TOKEN_MAX: usize = 12 << 10;

/// A request: `snake_case` in a form, camelCase in JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Request {
    #[serde(alias = "grant_type")]
    grant_type: String,
    #[serde(alias = "requested_token_type")]
    requested_token_type: String,
    audience: String,
    scope: String,
    #[serde(alias = "subject_token")]
    subject_token: String,
    #[serde(alias = "subject_token_type")]
    subject_token_type: String,
}

/// `POST /v1/token`.
pub(super) async fn token(Shared(iam): Shared<Iam>, headers: HeaderMap, body: Bytes) -> Response {
    match answer(&iam, &headers, &body).await {
        Ok(answer) => Json(answer).into_response(),
        Err((error, why)) => {
            let body = json!({"error": error, "error_description": why});
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
    }
}

async fn answer(
    iam: &Iam,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Value, (&'static str, String)> {
    let request = read(headers, body)?;
    check(&request)?;
    let exchanged = exchange(iam, &request.audience, &request.subject_token).await;
    let (token, seconds) = exchanged.map_err(|error| (error.code(), error.to_string()))?;
    Ok(json!({
        "access_token": token,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": seconds,
    }))
}

fn read(headers: &HeaderMap, body: &[u8]) -> Result<Request, (&'static str, String)> {
    let is_json =
        headers.get(CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(b"application/json"));
    let request = if is_json {
        serde_json::from_slice(body).map_err(|error| error.to_string())
    } else {
        form(body)
    };
    request.map_err(|error| ("invalid_request", format!("Invalid payload: {error}")))
}

/// A form is a query in a body.
fn form(body: &[u8]) -> Result<Request, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let uri = format!("/?{text}").parse().map_err(|_| "it is no form".to_owned())?;
    let query = axum::extract::Query::<Request>::try_from_uri(&uri);
    query.map(|it| it.0).map_err(|error| error.to_string())
}

/// Of these, Google's wording is not known.
fn check(request: &Request) -> Result<(), (&'static str, String)> {
    let refuse = |field: &str| Err(("invalid_request", format!("Invalid value for \"{field}\".")));
    if request.grant_type != GRANT {
        let why = "The grant type is not supported.".to_owned();
        return Err(("unsupported_grant_type", why));
    }
    if request.requested_token_type != ACCESS_TOKEN {
        return refuse("requested_token_type");
    }
    if !FOREIGN.contains(&request.subject_token_type.as_str()) {
        return refuse("subject_token_type");
    }
    if request.subject_token.is_empty() || request.subject_token.len() > TOKEN_MAX {
        return refuse("subject_token");
    }
    if request.scope.is_empty() {
        return Err(("invalid_scope", "The scope is required.".to_owned()));
    }
    Ok(())
}
