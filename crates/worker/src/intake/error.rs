//! Why intake could not take a message in.

use branchline_contract::{DecodeError, RunId, RunName, Sha256};
use branchline_gcp::Error as GcpError;
use branchline_gitlab::signing_keys::Unproven;
use branchline_service::telemetry::chain;
use branchline_service::{Failure, Reason};

use crate::provenance;

/// Why a message did not end in an ack of its own.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Ledger(#[from] branchline_ledger::Error),
    #[error(transparent)]
    Google(#[from] GcpError),
    #[error("its merge requests are not known")]
    Gitlab(#[from] branchline_gitlab::Error),
    #[error("its merge requests are not known: GitLab did not answer in time")]
    NoAnswer,
    #[error(transparent)]
    Provenance(#[from] provenance::Error),
    #[error("its ID token has announced another request for {0} before")]
    TokenUsed(RunName),
    #[error("{0} is the id of another request, whose digest is {1}")]
    OtherRequest(RunId, Sha256),
    #[error("{0} is written by too many at once")]
    Collisions(RunId),
}

impl Error {
    /// What becomes of the message, and why.
    pub(super) fn failure(&self) -> Failure {
        Failure { reason: self.reason(), detail: self.detail() }
    }

    /// Exhaustive on purpose: a new variant must choose its reason to compile.
    fn reason(&self) -> Reason {
        match self {
            Self::Decode(_) => Reason::DoesNotDecode,
            Self::Provenance(source) => match source {
                provenance::Error::Anonymous => Reason::NoToken,
                provenance::Error::Unproven(Unproven::Forgery(_)) => Reason::UnprovenOrigin,
                provenance::Error::Unproven(Unproven::Transient { .. }) => {
                    Reason::IssuerUnavailable
                }
                provenance::Error::NoReplay(_) | provenance::Error::ReplayUnproven(_) => {
                    Reason::UnprovenReplay
                }
                provenance::Error::Archive(source) => source.class().into(),
            },
            Self::TokenUsed(_) => Reason::TokenUsed,
            Self::OtherRequest(..) => Reason::OtherRequest,
            Self::Ledger(source) => source.class().into(),
            Self::Google(source) => source.class().into(),
            // One GitLab project that is not seen is no reason to be ready for none.
            Self::Gitlab(_) | Self::NoAnswer => Reason::GitlabUnavailable,
            Self::Collisions(_) => Reason::Contention,
        }
    }

    /// In a sentence, with what would help.
    fn detail(&self) -> String {
        let lacking = match self {
            Self::Ledger(branchline_ledger::Error::Storage(source))
            | Self::Google(source)
            | Self::Provenance(provenance::Error::Archive(source)) => source.lacking(),
            _ => None,
        };
        // First, for what Google says of it is long and told twice.
        let lacking = lacking.map(|it| format!("{it}; ")).unwrap_or_default();
        format!("{lacking}{}", chain(self))
    }
}
