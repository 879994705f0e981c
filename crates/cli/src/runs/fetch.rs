//! `branchline fetch`: a run's model, if it still is what lay there when the run ended.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::pin;

use branchline_contract::{Outcome, RunId, RunName};
use branchline_gcp::storage::Storage;
use branchline_ledger::{History, Listed};
use futures::TryStreamExt as _;
use jiff::Timestamp;

use super::find::{Catalogue, Project, Which, is_named, sha};
use super::model::Model;
use crate::env::{self, Environment};
use crate::exit;
use crate::operate::{Misplaced, Usage};
use crate::publish::stopped;

/// Runs that are read to find those of a commit, the newest first.
const RUNS_MAX: usize = 1_000;

/// Download the model of a run, verified against what the ledger says of it
///
/// When a run ends, its ledger records every file of the model with generation and checksum. Those
/// are downloaded, or nothing: a file that was replaced or changed since is refused.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The run's id, or a commit's hash, or 4 or more of its first digits
    #[arg(value_name = "RUN|SHA", value_parser = subject)]
    subject: Subject,
    /// Of a commit's runs those of this name in branchline.yaml
    #[arg(long, value_name = "NAME")]
    run: Option<RunName>,
    /// GitLab project of the run or commit: its path, or its id, which reads less
    #[arg(long, value_name = "PROJECT")]
    project: Option<Project>,
    /// Directory for the model, new or empty
    #[arg(long, value_name = "DIR", default_value = "model")]
    output: PathBuf,
    /// Print a line of JSON for each file
    #[arg(long)]
    json: bool,
    /// Bucket of the run ledger, `ledger_bucket` in worker.yaml
    #[arg(long, value_name = "BUCKET", env = "BRANCHLINE_LEDGER_BUCKET")]
    ledger_bucket: String,
}

const AFTER_HELP: &str = "\
Examples:
  branchline fetch iris-0123456789abcdef0123
  branchline fetch cadef9dcd --project ml/iris --run iris --output /tmp/iris

Of a commit the newest run that succeeded counts.

Environment:
  BRANCHLINE_CREDENTIALS          application_default (the default) or anonymous
  BRANCHLINE_STORAGE_ENDPOINT     instead of Google's own

Exit codes:
  0   the model is there, every file verified
  10  the run failed        11  it was cancelled     12  it expired
  13  it was rejected       75  it goes on, or try again
  64  wrong usage, or the commit alone does not say which run
  65  the model is not what was recorded, or was not recorded
  66  there is no such run, model or bucket          69  refused
  73  the directory is not empty, or cannot be written
  77  not allowed           78  wrong environment
  130 and 143  Ctrl-C and SIGTERM; nothing of the model is left";

/// What a model is wanted of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Run(RunId),
    Commit(String),
}

fn subject(text: &str) -> Result<Subject, &'static str> {
    let run = text.parse().map(Subject::Run);
    run.or_else(|_| sha(text).map(Subject::Commit))
        .map_err(|_| "it is neither a run's id nor a commit's hash")
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No such run.
    #[error("there is no run {0} in the ledger")]
    NoRun(String),
    /// No run of the commit.
    #[error("there is no such run of commit {0} in the ledger")]
    NoCommit(String),
    /// None among those that were read.
    #[error(
        "none of the newest {RUNS_MAX} runs is of commit {0}, and no others were read: name the run \
         by its id, or the project by --project ID"
    )]
    TooMany(String),
    /// There are several names, commits or projects.
    #[error("--run, --project or more digits have to say which: {}", .0.join("; or "))]
    Several(Vec<String>),
    /// It goes on.
    #[error("{run} has not ended: it is {state}")]
    GoesOn {
        /// The run.
        run: RunId,
        /// Where it stands.
        state: &'static str,
    },
    /// It ended otherwise.
    #[error("{run} has no model to fetch: it {}", ended(*.outcome))]
    Ended {
        /// The run.
        run: RunId,
        /// How it ended.
        outcome: Outcome,
    },
    /// It succeeded without one.
    #[error("{0} left no model")]
    NoModel(RunId),
    /// It lies where no files can be fetched from.
    #[error("{run}'s model is {uri}, which is not in Cloud Storage")]
    Elsewhere {
        /// The run.
        run: RunId,
        /// Where.
        uri: String,
    },
    /// No checksums.
    #[error(
        "no file of {run}'s model is on record, so nothing can be verified; \
         `gcloud storage cp --recursive {uri} .` copies what is there now"
    )]
    Unrecorded {
        /// The run.
        run: RunId,
        /// Where it lies.
        uri: String,
    },
    /// Training code named a file so that it would lie elsewhere, or nowhere.
    #[error("the model has a file {0:?}, which is no name for a file here")]
    Name(String),
    /// It is not what it was.
    #[error("{uri} is not what it was when the run ended: {what}")]
    Changed {
        /// The file.
        uri: String,
        /// The difference.
        what: String,
    },
    /// Something lies there.
    #[error("{} is not empty", .0.display())]
    Taken(PathBuf),
}

const fn ended(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::Cancelled => "was cancelled",
        Outcome::Expired => "expired",
        Outcome::Rejected => "was rejected",
    }
}

impl Error {
    /// What the process ends with.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::NoRun(_) | Self::NoCommit(_) | Self::NoModel(_) => exit::NO_INPUT,
            Self::TooMany(_) | Self::Several(_) => exit::USAGE,
            Self::GoesOn { .. } => exit::TRY_AGAIN,
            Self::Ended { outcome, .. } => exit::of_outcome(*outcome),
            Self::Elsewhere { .. }
            | Self::Unrecorded { .. }
            | Self::Name(_)
            | Self::Changed { .. } => exit::DATA,
            Self::Taken(_) => exit::CANNOT_CREATE,
        }
    }
}

pub(crate) async fn run(args: &Args, environment: &Environment) -> anyhow::Result<u8> {
    let google = env::google(environment).map_err(Misplaced)?;
    let catalogue = Catalogue::connect(&args.ledger_bucket, None, &google).await?;
    let storage = Storage::connect(&google).await?;
    let history = match &args.subject {
        Subject::Run(run) => of_run(&catalogue, run, args).await?,
        Subject::Commit(sha) => of_commit(&catalogue, sha, args).await?,
    };
    let model = Model::of(&history)?;
    tokio::select! {
        saved = model.save(&storage, &args.output) => saved?,
        code = stopped() => {
            eprintln!("stopped: nothing of the model is left here");
            return Ok(code);
        }
    }
    model.tell(&args.output, args.json)?;
    Ok(0)
}

async fn of_run(catalogue: &Catalogue, run: &RunId, args: &Args) -> anyhow::Result<History> {
    if args.run.is_some() {
        return Err(Usage("--run is for commits: the id names a run".to_owned()).into());
    }
    let project_id = match args.project {
        Some(Project::Id(id)) => Some(id),
        Some(Project::Path(_)) | None => None,
    };
    let which = Which { project: args.project.clone(), sha: None };
    let history = catalogue.run(run, project_id).await?.filter(|it| which.is(it));
    Ok(history.ok_or_else(|| Error::NoRun(run.to_string()))?)
}

/// The commit's newest run that succeeded; if there is none, its newest.
async fn of_commit(catalogue: &Catalogue, sha: &str, args: &Args) -> anyhow::Result<History> {
    let which = Which { project: args.project.clone(), sha: Some(sha.to_owned()) };
    let all = catalogue.all(&which, Timestamp::MIN, None);
    let is_it = |it: &Listed| std::future::ready(is_named(&it.run, args.run.as_ref()));
    let (listed, otherwise) = newest(all.try_filter(is_it).try_collect().await?, sha);
    let (mut found, mut kinds) = (Vec::new(), BTreeSet::new());
    let mut reads = pin!(catalogue.read(listed));
    while let Some((_, read)) = reads.try_next().await? {
        match read {
            Ok(history) if which.is(&history) => {
                let gitlab = &history.run.request.gitlab;
                let (name, project) = (&history.run.request.run, &gitlab.project_path);
                kinds.insert(format!("{name} of {} in {project}", gitlab.sha));
                found.push(history);
            }
            Ok(_) => {}
            Err(unread) => eprintln!("{}", unread.message),
        }
    }
    if kinds.len() > 1 {
        return Err(Error::Several(kinds.into_iter().collect()).into());
    }
    let succeeded =
        |it: &History| it.run.ending().is_some_and(|it| it.outcome == Outcome::Succeeded);
    let at = found.iter().position(succeeded).unwrap_or_default();
    Ok(found.into_iter().nth(at).ok_or(otherwise)?)
}

/// The runs that are read, and what it means where none of them is of the commit.
fn newest(mut listed: Vec<Listed>, sha: &str) -> (Vec<Listed>, Error) {
    listed.sort_by_key(|it| Reverse(it.at));
    let none = if listed.len() > RUNS_MAX { Error::TooMany } else { Error::NoCommit };
    listed.truncate(RUNS_MAX);
    (listed, none(sha.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_wanted_of_a_run_or_a_commit() {
        let cases = [
            ("iris-0123456789abcdef0123", Some(true)),
            ("cadef9dcd", Some(false)),
            ("CADEF9DCD", Some(false)),
            ("cad", None),
            ("iris", None),
            ("", None),
        ];
        for (text, is_run) in cases {
            let subject = subject(text).ok().map(|it| matches!(it, Subject::Run(_)));
            assert_eq!(subject, is_run, "{text}");
        }
    }

    #[test]
    fn a_commit_is_unknown_only_where_every_run_was_read() {
        let run = RunId::parse("iris-0123456789abcdef0123").unwrap();
        let cases = [(0, exit::NO_INPUT), (RUNS_MAX, exit::NO_INPUT), (RUNS_MAX + 1, exit::USAGE)];
        for (runs, code) in cases {
            let at = |it| Timestamp::from_second(it).ok();
            let listed = (0..).map(|it| Listed { run: run.clone(), project_id: 42, at: at(it) });
            let (read, otherwise) = newest(listed.take(runs).collect(), "cadef9dcd");
            assert_eq!((read.len(), otherwise.exit_code()), (runs.min(RUNS_MAX), code));
            assert!(read.is_sorted_by_key(|it| Reverse(it.at)));
        }
    }
}
