//! What can go wrong with GitLab, and what it asks for.

use serde_json::Value;

/// Longer explanations are cut: they end up in log lines and notes.
const MESSAGE_MAX: usize = 500;

/// What a failure asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Try again later.
    Transient,
    /// The token lacks a right; a person has to grant it.
    Permission,
    /// There is no such thing, or the token may not know of it.
    NotFound,
    /// Asking again changes nothing.
    Refused,
}

/// A call that GitLab did not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not one of an HTTP server.
    #[error("{0:?} is not the address of a GitLab (https://HOST)")]
    Address(String),
    /// It has a user in it, and so a password: it is not quoted.
    #[error("the address of GitLab has a user in it (https://HOST): a token is given as such")]
    User,
    /// The HTTP client could not be set up.
    #[error("setting up the HTTP client")]
    Client(#[source] reqwest::Error),
    /// No whole answer: connecting, sending or receiving failed, or took too long.
    #[error("GitLab did not answer ({call})")]
    Unanswered {
        /// What was asked.
        call: &'static str,
        /// What the HTTP client met.
        source: reqwest::Error,
    },
    /// An answer that is not a success.
    #[error("GitLab answered {status} ({call}): {message}")]
    Status {
        /// What was asked.
        call: &'static str,
        /// HTTP status.
        status: u16,
        /// GitLab's words; foreign text, cut.
        message: String,
    },
    /// An answer that no such call has.
    #[error("GitLab's answer is larger than {max} bytes ({call})")]
    TooLarge {
        /// What was asked.
        call: &'static str,
        /// The limit.
        max: usize,
    },
    /// A list that does not end.
    #[error("GitLab lists more than {max} pages ({call})")]
    TooMany {
        /// What was asked.
        call: &'static str,
        /// The limit.
        max: u32,
    },
    /// A success that is not GitLab's JSON, such as a proxy's page.
    #[error("GitLab's answer does not decode ({call})")]
    Decode {
        /// What was asked.
        call: &'static str,
        /// What the decoder met.
        source: serde_json::Error,
    },
}

impl Error {
    /// Exhaustive on purpose: a new variant must choose its class to compile.
    pub const fn class(&self) -> Class {
        match self {
            Self::Unanswered { .. } | Self::Decode { .. } => Class::Transient,
            Self::Address(_)
            | Self::User
            | Self::Client(_)
            | Self::TooLarge { .. }
            | Self::TooMany { .. } => Class::Refused,
            Self::Status { status, .. } => match *status {
                401 | 403 => Class::Permission,
                404 => Class::NotFound,
                408 | 409 | 425 | 429 | 500.. => Class::Transient,
                0..=400 | 402 | 405..=407 | 410..=424 | 426..=428 | 430..=499 => Class::Refused,
            },
        }
    }
}

/// GitLab's words in the body of a failure: `message` as a text, a list or an
/// object of lists, `error` as a text, or no JSON at all.
pub(crate) fn message(body: &[u8]) -> String {
    let said = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(mut fields)) => {
            let said = ["message", "error_description", "error"];
            said.iter().find_map(|it| fields.remove(*it)).map_or_else(String::new, |it| flat(&it))
        }
        Ok(_) | Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(MESSAGE_MAX).collect()
}

fn flat(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(flat).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, it)| format!("{name}: {}", flat(it)));
            fields.collect::<Vec<_>>().join("; ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_in_which_gitlab_explains_itself_is_read() {
        let cases: [(&[u8], &str); 7] = [
            (br#"{"message":"403 Forbidden"}"#, "403 Forbidden"),
            (
                br#"{"message":{"target_url":["is blocked","is long"],"name":["is taken"]}}"#,
                "target_url: is blocked, is long; name: is taken",
            ),
            (br#"{"error":"state is missing"}"#, "state is missing"),
            (
                br#"{"error":"invalid_token","error_description":"Token was revoked."}"#,
                "Token was revoked.",
            ),
            (b"Retry later\n", "Retry later"),
            (b"<html>\n  502", "<html> 502"),
            (b"", ""),
        ];
        for (body, expected) in cases {
            assert_eq!(message(body), expected);
        }
        assert_eq!(message("ü".repeat(9_000).as_bytes()).chars().count(), MESSAGE_MAX);
    }

    #[test]
    fn every_status_has_a_class() {
        let class = |status| {
            Error::Status { call: "commit statuses", status, message: String::new() }.class()
        };
        let cases = [
            (302, Class::Refused),
            (400, Class::Refused),
            (401, Class::Permission),
            (403, Class::Permission),
            (404, Class::NotFound),
            (408, Class::Transient),
            (409, Class::Transient),
            (422, Class::Refused),
            (429, Class::Transient),
            (500, Class::Transient),
            (503, Class::Transient),
        ];
        for (status, expected) in cases {
            assert_eq!(class(status), expected, "{status}");
        }
    }
}
