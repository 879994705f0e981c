//! Everything that can keep a run from being asked for, and its exit code.

use std::io;

use branchline_contract::RunName;

use super::strict::Problem;
use super::{artifacts, gitlab_ci, message, upload};
use crate::exit;

/// Why nothing was published, or why a run could not be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file of the user's could not be read.
    #[error("reading {0}")]
    Read(String, #[source] io::Error),
    /// `branchline.yaml` is wrong, in all these ways.
    #[error("{file} is wrong:\n  {}", lines(problems))]
    Config {
        /// The file.
        file: String,
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// There is no such run.
    #[error("{file} has no run {name:?}; it has {}", names(known))]
    UnknownRun {
        /// The file.
        file: String,
        /// The name that was asked for.
        name: String,
        /// The names that there are.
        known: Vec<RunName>,
    },
    /// Several runs and no choice.
    #[error("{file} has several runs; name one of {}", names(known))]
    WhichRun {
        /// The file.
        file: String,
        /// The names that there are.
        known: Vec<RunName>,
    },
    /// `--set` for a parameter that the run does not have.
    #[error("run {run} has no parameter {key:?}; {}", parameters(known))]
    UnknownParam {
        /// The run.
        run: RunName,
        /// The parameter.
        key: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// `--wait` without a ledger to look at.
    #[error("{0} has no `ledger`, the bucket that --wait reads; add it, or leave --wait out")]
    NoLedger(String),
    /// Nothing would prove where the request comes from.
    #[error(
        "BRANCHLINE_ID_TOKEN is not set, and without it no worker takes a request; add to the job in .gitlab-ci.yml:\n  id_tokens:\n    BRANCHLINE_ID_TOKEN: {{aud: branchline}}"
    )]
    NoIdToken,
    /// The CI job does not say where it is.
    #[error(transparent)]
    Job(#[from] gitlab_ci::Error),
    /// A `BRANCHLINE_` variable is wrong.
    #[error("{0}")]
    Environment(String),
    /// An artifact cannot be taken from the repository.
    #[error(transparent)]
    Artifact(#[from] artifacts::Error),
    /// An artifact cannot be had in the bucket.
    #[error(transparent)]
    Upload(#[from] upload::Error),
    /// The request is too large.
    #[error(transparent)]
    Message(#[from] message::Error),
    /// Google Cloud did not do it.
    #[error(transparent)]
    Remote(#[from] branchline_gcp::Error),
    /// The run is asked for, but its ledger cannot be read.
    #[error("the run goes on, but cannot be followed")]
    Ledger(#[from] branchline_ledger::Error),
    /// A result could not be written.
    #[error("writing {0}")]
    Write(String, #[source] io::Error),
}

impl Error {
    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Read(..) | Self::Artifact(_) => exit::NO_INPUT,
            Self::Config { .. }
            | Self::NoLedger(_)
            | Self::NoIdToken
            | Self::Job(_)
            | Self::Environment(_) => exit::CONFIG,
            Self::UnknownRun { .. } | Self::WhichRun { .. } | Self::UnknownParam { .. } => {
                exit::USAGE
            }
            Self::Upload(error) => error.exit_code(),
            Self::Message(_) => exit::DATA,
            Self::Remote(error) => exit::of_class(error.class()),
            Self::Ledger(error) => exit::of_class(error.class()),
            Self::Write(..) => exit::CANNOT_CREATE,
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n  ")
}

fn names(known: &[RunName]) -> String {
    known.iter().map(RunName::as_str).collect::<Vec<_>>().join(", ")
}

fn parameters(known: &[String]) -> String {
    match known {
        [] => "it has none".to_owned(),
        _ => format!("it has {}", known.join(", ")),
    }
}
