//! Refusals in the shape of Google's APIs: `{"error": {code, message, status, details}}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// The canonical codes that this service answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    InvalidArgument,
    NotFound,
    AlreadyExists,
    FailedPrecondition,
    ResourceExhausted,
    DeadlineExceeded,
    Internal,
}

impl Code {
    const fn http(self) -> StatusCode {
        match self {
            Self::InvalidArgument | Self::FailedPrecondition => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::AlreadyExists => StatusCode::CONFLICT,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::DeadlineExceeded => StatusCode::REQUEST_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Internal => "INTERNAL",
        }
    }
}

/// One refused request.
#[derive(Debug)]
pub(crate) struct Refusal {
    code: Code,
    message: String,
    details: Vec<Value>,
}

/// What every handler returns.
pub(crate) type Answer<T> = Result<T, Refusal>;

impl Refusal {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// The request does not fit the API's messages: `violations` are pairs of
    /// a field path and what is wrong there. Google's front end words it so.
    pub(super) fn malformed(violations: &[(String, String)]) -> Self {
        let message =
            violations.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n");
        let fields: Vec<_> = violations
            .iter()
            .map(|(field, text)| json!({"field": field, "description": text}))
            .collect();
        let details = vec![json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": fields,
        })];
        Self { code: Code::InvalidArgument, message, details }
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::new(Code::Internal, format!("The local stack could not store the job: {error}"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.code.http();
        let mut error = json!({
            "code": status.as_u16(),
            "message": self.message,
            "status": self.code.name(),
        });
        if !self.details.is_empty() {
            error["details"] = Value::Array(self.details);
        }
        (status, Json(json!({ "error": error }))).into_response()
    }
}
