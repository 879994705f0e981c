//! What becomes of a delivery. Pure.

use branchline_gcp::Class as GcpClass;

/// Why a delivery was not done with. A closed set: it is an attribute of dead
/// letters and a label of metrics.
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

/// A conflict is somebody else's progress and a missing bucket is soon created:
/// both are worth another try.
impl From<GcpClass> for Class {
    fn from(class: GcpClass) -> Self {
        match class {
            GcpClass::NotFound | GcpClass::Conflict | GcpClass::Quota | GcpClass::Transient => {
                Self::Transient
            }
            GcpClass::Refused => Self::Refused,
            GcpClass::Permission => Self::Permission,
        }
    }
}

/// A handler's ways out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Done with, or recorded where it is not lost.
    Ack,
    /// Deliver it again, after the subscription's backoff; a dead letter on the last attempt.
    Retry {
        /// What kind of failure.
        class: Class,
        /// The failure, in a sentence.
        reason: String,
    },
    /// Deliver it to people.
    DeadLetter {
        /// What kind of failure.
        class: Class,
        /// The failure, in a sentence.
        reason: String,
    },
}

impl Settlement {
    /// The same with another reason.
    pub(crate) fn map_reason(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Ack => Self::Ack,
            Self::Retry { class, reason } => Self::Retry { class, reason: change(reason) },
            Self::DeadLetter { class, reason } => {
                Self::DeadLetter { class, reason: change(reason) }
            }
        }
    }

    /// Turns a retry into a dead letter when no delivery is left. Where the
    /// subscription does not count attempts there is always another one.
    #[must_use]
    pub(crate) fn on_attempt(self, attempt: Option<u32>, attempts_max: u32) -> Self {
        match self {
            Self::Retry { class, reason } if attempt.is_some_and(|it| it >= attempts_max) => {
                Self::DeadLetter { class, reason }
            }
            Self::Ack | Self::Retry { .. } | Self::DeadLetter { .. } => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_attempt_turns_a_retry_into_a_dead_letter() {
        let (class, reason) = (Class::Transient, "no answer".to_owned());
        let retry = Settlement::Retry { class, reason: reason.clone() };
        let dead = Settlement::DeadLetter { class, reason };
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
}
