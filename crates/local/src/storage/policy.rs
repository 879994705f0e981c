//! Policies of buckets: the doors' way to what [`crate::iam`] keeps.

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
    answer(&storage, &bucket, caller.as_deref(), call).map(Json).into_response()
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
    let call = PolicyCall::Test(asked.collect());
    answer(&storage, &bucket, caller.as_deref(), call).map(Json).into_response()
}

/// Whoever may not see the policy is not told whether there is a bucket.
pub(super) fn answer(
    storage: &Storage,
    bucket: &str,
    caller: Option<&Caller>,
    call: PolicyCall,
) -> Result<Value, Error> {
    let caller = caller.ok_or_else(|| Error::invalid("This service runs without IAM."))?;
    let on = Resource::bucket(bucket);
    let bucket = storage.store().bucket(bucket);
    // Nothing is kept for a bucket that is not there.
    let call =
        if bucket.is_err() && matches!(call, PolicyCall::Set(_)) { PolicyCall::Get } else { call };
    let answer = caller.policy(&on, call).map_err(iam::Error::from)?;
    bucket.map(|_| answer)
}
