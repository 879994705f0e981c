//! Why GitLab refuses something, as it says so: the same for a person's action
//! in this process and for a request to the API.

use std::io;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// What GitLab answers instead of doing what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// 401: no token, or one that nobody has.
    #[error("401 Unauthorized")]
    Unauthorized,
    /// 403: the user's role does not allow it.
    #[error("{0}")]
    Forbidden(&'static str),
    /// 404: the kind of thing that was not found.
    #[error("404 {0} Not Found")]
    NotFound(&'static str),
    /// 400: a parameter is missing or has no valid value.
    #[error("{0}")]
    Parameter(String),
    /// 400: the parameters are well-formed, and what they ask for is refused.
    #[error("{0}")]
    Refused(Value),
    /// 405: the merge request cannot be merged.
    #[error("405 Method Not Allowed")]
    NotMergeable,
    /// 409: the same thing exists already.
    #[error("{0}")]
    Conflict(Value),
    /// 413: the body is larger than GitLab reads.
    #[error("413 Request Entity Too Large")]
    TooLarge,
    /// 500: the record could not be written.
    #[error("writing a record")]
    Store(#[from] io::Error),
}

/// The answer to a caller whose role is too low.
pub(super) const FORBIDDEN: Error = Error::Forbidden("403 Forbidden");

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, body) = match self {
            Self::Parameter(text) => (StatusCode::BAD_REQUEST, json!({"error": text})),
            Self::Refused(message) => (StatusCode::BAD_REQUEST, json!({"message": message})),
            Self::Conflict(message) => (StatusCode::CONFLICT, json!({"message": message})),
            Self::Unauthorized => message(StatusCode::UNAUTHORIZED, &self),
            Self::Forbidden(_) => message(StatusCode::FORBIDDEN, &self),
            Self::NotFound(_) => message(StatusCode::NOT_FOUND, &self),
            Self::NotMergeable => message(StatusCode::METHOD_NOT_ALLOWED, &self),
            Self::TooLarge => message(StatusCode::PAYLOAD_TOO_LARGE, &self),
            Self::Store(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "record not written");
                let text = json!({"message": "500 Internal Server Error"});
                (StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        };
        (status, Json(body)).into_response()
    }
}

fn message(status: StatusCode, error: &Error) -> (StatusCode, Value) {
    (status, json!({"message": error.to_string()}))
}
