//! Why an origin is not believed, for the people who operate Branchline. Pure.

use jiff::Timestamp;

/// As much of a foreign text as an error shows.
const SHOWN_MAX: usize = 80;

/// A token that does not prove what a message says. Shows claims, never the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forgery {
    /// Not parsed at all.
    #[error("the token is larger than {0} bytes")]
    Size(usize),
    /// Header, claims and signature are three.
    #[error("the token does not have three segments")]
    Segments,
    /// The named segment is no JSON object in base64url.
    #[error("the token's {0} cannot be read")]
    Encoding(&'static str),
    /// One name, said twice.
    #[error("the token says {0:?} twice")]
    Duplicate(String),
    /// Such as `none`, or one whose key would be a secret.
    #[error("the token is signed by {0:?} and not by RS256")]
    Algorithm(String),
    /// The header demands an extension.
    #[error("the token's header demands an extension (crit)")]
    Critical,
    /// The header names no key.
    #[error("the token does not name its signing key (kid)")]
    KeyId,
    /// Nobody we trust.
    #[error("the token's issuer {0:?} is not one of the configured ones")]
    Issuer(String),
    /// Nothing that this issuer publishes.
    #[error("{issuer} has no signing key {key:?}")]
    Key {
        /// URL of the issuer, one of the configured ones.
        issuer: String,
        /// The key's id, as the token says.
        key: String,
    },
    /// Not made with the key that the token names, or changed since.
    #[error("the token's signature does not fit it")]
    Signature,
    /// A claim that every such token has.
    #[error("the token has no {0}")]
    Missing(&'static str),
    /// A claim that is not what its issuer writes.
    #[error("the token's {0} is not what its issuer writes there")]
    Value(&'static str),
    /// It would open Google Cloud to whoever reads the message.
    #[error(
        "the token's audience {0:?} is an identity provider of Google Cloud's; \
         Branchline's token needs an audience of its own"
    )]
    CloudAudience(String),
    /// Made for somebody else.
    #[error("the token's audience is {token:?} and not {ours:?}")]
    Audience {
        /// What the token says.
        token: String,
        /// What it should say.
        ours: String,
    },
    /// Over before the message was published.
    #[error("the token expired at {expired}, and it was sent at {published}")]
    Expired {
        /// `exp`.
        expired: Timestamp,
        /// When Pub/Sub took the message in.
        published: Timestamp,
    },
    /// Not begun when the message was published.
    #[error("the token is valid from {from}, and it was sent at {published}")]
    NotYetValid {
        /// `nbf`.
        from: Timestamp,
        /// When Pub/Sub took the message in.
        published: Timestamp,
    },
    /// Made after the message.
    #[error("the token was issued at {issued}, and it was sent at {published}")]
    IssuedLater {
        /// `iat`.
        issued: Timestamp,
        /// When Pub/Sub took the message in.
        published: Timestamp,
    },
    /// Longer than any job runs, or negative.
    #[error("the token is valid for {secs} s; at most {max} s are accepted")]
    Lifetime {
        /// From `iat` to `exp`.
        secs: i64,
        /// The limit.
        max: i64,
    },
    /// Genuine, but about something else than the message.
    #[error("the token is for {what} {token:?}, and the message says {message:?}")]
    Differs {
        /// What they differ in.
        what: Subject,
        /// What the token says.
        token: String,
        /// What the message says.
        message: String,
    },
}

/// What a token and a message have to agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Host of the GitLab instance.
    Host,
    /// Id of the project in which the job runs.
    Project,
    /// Path of that project.
    ProjectPath,
    /// The commit.
    Sha,
    /// The branch or tag.
    Ref,
    /// The pipeline.
    Pipeline,
    /// The job.
    Job,
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Host => "the GitLab at",
            Self::Project => "the project",
            Self::ProjectPath => "the project path",
            Self::Sha => "the commit",
            Self::Ref => "the ref",
            Self::Pipeline => "the pipeline",
            Self::Job => "the job",
        })
    }
}

/// The beginning of a foreign text; the errors escape it.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}
