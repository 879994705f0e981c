//! `branchline runs cancel` and `approve`, `pause` and `resume`: an operator asks the leader
//! for something, and is told what became of it.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use branchline_contract::{Actor, Ask, Reason, Request, RequestId, RunId, Vertex};
use branchline_gcp::storage::Storage;
use branchline_ledger::{Answer, RequestName, Requests, Verdict};
use branchline_service::Period;
use clap::Subcommand;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use crate::env::{self, Environment};
use crate::exit;
use crate::publish::plain;

/// Between two looks for an answer.
const LOOK_EVERY: Duration = Duration::from_millis(500);

const AFTER_HELP: &str = "\
The leader answers within a few seconds; the answer stays in the ledger's bucket. Where the
workers' configuration names operators, who asks is whom the token proves; otherwise --actor
is believed, and recorded as claimed.

Environment:
  BRANCHLINE_OPERATOR_TOKEN       Google ID token of whoever asks, such as $(gcloud auth
                                  print-identity-token); it is sent along and kept nowhere
  BRANCHLINE_CREDENTIALS          application_default (the default) or anonymous
  BRANCHLINE_STORAGE_ENDPOINT     instead of Google's own

Exit codes:
  0   done; with --no-wait, asked      14  --timeout is over and the request stands
  64  wrong usage                      69  refused, with the reason
  75  try again                        77  not allowed
  78  wrong environment";

/// Act on runs
#[derive(Debug, clap::Args)]
pub(crate) struct Runs {
    #[command(subcommand)]
    command: RunsCommand,
}

#[derive(Debug, Subcommand)]
enum RunsCommand {
    Cancel(Cancel),
    Approve(Approve),
    Logs(crate::logs::Args),
}

/// Which attempt of which run is meant.
#[derive(Clone, Debug, clap::Args)]
struct Attempt {
    /// The run's id
    run: RunId,
    /// Only this attempt; otherwise the one that is in force
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
}

/// Let a held run train, as an operator
///
/// For runs whose policy wants an operator's approval, and never for one's own. The run then
/// waits in line, unless approvals of its merge request are wanted too.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
struct Approve {
    #[command(flatten)]
    attempt: Attempt,
    /// Why; stays on record
    #[arg(long, value_name = "TEXT")]
    reason: Reason,
    #[command(flatten)]
    common: Common,
}

/// End a run
///
/// A run without a job ends at once. A job in Vertex AI is asked to stop, and how the run ends
/// is then Vertex AI's to say: it may have succeeded meanwhile.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
struct Cancel {
    #[command(flatten)]
    attempt: Attempt,
    /// Why; shown on the commit
    #[arg(long, value_name = "TEXT")]
    reason: Reason,
    #[command(flatten)]
    common: Common,
}

/// Dispatch no run in a project and region
///
/// Runs are still taken in and wait in line, and their commits say why. What is submitted
/// already goes on.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Pause {
    /// Vertex AI's project and region
    #[arg(value_name = "PROJECT/REGION")]
    domain: Vertex,
    /// Why; shown on the commits of the runs that wait
    #[arg(long, value_name = "TEXT")]
    reason: Reason,
    #[command(flatten)]
    common: Common,
}

/// Dispatch the runs of a project and region again
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Resume {
    /// Vertex AI's project and region
    #[arg(value_name = "PROJECT/REGION")]
    domain: Vertex,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "resumed")]
    reason: Reason,
    #[command(flatten)]
    common: Common,
}

/// Where to ask, as whom, and how long to wait.
#[derive(Debug, clap::Args)]
struct Common {
    /// Bucket of requests, `request_bucket` in worker.yaml
    #[arg(long, value_name = "BUCKET", env = "BRANCHLINE_REQUEST_BUCKET")]
    request_bucket: String,
    /// Bucket of the run ledger, where the answer will lie
    #[arg(
        long,
        value_name = "BUCKET",
        env = "BRANCHLINE_LEDGER_BUCKET",
        required_unless_present = "no_wait"
    )]
    ledger_bucket: Option<String>,
    /// Who asks, where no token says so
    #[arg(long, value_name = "NAME", env = "USER")]
    actor: Actor,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", default_value = "1m")]
    timeout: Period,
    /// Do not wait for the answer
    #[arg(long)]
    no_wait: bool,
}

/// A `BRANCHLINE_` variable is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misplaced(pub(crate) String);

/// Acts on runs.
pub(crate) async fn runs(args: &Runs, environment: &Environment) -> anyhow::Result<u8> {
    match &args.command {
        RunsCommand::Cancel(Cancel { attempt: Attempt { run, attempt }, reason, common }) => {
            let ask = Ask::Cancel { run: run.clone(), attempt: *attempt };
            request(ask, reason, common, environment).await
        }
        RunsCommand::Approve(Approve { attempt: Attempt { run, attempt }, reason, common }) => {
            let ask = Ask::Approve { run: run.clone(), attempt: *attempt };
            request(ask, reason, common, environment).await
        }
        RunsCommand::Logs(args) => crate::logs::run(args, environment).await,
    }
}

/// Pauses a domain.
pub(crate) async fn pause(args: &Pause, environment: &Environment) -> anyhow::Result<u8> {
    request(Ask::Pause(args.domain.clone()), &args.reason, &args.common, environment).await
}

/// Resumes it.
pub(crate) async fn resume(args: &Resume, environment: &Environment) -> anyhow::Result<u8> {
    request(Ask::Resume(args.domain.clone()), &args.reason, &args.common, environment).await
}

async fn request(
    ask: Ask,
    reason: &Reason,
    common: &Common,
    environment: &Environment,
) -> anyhow::Result<u8> {
    let google = env::google(environment).map_err(Misplaced)?;
    let id = RequestId::parse(format!("{:032x}", fastrand::u128(..))).expect("hex digits");
    let (actor, reason) = (common.actor.clone(), reason.clone());
    let id_token = env::operator_token(environment);
    let request = Request { id, actor, id_token, reason, ask };
    let name = RequestName::new(Timestamp::now(), &request.id);
    let storage = Arc::new(Storage::connect(&google).await?);
    let ledger = common.ledger_bucket.clone().unwrap_or_default();
    let requests = Requests::new(storage, common.request_bucket.clone(), ledger);
    requests.ask(&name, &request).await?;
    if common.no_wait {
        eprintln!("asked, as {}", name.as_str());
        return Ok(0);
    }
    let Some(answer) = answer(&requests, &name, common.timeout.get()).await? else {
        eprintln!(
            "no answer yet to {}: the request stands; is a worker running, and is this its bucket?",
            name.as_str()
        );
        return Ok(exit::WAITED_TOO_LONG);
    };
    let message = plain(&answer.message);
    match answer.verdict {
        Verdict::Done => {
            writeln!(std::io::stdout(), "{message}").context("writing to stdout")?;
            Ok(0)
        }
        Verdict::Refused => {
            eprintln!("error: {message}");
            Ok(exit::UNAVAILABLE)
        }
    }
}

async fn answer(
    requests: &Requests,
    name: &RequestName,
    timeout: Duration,
) -> Result<Option<Answer>, branchline_gcp::Error> {
    let started = Instant::now();
    loop {
        if let Some(answer) = requests.answered(name).await? {
            return Ok(Some(answer));
        }
        if started.elapsed() >= timeout {
            return Ok(None);
        }
        sleep(LOOK_EVERY).await;
    }
}
