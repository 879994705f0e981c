//! The REST API: `POST /v2/entries:list`, and refusals in Google's shape.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, post};
use axum::{Json, Router};
use serde_json::json;

use super::Logging;
use super::list::{Query, Request};
use crate::vertex::read_bytes;

pub(super) fn router(logging: Logging) -> Router {
    Router::new()
        .route("/v2/entries:list", post(list).fallback(not_found))
        .fallback(any(not_found))
        .with_state(logging)
}

async fn list(State(logging): State<Logging>, body: Body) -> Response {
    let bytes = match read_bytes(body).await {
        Ok(bytes) => bytes,
        Err(refusal) => return refusal.into_response(),
    };
    let request = serde_json::from_slice::<Request>(&bytes);
    let request = request.map_err(|it| format!("Invalid JSON payload received. {it}"));
    match request.and_then(|it| Query::of(&it)) {
        Ok(query) => Json(query.page(&logging.shown())).into_response(),
        Err(why) => refused(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", &why),
    }
}

async fn not_found(method: Method, uri: Uri) -> Response {
    let message = format!("Method not found: {method} {}", uri.path());
    refused(StatusCode::NOT_FOUND, "NOT_FOUND", &message)
}

fn refused(status: StatusCode, name: &str, message: &str) -> Response {
    let error = json!({"code": status.as_u16(), "message": message, "status": name});
    (status, Json(json!({ "error": error }))).into_response()
}
