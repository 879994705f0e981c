//! What an OIDC issuer tells everybody: who it is, and which keys it signs with.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::json;

use super::{Answer, ok};
use crate::gitlab::GitLab;

pub(super) async fn configuration(Shared(gitlab): Shared<GitLab>) -> Answer {
    let issuer = gitlab.lock().external_url.clone();
    ok(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/oauth/authorize"),
        "token_endpoint": format!("{issuer}/oauth/token"),
        "jwks_uri": format!("{issuer}/oauth/discovery/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
}

pub(super) async fn keys(Shared(gitlab): Shared<GitLab>) -> Answer {
    let keys = gitlab.lock().public_keys()?;
    let policy = "max-age=86400, public, must-revalidate, no-transform";
    Ok(([(header::CACHE_CONTROL, policy)], Json(json!({"keys": keys}))).into_response())
}
