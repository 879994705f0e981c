//! The one port of all the identity APIs: routes, and what their answers have in common.

use std::collections::HashMap;

use axum::extract::{DefaultBodyLimit, Query};
use axum::http::{Method, Uri};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::caller::PolicyCall;
use super::refusal::Refusal;
use super::{Iam, accounts, credentials, google, metadata, projects, provider, services, sts};

/// Bytes of a request.
const BODY_MAX: usize = 1 << 20;

/// What every method returns.
pub(super) type Answer = Result<Json<Value>, Refusal>;
/// The parameters in a request's path.
pub(super) type Parameters = Query<HashMap<String, String>>;

pub(super) fn router(iam: &Iam) -> Router {
    let account = "/v1/projects/{project}/serviceAccounts";
    let pool = "/v1/projects/{project}/locations/global/workloadIdentityPools/{pool}";
    Router::new()
        .route("/v1/token", post(sts::token))
        .route("/oauth2/v3/certs", get(google::certs))
        .route("/.well-known/openid-configuration", get(google::configuration))
        .route("/v1/projects/{project}", get(projects::get_v1).post(projects::act))
        .route("/v3/projects/{project}", get(projects::get_v3).post(projects::act))
        .route("/v1/projects/{project}/services/{service}", get(services::get).post(services::act))
        .route(account, get(accounts::list))
        .route(&format!("{account}/{{account}}"), get(accounts::get).post(credentials::act))
        .route(pool, get(provider::pool).patch(provider::pool))
        .route(
            &format!("{pool}/providers/{{provider}}"),
            get(provider::provider).patch(provider::provider),
        )
        .fallback(any(not_found))
        .with_state(iam.clone())
        .merge(metadata::router(iam, None))
        .layer(DefaultBodyLimit::max(BODY_MAX))
}

async fn not_found(method: Method, uri: Uri) -> Refusal {
    Refusal::NotFound(format!("Method not found: {method} {}", uri.path()))
}

/// The last segment of a path without its verb, and the verb.
pub(super) fn verb(segment: &str) -> (&str, &str) {
    segment.rsplit_once(':').unwrap_or((segment, ""))
}

/// What a verb asks of a policy, if it is one of policies.
pub(crate) fn policy_call(verb: &str, body: &Value) -> Option<PolicyCall> {
    match verb {
        "getIamPolicy" => Some(PolicyCall::Get),
        "setIamPolicy" => Some(PolicyCall::Set(body["policy"].clone())),
        "testIamPermissions" => {
            let asked = body["permissions"].as_array().into_iter().flatten();
            let asked = asked.filter_map(Value::as_str).map(str::to_owned);
            Some(PolicyCall::Test(asked.collect()))
        }
        _ => None,
    }
}

/// A body, where an empty one is an empty object.
pub(super) fn json_of(body: &[u8]) -> Result<Value, Refusal> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(body)
        .map_err(|error| Refusal::Invalid(format!("Invalid JSON payload received. {error}")))
}

/// A long-running operation that is done already.
pub(super) fn done(response: &Value) -> Value {
    json!({"name": format!("operations/{:016x}", fastrand::u64(..)), "done": true,
        "response": response})
}
