//! What a probe found: what is wrong, why, and the command that mends it.

use serde::Serialize;

/// One thing that is wrong, or that could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Short name of the check, for scripts.
    pub check: &'static str,
    /// Whether it is wrong, or only unknown.
    pub level: Level,
    /// What is wrong, in one sentence.
    pub what: String,
    /// What follows from it, or how it is known.
    pub why: String,
    /// What to run or to write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// It keeps runs from going on.
    Wrong,
    /// It could not be looked at.
    Unknown,
}

impl Finding {
    pub(crate) fn wrong(
        check: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let (what, why, fix) = (what.into(), why.into(), Some(fix.into()));
        Self { check, level: Level::Wrong, what, why, fix }
    }

    pub(crate) fn unknown(
        check: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self { check, level: Level::Unknown, what: what.into(), why: why.into(), fix: None }
    }
}
