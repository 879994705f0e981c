//! What can go wrong at a door, and the one classifier of it.

use google_cloud_gax::error::Error as Sdk;
use google_cloud_gax::error::rpc::{Code, Status, StatusDetails};
use google_cloud_gax::retry_policy::LimitedElapsedTimeError;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The outcome of a remote call.
pub type Result<T> = std::result::Result<T, Error>;

/// A call that failed: its text says what was being done with which resource,
/// its source says why.
#[derive(Debug)]
pub struct Error {
    doing: String,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    /// The SDK's own report. Shared, because one publish fails many messages.
    Api(Arc<Sdk>),
    /// A client could not be built.
    Client(Plain),
    /// We refused before anything was sent, or what came back.
    Refused(Plain),
    /// What came back is not what the server says it sent.
    Corrupt(Plain),
    /// Our own time limit.
    Late(Plain),
    /// A local file.
    File(std::io::Error),
}

/// A cause that is a sentence, with the error below it where there is one.
#[derive(Debug)]
struct Plain {
    text: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What a caller may do about an error: the only thing it branches on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It does not exist.
    NotFound,
    /// A precondition failed, or it already exists.
    Conflict,
    /// The request is wrong, and stays wrong when it is repeated.
    Refused,
    /// We are not allowed to, or the API is switched off.
    Permission,
    /// A quota or a rate limit; it passes.
    Quota,
    /// Nobody knows; it may pass.
    Transient,
}

impl Error {
    pub(crate) fn api(doing: impl Into<String>, source: impl Into<Arc<Sdk>>) -> Self {
        Self { doing: doing.into(), cause: Cause::Api(source.into()) }
    }

    pub(crate) fn client(
        doing: impl Into<String>,
        source: google_cloud_gax::client_builder::Error,
    ) -> Self {
        let source = Some(Box::from(source));
        let text = "the client could not be built".to_owned();
        Self { doing: doing.into(), cause: Cause::Client(Plain { text, source }) }
    }

    pub(crate) fn no_credentials(
        doing: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        let text = "there are no usable credentials".to_owned();
        let source = Some(Box::from(source));
        Self { doing: doing.into(), cause: Cause::Client(Plain { text, source }) }
    }

    pub(crate) fn refused(doing: impl Into<String>, text: impl Into<String>) -> Self {
        Self { doing: doing.into(), cause: Cause::Refused(Plain::new(text)) }
    }

    pub(crate) fn corrupt(doing: impl Into<String>, text: impl Into<String>) -> Self {
        Self { doing: doing.into(), cause: Cause::Corrupt(Plain::new(text)) }
    }

    /// An answer with that `google.rpc` code, as a simulated server gives it.
    pub fn answered(doing: impl Into<String>, code: i32, message: &str) -> Self {
        let status = Status::default().set_code(code).set_message(message);
        Self::api(doing, Sdk::service(status))
    }

    /// No answer came within that time.
    pub fn late(doing: impl Into<String>, time_max: Duration) -> Self {
        // A time that is left over from another has digits that nobody reads.
        let tenths = u64::try_from(time_max.as_millis().div_ceil(100)).unwrap_or(u64::MAX);
        let shown = Duration::from_millis(tenths.saturating_mul(100)).as_secs_f64();
        let text = format!("no answer within {shown} s");
        Self { doing: doing.into(), cause: Cause::Late(Plain::new(text)) }
    }

    /// A call whose time was over before it began.
    pub(crate) fn overdue(doing: impl Into<String>) -> Self {
        let text = "its time was over before it was sent".to_owned();
        Self { doing: doing.into(), cause: Cause::Late(Plain::new(text)) }
    }

    pub(crate) fn interrupted(
        doing: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        let text = "it was not sent".to_owned();
        let source = Some(Box::from(source));
        Self { doing: doing.into(), cause: Cause::Late(Plain { text, source }) }
    }

    pub(crate) fn file(doing: impl Into<String>, source: std::io::Error) -> Self {
        Self { doing: doing.into(), cause: Cause::File(source) }
    }

    /// Exhaustive on purpose: a new cause must choose its class to compile.
    pub fn class(&self) -> Class {
        match &self.cause {
            Cause::Api(error) => class_of(innermost(error)),
            Cause::Client(_) => Class::Permission,
            Cause::Refused(_) | Cause::File(_) => Class::Refused,
            Cause::Corrupt(_) | Cause::Late(_) => Class::Transient,
        }
    }

    /// Whether the server, or this door before it sent anything, certainly
    /// refused: nothing was done and nothing will be. Only a parsed `google.rpc`
    /// status counts; a gateway's page, a time-out and a reset leave it open.
    pub fn definite(&self) -> bool {
        match &self.cause {
            Cause::Api(error) => {
                let error = innermost(error);
                let code = error.status().and_then(|it| http_code(it.code));
                // A REST answer must agree with the status in its body.
                let sent = error.http_status_code().or(code);
                code.is_some() && matches!(sent, Some(400 | 401 | 403 | 404 | 409 | 429))
            }
            Cause::Refused(_) => true,
            Cause::Client(_) | Cause::Corrupt(_) | Cause::Late(_) | Cause::File(_) => false,
        }
    }

    /// The server's own words, or the next best explanation.
    pub fn message(&self) -> String {
        match &self.cause {
            Cause::Api(error) => message_of(innermost(error)),
            Cause::Client(it) | Cause::Refused(it) | Cause::Corrupt(it) | Cause::Late(it) => {
                it.source.as_ref().map_or_else(|| it.text.clone(), |why| format!("{it}: {why}"))
            }
            Cause::File(error) => error.to_string(),
        }
    }

    /// When the server would like to be asked again: `RetryInfo`, or else `Retry-After` in seconds.
    pub fn retry_after(&self) -> Option<Duration> {
        let Cause::Api(error) = &self.cause else { return None };
        let error = innermost(error);
        let details = error.status().map(|it| it.details.as_slice()).unwrap_or_default();
        let info = details.iter().find_map(|detail| match detail {
            StatusDetails::RetryInfo(it) => Duration::try_from(it.retry_delay?).ok(),
            _ => None,
        });
        let header = || error.http_headers()?.get("retry-after")?.to_str().ok()?.parse().ok();
        info.or_else(|| header().map(Duration::from_secs))
    }

    /// The IAM permission that is missing, when the server names it.
    pub fn missing_permission(&self) -> Option<String> {
        let status = self.status()?;
        let named = status.details.iter().find_map(|detail| match detail {
            StatusDetails::ErrorInfo(it) => it.metadata.get("permission").cloned(),
            _ => None,
        });
        let named = named.or_else(|| {
            let message = &status.message;
            let quoted = message.split_once("Permission '").and_then(|(_, it)| it.split_once('\''));
            match quoted {
                Some((permission, _)) => Some(permission.to_owned()),
                None => denies_acting(message).then(|| "iam.serviceAccounts.actAs".to_owned()),
            }
        });
        named.filter(|it| !it.is_empty())
    }

    /// What is missing and what would help, when the server names it: a permission, and a role
    /// that has it.
    pub fn lacking(&self) -> Option<String> {
        let permission = self.missing_permission()?;
        Some(match role_with(&permission) {
            Some(role) => format!("missing: {permission}, which the role {role} has"),
            None => format!("missing: {permission}"),
        })
    }

    /// The quota metrics that a refusal names.
    pub fn quota_metrics(&self) -> Vec<String> {
        quota_metrics(&self.message())
    }

    fn status(&self) -> Option<&Status> {
        match &self.cause {
            Cause::Api(error) => innermost(error).status(),
            Cause::Client(_)
            | Cause::Refused(_)
            | Cause::Corrupt(_)
            | Cause::Late(_)
            | Cause::File(_) => None,
        }
    }
}

/// The quota metrics in Vertex AI's text, which comes with a refusal and also
/// as the failure of a job that was accepted.
pub fn quota_metrics(text: &str) -> Vec<String> {
    let Some((_, list)) = text.split_once("quota metrics exceed quota limits:") else {
        return Vec::new();
    };
    list.split(',')
        .map_while(|it| it.split_whitespace().next())
        .take_while(|it| it.contains('/'))
        .map(|it| it.trim_end_matches('.').to_owned())
        .collect()
}

/// What the server said last, when the SDK only reports that it gave up.
/// A predefined role that has a permission which an installation needs.
pub fn role_with(permission: &str) -> Option<&'static str> {
    Some(match permission {
        "storage.objects.get" | "storage.objects.list" => "roles/storage.objectViewer",
        "storage.objects.create" => "roles/storage.objectCreator",
        "storage.objects.delete" | "storage.objects.update" => "roles/storage.objectUser",
        "pubsub.topics.publish" => "roles/pubsub.publisher",
        "pubsub.subscriptions.consume" => "roles/pubsub.subscriber",
        "iam.serviceAccounts.actAs" => "roles/iam.serviceAccountUser",
        it if it.starts_with("aiplatform.") => "roles/aiplatform.user",
        _ => return None,
    })
}

fn innermost(error: &Sdk) -> &Sdk {
    let limit = error.source().and_then(|it| it.downcast_ref::<LimitedElapsedTimeError>());
    match limit.and_then(StdError::source).and_then(|it| it.downcast_ref::<Sdk>()) {
        Some(last) if error.is_exhausted() => innermost(last),
        _ => error,
    }
}

fn class_of(error: &Sdk) -> Class {
    if let Some(status) = error.status()
        && let Some(class) = class_of_status(status)
    {
        return class;
    }
    match error.http_status_code() {
        Some(code) => class_of_http(code),
        None if error.is_serialization() || error.is_binding() => Class::Refused,
        None if error.is_authentication() && !error.is_transient_and_before_rpc() => {
            Class::Permission
        }
        None => Class::Transient,
    }
}

/// `None` where the code says nothing and HTTP may say more: Cloud Storage's
/// JSON errors carry no status of their own.
fn class_of_status(status: &Status) -> Option<Class> {
    match status.code as i32 {
        3 if denies_acting(&status.message) => Some(Class::Permission),
        3 | 11 | 12 => Some(Class::Refused), // Invalid argument, out of range, unimplemented.
        5 => Some(Class::NotFound),
        6 | 9 => Some(Class::Conflict), // Already exists, failed precondition.
        7 | 16 => Some(Class::Permission), // Permission denied, unauthenticated.
        8 => Some(Class::Quota),
        // Cancelled, deadline, aborted, internal, unavailable, data loss.
        1 | 4 | 10 | 13 | 14 | 15 => Some(Class::Transient),
        i32::MIN..=0 | 2 | 17.. => None,
    }
}

fn class_of_http(code: u16) -> Class {
    match code {
        401 | 403 => Class::Permission,
        404 | 410 => Class::NotFound,
        409 | 412 => Class::Conflict,
        429 => Class::Quota,
        0..=399 | 408 | 499.. => Class::Transient,
        400 | 402 | 405..=407 | 411 | 413..=428 | 430..=498 => Class::Refused,
    }
}

/// The HTTP code that Google's API design guide gives a status code.
fn http_code(code: Code) -> Option<u16> {
    match code as i32 {
        3 | 9 | 11 => Some(400),
        16 => Some(401),
        7 => Some(403),
        5 => Some(404),
        6 | 10 => Some(409),
        8 => Some(429),
        1 => Some(499),
        13 | 15 => Some(500),
        12 => Some(501),
        14 => Some(503),
        4 => Some(504),
        i32::MIN..=0 | 2 | 17.. => None,
    }
}

/// Vertex AI reports a missing `actAs` as an invalid argument.
fn denies_acting(message: &str) -> bool {
    message.contains("do not have permission to act as service_account")
}

fn message_of(error: &Sdk) -> String {
    const CHARS_MAX: usize = 500;
    if let Some(status) = error.status().filter(|it| !it.message.is_empty()) {
        return status.message.clone();
    }
    match (error.http_status_code(), error.http_payload()) {
        (Some(code), Some(payload)) => {
            let text = String::from_utf8_lossy(payload);
            format!("HTTP {code}: {}", text.trim().chars().take(CHARS_MAX).collect::<String>())
        }
        _ => error.to_string(),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.cause {
            Cause::Api(error) => Some(error.as_ref()),
            Cause::Client(it) | Cause::Refused(it) | Cause::Corrupt(it) | Cause::Late(it) => {
                Some(it)
            }
            Cause::File(error) => Some(error),
        }
    }
}

impl Plain {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), source: None }
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Plain {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|it| it as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests;
