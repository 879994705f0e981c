//! What becomes of a delivery. Pure.

use branchline_gcp::Class as GcpClass;

/// What kind of failure it is: what the consumer branches on. A closed set: it is a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Not one of our events; repeating it changes nothing.
    Undecodable,
    /// Understood, and impossible; repeating it changes nothing.
    Refused,
    /// It may pass.
    Transient,
    /// A right is missing; somebody has to grant it.
    Permission,
    /// A fault in this program.
    Bug,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 5] =
        [Self::Undecodable, Self::Refused, Self::Transient, Self::Permission, Self::Bug];

    /// As in attributes and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::Refused => "refused",
            Self::Transient => "transient",
            Self::Permission => "permission",
            Self::Bug => "bug",
        }
    }
}

/// Why a delivery was not done with. A closed set: operators look dead letters up by it, and it is
/// a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is not one of our events.
    DoesNotDecode,
    /// Nothing in it proves where it comes from.
    NoToken,
    /// Its token proves nothing, or something else than it says.
    UnprovenOrigin,
    /// Its token has announced another request.
    TokenUsed,
    /// It is not what it was when it was proven or replayed.
    UnprovenReplay,
    /// It has the id of another request.
    OtherRequest,
    /// It is about another GitLab.
    OtherHost,
    /// The ledger does not have its run.
    UnknownRun,
    /// A role is missing in Google Cloud.
    PermissionDenied,
    /// A role is missing in GitLab.
    GitlabDenied,
    /// Google Cloud refuses it for good.
    Refused,
    /// GitLab refuses it for good.
    GitlabRefused,
    /// Google Cloud does not do it now.
    Unavailable,
    /// GitLab does not do it now.
    GitlabUnavailable,
    /// The keys of its issuer cannot be had now.
    IssuerUnavailable,
    /// Too many write at once.
    Contention,
    /// A fault in this program.
    Panic,
    /// Nobody said why: it was delivered as often as it may be, and then Pub/Sub gave it up.
    DeliveriesExhausted,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::DoesNotDecode,
        Self::NoToken,
        Self::UnprovenOrigin,
        Self::TokenUsed,
        Self::UnprovenReplay,
        Self::OtherRequest,
        Self::OtherHost,
        Self::UnknownRun,
        Self::PermissionDenied,
        Self::GitlabDenied,
        Self::Refused,
        Self::GitlabRefused,
        Self::Unavailable,
        Self::GitlabUnavailable,
        Self::IssuerUnavailable,
        Self::Contention,
        Self::Panic,
        Self::DeliveriesExhausted,
    ];

    /// As in attributes, labels and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DoesNotDecode => "does-not-decode",
            Self::NoToken => "no-token",
            Self::UnprovenOrigin => "unproven-origin",
            Self::TokenUsed => "token-used",
            Self::UnprovenReplay => "unproven-replay",
            Self::OtherRequest => "other-request",
            Self::OtherHost => "other-host",
            Self::UnknownRun => "unknown-run",
            Self::PermissionDenied => "permission-denied",
            Self::GitlabDenied => "gitlab-denied",
            Self::Refused => "refused",
            Self::GitlabRefused => "gitlab-refused",
            Self::Unavailable => "unavailable",
            Self::GitlabUnavailable => "gitlab-unavailable",
            Self::IssuerUnavailable => "issuer-unavailable",
            Self::Contention => "contention",
            Self::Panic => "panic",
            Self::DeliveriesExhausted => "deliveries-exhausted",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == name)
    }

    /// Exhaustive on purpose: a new reason must choose its class to compile.
    pub const fn class(self) -> Class {
        match self {
            Self::DoesNotDecode => Class::Undecodable,
            Self::NoToken
            | Self::UnprovenOrigin
            | Self::TokenUsed
            | Self::UnprovenReplay
            | Self::OtherRequest
            | Self::OtherHost
            | Self::Refused
            | Self::GitlabRefused => Class::Refused,
            Self::UnknownRun
            | Self::Unavailable
            | Self::GitlabUnavailable
            | Self::IssuerUnavailable
            | Self::Contention
            | Self::DeliveriesExhausted => Class::Transient,
            Self::PermissionDenied | Self::GitlabDenied => Class::Permission,
            Self::Panic => Class::Bug,
        }
    }
}

/// A conflict is somebody else's progress and a missing bucket is soon created:
/// both are worth another try.
impl From<GcpClass> for Reason {
    fn from(class: GcpClass) -> Self {
        match class {
            GcpClass::NotFound | GcpClass::Conflict | GcpClass::Quota | GcpClass::Transient => {
                Self::Unavailable
            }
            GcpClass::Refused => Self::Refused,
            GcpClass::Permission => Self::PermissionDenied,
        }
    }
}

/// Why a delivery was not done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In a word.
    pub reason: Reason,
    /// In a sentence.
    pub detail: String,
}

impl Failure {
    /// What kind of failure it is.
    pub const fn class(&self) -> Class {
        self.reason.class()
    }
}

/// A handler's ways out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Done with, or recorded where it is not lost.
    Ack,
    /// Deliver it again, after the subscription's backoff; a dead letter on the last attempt.
    Retry(Failure),
    /// Deliver it to people.
    DeadLetter(Failure),
}

impl Settlement {
    /// The same with another detail.
    pub(crate) fn map_detail(self, change: impl FnOnce(String) -> String) -> Self {
        let change = |Failure { reason, detail }| Failure { reason, detail: change(detail) };
        match self {
            Self::Ack => Self::Ack,
            Self::Retry(failure) => Self::Retry(change(failure)),
            Self::DeadLetter(failure) => Self::DeadLetter(change(failure)),
        }
    }

    /// Turns a retry into a dead letter when no delivery is left. Where the
    /// subscription does not count attempts there is always another one.
    #[must_use]
    pub(crate) fn on_attempt(self, attempt: Option<u32>, attempts_max: u32) -> Self {
        match self {
            Self::Retry(failure) if attempt.is_some_and(|it| it >= attempts_max) => {
                Self::DeadLetter(failure)
            }
            Self::Ack | Self::Retry(_) | Self::DeadLetter(_) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn only_the_last_attempt_turns_a_retry_into_a_dead_letter() {
        let failure = Failure { reason: Reason::Unavailable, detail: "no answer".to_owned() };
        let retry = Settlement::Retry(failure.clone());
        let dead = Settlement::DeadLetter(failure);
        let cases = [
            (&retry, None, &retry),
            (&retry, Some(4), &retry),
            (&retry, Some(5), &dead),
            (&retry, Some(6), &dead),
            (&dead, Some(1), &dead),
            (&Settlement::Ack, Some(5), &Settlement::Ack),
        ];
        for (settlement, attempt, expected) in cases {
            assert_eq!(&settlement.clone().on_attempt(attempt, 5), expected, "{attempt:?}");
        }
    }

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Reason::ALL.iter().map(|it| it.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().all(|it| Reason::named(it.as_str()) == Some(*it)));
        assert_eq!(Reason::named("else"), None);
    }
}
