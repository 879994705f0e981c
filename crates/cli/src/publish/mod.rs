//! `branchline publish`: a CI job uploads its artifacts and asks for a run.

pub(crate) mod artifacts;
pub(crate) mod config;
mod error;
mod gitlab_ci;
mod message;
mod pattern;
pub(crate) mod repository;
mod strict;
mod training;
mod upload;
mod wait;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use branchline_contract::Training;
use branchline_gcp::Config as Google;
use branchline_gcp::pubsub::{Message, Publish as _, Publisher};
use branchline_gcp::storage::Storage;
use branchline_ledger::Store;
use branchline_service::Period;
use jiff::Timestamp;

use crate::env::{self, Environment};
use crate::follow::Followed;
use crate::terminal::plain;
use config::{Config, Run};
pub(crate) use error::Error;
use gitlab_ci::Job;
use message::Request;
use repository::Repository;
pub(crate) use wait::stopped;
use wait::{Asked, End};

/// A larger file is no `branchline.yaml`.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Ask for a training run of this commit
///
/// Uploads the artifacts that branchline.yaml names, publishes one message that asks for the
/// run, and prints the run's id on stdout. Made for a GitLab CI job: project, commit, pipeline
/// and merge request come from GitLab's predefined variables. Repeating it is harmless: what
/// is uploaded already is not uploaded again, and the same request is the same run.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Run of branchline.yaml to ask for; may be left out where there is only one
    name: Option<String>,
    /// File that describes the runs
    #[arg(long, value_name = "FILE", default_value = "branchline.yaml")]
    config: PathBuf,
    /// Value for {{ params.KEY }}; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// Print the message instead of publishing it; nothing is uploaded
    #[arg(long)]
    dry_run: bool,
    /// Follow the run and exit with its outcome
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// How long to follow it, such as 90m or 2h
    #[arg(long, value_name = "TIME", default_value = "2h", requires = "wait")]
    timeout: Period,
    /// File for GitLab's artifacts:reports:dotenv to append the results to
    #[arg(long, value_name = "FILE")]
    dotenv: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Examples:
  branchline publish
  branchline publish iris --set epochs=500
  branchline publish iris --dry-run | less
  branchline publish iris --wait --timeout 90m

Environment:
  CI_*, BRANCHLINE_ID_TOKEN       set by GitLab CI; see id_tokens in .gitlab-ci.yml
  BRANCHLINE_CREDENTIALS          application_default (the default) or anonymous
  BRANCHLINE_PUBSUB_ENDPOINT      instead of Google's own
  BRANCHLINE_STORAGE_ENDPOINT     instead of Google's own
  GOOGLE_APPLICATION_CREDENTIALS  credential file of the type external_account
  TRACEPARENT                     W3C trace to be part of; otherwise one begins here
  BRANCHLINE_ALLOW_KEY_FILES      true takes the key file of a service account there too

Variables written to --dotenv:
  BRANCHLINE_RUN_ID, and with --wait BRANCHLINE_OUTCOME, BRANCHLINE_MODEL_URI and
  BRANCHLINE_CONSOLE_URL, the page of the job in Google's console

Exit codes:
  0   published; with --wait, the run succeeded
  10  the run failed        11  it was cancelled     12  it expired
  13  it was rejected       14  --timeout is over and the run goes on
  64  wrong usage           65  wrong data           66  a file or object is missing
  69  refused by a service  75  try again            77  not allowed
  78  wrong branchline.yaml or environment
  130 and 143  Ctrl-C and SIGTERM; a run that was asked for goes on";

fn key_value(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = pair.ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Does what the command line asks for, and tells the exit code.
pub(crate) async fn run(args: &Args, environment: &Environment) -> Result<u8, Error> {
    let plan = plan(args, environment)?;
    let google = env::google(environment).map_err(Error::Environment)?;
    let storage = Storage::connect(&google).await?;
    let (config, run) = (&plan.config, &plan.run);
    let uploads = artifacts::collect(&plan.repository, &run.artifacts, config.artifacts_max)?;
    let mut artifacts = if args.dry_run {
        let unborn = |it: &artifacts::Upload| it.artifact(&config.bucket, 0);
        uploads.iter().map(unborn).collect::<Result<Vec<_>, _>>()?
    } else {
        upload::upload(&storage, &config.bucket, &uploads).await?
    };
    for (name, source) in &run.artifacts {
        artifacts.extend(upload::pin(&storage, name, source, config.artifacts_max).await?);
    }
    for line in upload::summary(&artifacts) {
        eprintln!("{line}");
    }

    let job = if args.dry_run { message::redacted(plan.job) } else { plan.job };
    let sent = (Timestamp::now(), env::trace(environment));
    let request = message::request(run, plan.training, artifacts, &job, sent)?;
    if args.dry_run {
        eprintln!("dry run: nothing was uploaded, so the generation of a file is 0 here");
        print(&message::shown(&request))?;
        return Ok(0);
    }
    publish(&google, &config.topic, &request).await?;
    print(request.id.as_str())?;
    if let Some(file) = &args.dotenv {
        append(file, &format!("BRANCHLINE_RUN_ID={}\n", request.id))?;
    }
    let Some(ledger) = config.ledger.clone().filter(|_| args.wait) else { return Ok(0) };
    let store = Store::new(Arc::new(storage), ledger, Timestamp::now);
    let followed = Followed::new(store, job.origin.project_id, request.id.clone());
    let asked = Asked { ci_job: job.origin.job_id, topic: &config.topic };
    let end = wait::follow(followed, &asked, args.timeout.get()).await?;
    if let (Some(file), End::Run(ending, console)) = (&args.dotenv, &end) {
        append(file, &format!("BRANCHLINE_OUTCOME={}\n", ending.outcome.as_str()))?;
        if let Some(uri) = &ending.model_uri {
            append(file, &format!("BRANCHLINE_MODEL_URI={}\n", plain(uri)))?;
        }
        if let Some(url) = console {
            append(file, &format!("BRANCHLINE_CONSOLE_URL={}\n", plain(url)))?;
        }
    }
    Ok(end.exit_code())
}

/// What is known before anything is sent.
struct Plan {
    config: Config,
    run: Run,
    training: Training,
    repository: Repository,
    job: Job,
}

fn plan(args: &Args, environment: &Environment) -> Result<Plan, Error> {
    let file = args.config.display().to_string();
    let unreadable = |error| Error::Read(file.clone(), error);
    let wrong = |problems| Error::Config { file: file.clone(), problems };
    let mut config =
        Config::parse(&read_bounded(&args.config).map_err(unreadable)?).map_err(wrong)?;
    if args.wait && config.ledger.is_none() {
        return Err(Error::NoLedger(file));
    }
    let repository = Repository::around(&args.config).map_err(unreadable)?;
    let run = choose(&mut config, args.name.as_deref(), &file)?;
    let params = params(&run, &args.set)?;
    let training = training::resolve(&run, &params, &repository).map_err(wrong)?;
    let job = gitlab_ci::read(environment)?;
    if job.id_token.is_none() && !args.dry_run {
        return Err(Error::NoIdToken);
    }
    Ok(Plan { config, run, training, repository, job })
}

/// What a publish of any run of such a file would say before it looks at artifacts.
pub(crate) fn check(text: &str, file: &str, repository: &Repository) -> Result<(), Error> {
    let wrong = |problems| Error::Config { file: file.to_owned(), problems };
    let config = Config::parse(text).map_err(wrong)?;
    for run in config.runs.values() {
        training::resolve(run, &run.params, repository).map_err(wrong)?;
    }
    Ok(())
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > CONFIG_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {CONFIG_BYTES_MAX} bytes")));
    }
    Ok(text)
}

fn choose(config: &mut Config, name: Option<&str>, file: &str) -> Result<Run, Error> {
    let known: Vec<_> = config.runs.keys().cloned().collect();
    let chosen = match (name, known.as_slice()) {
        (Some(name), known) => known.iter().find(|it| it.as_str() == name),
        (None, [only]) => Some(only),
        (None, _) => return Err(Error::WhichRun { file: file.to_owned(), known }),
    };
    chosen.and_then(|it| config.runs.remove(it)).ok_or_else(|| {
        let name = name.unwrap_or_default().to_owned();
        Error::UnknownRun { file: file.to_owned(), name, known: known.clone() }
    })
}

/// The defaults of the file, and over them what the command line sets.
fn params(run: &Run, set: &[(String, String)]) -> Result<BTreeMap<String, String>, Error> {
    let mut params = run.params.clone();
    for (key, value) in set {
        match params.get_mut(key) {
            Some(slot) => value.clone_into(slot),
            None => {
                return Err(Error::UnknownParam {
                    run: run.name.clone(),
                    key: key.clone(),
                    known: run.params.keys().cloned().collect(),
                });
            }
        }
    }
    Ok(params)
}

async fn publish(google: &Google, topic: &str, request: &Request) -> Result<(), Error> {
    let publisher = Publisher::connect(google).await?;
    let message = Message {
        data: request.envelope.data.clone().into(),
        attributes: request.envelope.attributes.clone(),
        ordering_key: Some(request.id.to_string()),
    };
    let id = publisher.publish(topic, message).await?;
    eprintln!("published message {id} to {topic}");
    Ok(())
}

/// On stdout goes only what a script may want to read.
fn print(line: &str) -> Result<(), Error> {
    let written = writeln!(io::stdout(), "{line}");
    written.map_err(|error| Error::Write("to stdout".to_owned(), error))
}

fn append(file: &Path, text: &str) -> Result<(), Error> {
    let opened = OpenOptions::new().create(true).append(true).open(file);
    let written = opened.and_then(|mut it| it.write_all(text.as_bytes()));
    written.map_err(|error| Error::Write(file.display().to_string(), error))
}
