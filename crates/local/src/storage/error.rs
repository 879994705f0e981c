//! What can go wrong, and how the JSON API and gRPC say it.

use std::io;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::iam;

/// Why Cloud Storage refuses a request; the texts are the real service's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No bucket has this name.
    #[error("The specified bucket does not exist.")]
    NoSuchBucket,
    /// The object does not exist, or not in the generation asked for.
    #[error("No such object: {bucket}/{object}")]
    NoSuchObject {
        /// Its bucket.
        bucket: String,
        /// Its name.
        object: String,
    },
    /// The resumable upload has ended, failed, or never began.
    #[error("No such upload: start again from the beginning.")]
    NoSuchUpload,
    /// A bucket of this name is already there.
    #[error("Your previous request to create the named bucket succeeded and you already own it.")]
    BucketExists,
    /// An `if…Match` or, for a write, an `if…NotMatch` does not hold.
    #[error("At least one of the pre-conditions you specified did not hold.")]
    PreconditionFailed,
    /// An `if…NotMatch` of a read does not hold.
    #[error("Not Modified")]
    NotModified,
    /// The range begins after the last byte.
    #[error("Request range not satisfiable")]
    RangeNotSatisfiable {
        /// The object's size in bytes.
        size: u64,
    },
    /// The caller may not replace the object that is there.
    #[error("The object exists and may not be replaced.")]
    Taken,
    /// The caller may not do this.
    #[error(transparent)]
    Denied(#[from] iam::Error),
    /// The request makes no sense, and this is why.
    #[error("{0}")]
    Invalid(String),
    /// The content or the request is larger than this service takes.
    #[error("The request is larger than {max} bytes.")]
    TooLarge {
        /// The most that is taken.
        max: u64,
    },
    /// Nothing arrived for too long.
    #[error("The request's body stopped arriving.")]
    TimedOut,
    /// The data directory cannot be read or written.
    #[error("Reading or writing the data directory failed.")]
    Io(#[from] io::Error),
}

impl Error {
    /// An [`Error::Invalid`] with this sentence.
    pub(super) fn invalid(why: impl Into<String>) -> Self {
        Self::Invalid(why.into())
    }

    /// The HTTP status, the JSON API's reason and the gRPC code.
    fn wire(&self) -> (StatusCode, &'static str, Code) {
        match self {
            Self::NoSuchBucket | Self::NoSuchObject { .. } | Self::NoSuchUpload => {
                (StatusCode::NOT_FOUND, "notFound", Code::NotFound)
            }
            Self::BucketExists => (StatusCode::CONFLICT, "conflict", Code::AlreadyExists),
            Self::PreconditionFailed => {
                (StatusCode::PRECONDITION_FAILED, "conditionNotMet", Code::FailedPrecondition)
            }
            Self::NotModified => {
                (StatusCode::NOT_MODIFIED, "notModified", Code::FailedPrecondition)
            }
            Self::RangeNotSatisfiable { .. } => (
                StatusCode::RANGE_NOT_SATISFIABLE,
                "requestedRangeNotSatisfiable",
                Code::OutOfRange,
            ),
            Self::Taken | Self::Denied(_) => {
                (StatusCode::FORBIDDEN, "forbidden", Code::PermissionDenied)
            }
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid", Code::InvalidArgument),
            Self::TooLarge { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "uploadTooLarge", Code::InvalidArgument)
            }
            Self::TimedOut => {
                (StatusCode::REQUEST_TIMEOUT, "requestTimeout", Code::DeadlineExceeded)
            }
            Self::Io(_) => (StatusCode::INTERNAL_SERVER_ERROR, "backendError", Code::Internal),
        }
    }

    fn body(&self, status: StatusCode, reason: &str) -> Value {
        let message = self.to_string();
        let mut detail = json!({ "message": message, "domain": "global", "reason": reason });
        if matches!(self, Self::PreconditionFailed) {
            detail["locationType"] = json!("header");
            detail["location"] = json!("If-Match");
        }
        json!({ "error": { "code": status.as_u16(), "message": message, "errors": [detail] } })
    }

    /// A download says in plain text what the other calls say in JSON.
    pub(super) fn into_media_response(self) -> Response {
        match self {
            Self::NoSuchBucket | Self::NoSuchObject { .. } => {
                (StatusCode::NOT_FOUND, self.to_string()).into_response()
            }
            other => other.into_response(),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if let Self::Denied(error) = self {
            return error.into_refusal().into_storage_response();
        }
        if let Self::Io(source) = &self {
            tracing::error!(error = source as &dyn std::error::Error, "data directory failed");
        }
        let (status, reason, _) = self.wire();
        if status == StatusCode::NOT_MODIFIED {
            return status.into_response();
        }
        let mut response = (status, Json(self.body(status, reason))).into_response();
        if let Self::RangeNotSatisfiable { size } = self {
            let range = HeaderValue::try_from(format!("bytes */{size}")).expect("it is ASCII");
            response.headers_mut().insert(header::CONTENT_RANGE, range);
        }
        response
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        if let Error::Denied(error) = error {
            return error.into_refusal().status();
        }
        if let Error::Io(source) = &error {
            tracing::error!(error = source as &dyn std::error::Error, "data directory failed");
        }
        let (_, _, code) = error.wire();
        Self::new(code, error.to_string())
    }
}
