//! Policies of buckets: the JSON API's way to what [`crate::iam`] keeps.

use axum::body::Body;
use axum::extract::{OriginalUri, Path, State};
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde_json::Value;

use super::Storage;
use super::error::Error;
use crate::iam::{self, Caller, PolicyCall, Resource};

/// Bytes of a policy.
const POLICY_MAX: usize = 1 << 20;

/// `GET` and `PUT /storage/v1/b/B/iam`.
pub(super) async fn policy(
    State(storage): State<Storage>,
    Path(bucket): Path<String>,
    caller: Option<Extension<Caller>>,
    method: Method,
    body: Body,
) -> Response {
    let call = if method == Method::PUT {
        let body = axum::body::to_bytes(body, POLICY_MAX).await.unwrap_or_default();
        PolicyCall::Set(serde_json::from_slice(&body).unwrap_or(Value::Null))
    } else {
        PolicyCall::Get
    };
    answer(&storage, &bucket, caller, call)
}

/// `GET /storage/v1/b/B/iam/testPermissions?permissions=…&permissions=…`.
pub(super) async fn test(
    State(storage): State<Storage>,
    Path(bucket): Path<String>,
    caller: Option<Extension<Caller>>,
    OriginalUri(uri): OriginalUri,
) -> Response {
    let parameters = uri.query().unwrap_or_default().split('&');
    let asked = parameters.filter_map(|it| it.strip_prefix("permissions=")).map(str::to_owned);
    answer(&storage, &bucket, caller, PolicyCall::Test(asked.collect()))
}

/// Whoever may not see the policy is not told whether there is a bucket.
fn answer(
    storage: &Storage,
    bucket: &str,
    caller: Option<Extension<Caller>>,
    call: PolicyCall,
) -> Response {
    let Some(Extension(caller)) = caller else {
        return Error::invalid("This service runs without IAM.").into_response();
    };
    let policy = caller.policy(&Resource::bucket(bucket), call);
    let exists = storage.store().bucket(bucket).map(drop);
    match (policy, exists) {
        (Err(refusal), _) => Error::from(iam::Error::from(refusal)).into_response(),
        (Ok(_), Err(error)) => error.into_response(),
        (Ok(policy), Ok(())) => Json(policy).into_response(),
    }
}
