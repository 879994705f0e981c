//! Why a request was refused, in the classes that gRPC and REST share.

/// A refusal in the words of the real service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request itself can never succeed.
    #[error("{0}")]
    InvalidArgument(String),
    /// A number is too small or too large, where the service says so by this code.
    #[error("{0}")]
    OutOfRange(String),
    /// A named topic or subscription does not exist.
    #[error("Resource not found (resource={0}).")]
    NotFound(String),
    /// The name is taken.
    #[error("Resource already exists in the project (resource={0}).")]
    AlreadyExists(String),
    /// Pub/Sub can do it; this stack cannot.
    #[error("The embedded Pub/Sub does not support {0}.")]
    Unimplemented(&'static str),
    /// The change could not be made durable, or the service is stopping; try again.
    #[error("{0}")]
    Unavailable(String),
}

pub(super) type Result<T> = std::result::Result<T, Error>;

/// Shorthand for the most common refusal.
pub(super) fn invalid<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::InvalidArgument(message.into()))
}
