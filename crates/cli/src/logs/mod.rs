//! `branchline runs logs`: what GitLab's CI job, the ledger and the job in Vertex AI say of a run,
//! in one order.

mod clocks;
mod gitlab;
mod line;
mod merge;
mod session;
mod story;
mod trace;
mod vertex;

use std::io::IsTerminal as _;
use std::time::Duration;

use branchline_contract::RunId;
use branchline_service::Period;
use jiff::Timestamp;
use regex::Regex;
use tokio::time::sleep;

use self::line::{Form, Source};
use self::session::Session;
use crate::audit::{Ledger, moment};
use crate::env::{self, Environment};
use crate::exit;
use crate::operate::Misplaced;

/// Between two looks at all sources.
const LOOK_EVERY: Duration = Duration::from_secs(2);

const AFTER_HELP: &str = "\
Examples:
  branchline runs logs iris-0123456789abcdef0123 --follow
  branchline runs logs iris-0123456789abcdef0123 --source vertex --since 10m --grep 'loss|error'

Times are UTC, by Cloud Storage's clock. Lines are in the order of time, and each source keeps its
own. Clocks differ; what is certain counts before them: what the CI job logged before it published
comes before the fact that answers it, and what a job in Vertex AI printed between the facts of its
call and of its end. A source whose clock is thereby wrong is corrected as a whole, by as little as
it takes, and stderr says so. Lines of a CI job without a time of their own (set FF_TIMESTAMPS) have
that of the line before.

Cloud Logging is seconds late, so --follow holds every line back for --window. What comes later
still is printed where it comes, with ~ before it. It ends some seconds after the run.

A source that cannot be read is named on stderr, and the others are shown.

Environment:
  BRANCHLINE_GITLAB_TOKEN         token of a GitLab user who may read the job's log (read_api)
  BRANCHLINE_GITLAB_TOKEN_FILE    file that holds it
  BRANCHLINE_GITLAB_ENDPOINT      the GitLab that the token is for; it is sent nowhere else
  BRANCHLINE_CREDENTIALS          application_default (the default) or anonymous; it needs
                                  roles/storage.objectViewer on the ledger, and for Vertex AI
                                  roles/logging.viewer and, for kinds other than custom jobs,
                                  roles/aiplatform.viewer on the training project
  BRANCHLINE_STORAGE_ENDPOINT     instead of Google's own
  BRANCHLINE_LOGGING_ENDPOINT     instead of Google's own
  BRANCHLINE_VERTEX_ENDPOINT      instead of Google's own
  NO_COLOR                        no colours on a terminal either

Exit codes:
  0   shown                            66  there is no such run or bucket
  64  wrong usage                      75  try again
  77  not allowed to read the ledger   78  wrong environment";

/// Show what GitLab, the ledger and Vertex AI say of a run, in one order of time
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The run's id
    run: RunId,
    /// GitLab project of the run; otherwise it is looked for in the ledger
    #[arg(long, value_name = "ID")]
    project_id: Option<u64>,
    /// Only this attempt; otherwise all of them
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// Go on until the run has ended
    #[arg(long, short)]
    follow: bool,
    /// How long --follow holds a line back, so that earlier ones can still come
    #[arg(long, value_name = "TIME", default_value = "5s")]
    window: Period,
    /// Only lines from then on: a time such as 2026-11-23T12:00:00Z, a date in UTC, or how long ago,
    /// such as 10m
    #[arg(long, value_name = "TIME", value_parser = ago)]
    since: Option<Timestamp>,
    /// Only this source; may be given again for another
    #[arg(long, value_name = "SOURCE")]
    source: Vec<Source>,
    /// Only lines that match this regular expression
    #[arg(long, value_name = "REGEX")]
    grep: Option<Regex>,
    /// Print lines of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    ledger: Ledger,
}

/// Shows the logs of a run.
pub(crate) async fn run(args: &Args, environment: &Environment) -> anyhow::Result<u8> {
    let google = env::google(environment).map_err(Misplaced)?;
    let trail = args.ledger.connect(&google).await?;
    let project_id = match args.project_id {
        Some(it) => Some(it),
        None => trail.project_of(&args.run).await?,
    };
    let Some(project_id) = project_id else { return Ok(absent(args)) };
    let mut session = Session::new(args, environment, google, trail, project_id);
    session.look().await?;
    if session.is_empty() {
        return Ok(absent(args));
    }
    while args.follow && !session.is_over() {
        session.tell()?;
        sleep(args.window.get().clamp(LOOK_EVERY / 20, LOOK_EVERY)).await;
        session.look().await?;
    }
    session.tell_all()?;
    Ok(0)
}

fn absent(args: &Args) -> u8 {
    eprintln!("error: there is no run {} in the ledger", args.run);
    exit::NO_INPUT
}

/// Reads a time, or how long ago it was.
fn ago(text: &str) -> Result<Timestamp, String> {
    match text.parse::<Period>() {
        Ok(period) => Ok(Timestamp::now() - period.get()),
        Err(_) => moment(text),
    }
}

impl Args {
    /// In which form lines go to stdout.
    fn form(&self, environment: &Environment) -> Form {
        let colours = environment.get("NO_COLOR").is_none_or(String::is_empty);
        match self.json {
            true => Form::Json,
            false if colours && std::io::stdout().is_terminal() => Form::Coloured,
            false => Form::Plain,
        }
    }

    fn wants(&self, source: Source) -> bool {
        self.source.is_empty() || self.source.contains(&source)
    }

    fn wants_attempt(&self, attempt: u32) -> bool {
        self.attempt.is_none_or(|it| it == attempt)
    }
}
