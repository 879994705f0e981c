//! `branchline runs cancel`, `approve` and `retry`, `pause` and `resume`: an operator asks the
//! leader for something, and is told what became of it.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use branchline_contract::{
    self as contract, Actor, Ask, IdToken, Reason, Request, RequestId, RunId, Vertex,
};
use branchline_gcp::Config;
use branchline_gcp::storage::Storage;
use branchline_ledger::{Answer, RequestName, Requests, Trail, Verdict};
use branchline_service::Period;
use clap::Subcommand;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use crate::confirm::confirm;
use crate::doctor::job_token;
use crate::env::{self, Environment};
use crate::exit;
use crate::runs::{list, show, watch};
use crate::terminal::plain;

/// Between two looks for an answer.
const LOOK_EVERY: Duration = Duration::from_millis(250);

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
  78  wrong environment                1   not confirmed";

/// Look at runs and act on them
#[derive(Debug, clap::Args)]
pub(crate) struct Runs {
    #[command(subcommand)]
    command: RunsCommand,
}

#[derive(Debug, Subcommand)]
enum RunsCommand {
    List(list::Args),
    Show(show::Args),
    Watch(watch::Args),
    Retry(Retry),
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
    /// Do not ask; needed where there is no terminal
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    common: Common,
}

/// Try a run once more that has ended
///
/// The next attempt takes the inputs of the one before and is let in, or held, as the policy says
/// now of what its CI job had proven. A run that was rejected, or that ended before it was let in,
/// is tried again by its CI job alone.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
struct Retry {
    #[command(flatten)]
    attempt: Attempt,
    /// Why; stays on record
    #[arg(long, value_name = "TEXT")]
    reason: Reason,
    /// GitLab project of the run; otherwise it is looked for in the ledger
    #[arg(long, value_name = "ID")]
    project_id: Option<u64>,
    /// Also where it succeeded
    #[arg(long)]
    force: bool,
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
    /// Do not ask; needed where there is no terminal
    #[arg(long)]
    yes: bool,
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
pub(crate) struct Common {
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
    /// Who asks; needed where no token says so
    #[arg(long, value_name = "NAME", env = "USER")]
    actor: Option<Actor>,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", default_value = "1m")]
    timeout: Period,
    /// Do not wait for the answer
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// The command line asks for what cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// A `BRANCHLINE_` variable is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misplaced(pub(crate) String);

/// Looks at runs and acts on them.
pub(crate) async fn runs(args: &Runs, environment: &Environment) -> anyhow::Result<u8> {
    match &args.command {
        RunsCommand::List(args) => list::run(args, environment).await,
        RunsCommand::Show(args) => show::run(args, environment).await,
        RunsCommand::Watch(args) => watch::run(args, environment).await,
        RunsCommand::Retry(args) => retry(args, environment).await,
        RunsCommand::Cancel(Cancel { attempt, reason, yes, common }) => {
            let Attempt { run, attempt } = attempt;
            confirm(&format!("End run {run} and stop its job?"), *yes)?;
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

/// Finds the run's place in the ledger, which the leader no longer has in mind.
async fn retry(args: &Retry, environment: &Environment) -> anyhow::Result<u8> {
    let Retry { attempt: Attempt { run, attempt }, reason, project_id, force, common } = args;
    let project_id = match (project_id, &common.ledger_bucket) {
        (Some(it), _) => Some(*it),
        (None, Some(ledger)) => {
            let google = env::google(environment).map_err(Misplaced)?;
            let storage = Arc::new(Storage::connect(&google).await?);
            Trail::new(storage, ledger.clone()).project_of(run).await?
        }
        (None, None) => {
            let message = "--project-id says where the run is, or --ledger-bucket where to look";
            return Err(Usage(message.to_owned()).into());
        }
    };
    let Some(project_id) = project_id else {
        eprintln!("error: there is no run {run} in the ledger");
        return Ok(exit::NO_INPUT);
    };
    let retry = contract::Retry { run: run.clone(), project_id, attempt: *attempt, force: *force };
    request(Ask::Retry(retry), reason, common, environment).await
}

/// Pauses a domain.
pub(crate) async fn pause(args: &Pause, environment: &Environment) -> anyhow::Result<u8> {
    confirm(&format!("Dispatch nothing in {} until it is resumed?", args.domain), args.yes)?;
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
    let asker = Asker::connect(common, &google, environment).await?;
    let name = asker.ask(ask, reason).await?;
    if common.no_wait {
        eprintln!("asked, as {}", name.as_str());
        return Ok(0);
    }
    let Some(answer) = asker.answer(&name).await? else { return Ok(asker.waited_too_long(&name)) };
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

/// Whom a token names. Who checks it is the leader.
fn proven(token: &IdToken) -> Actor {
    let claims = job_token::decode(&token.0).unwrap_or_default();
    let named = Actor::parse(job_token::text(&claims, "email"));
    named.unwrap_or_else(|_| Actor::parse("whom the token proves").expect("it is a short line"))
}

/// Asks the leader, and waits for its answers.
pub(crate) struct Asker {
    requests: Requests,
    actor: Actor,
    id_token: Option<IdToken>,
    timeout: Duration,
}

impl Asker {
    pub(crate) async fn connect(
        common: &Common,
        google: &Config,
        environment: &Environment,
    ) -> anyhow::Result<Self> {
        let id_token = env::operator_token(environment);
        let actor = match (&common.actor, &id_token) {
            (Some(actor), _) => actor.clone(),
            (None, Some(token)) => proven(token),
            (None, None) => {
                let missing =
                    "--actor is missing: neither USER nor BRANCHLINE_OPERATOR_TOKEN says who asks";
                return Err(Usage(missing.to_owned()).into());
            }
        };
        let storage = Arc::new(Storage::connect(google).await?);
        let ledger = common.ledger_bucket.clone().unwrap_or_default();
        Ok(Self {
            requests: Requests::new(storage, common.request_bucket.clone(), ledger),
            actor,
            id_token,
            timeout: common.timeout.get(),
        })
    }

    /// Writes a request.
    pub(crate) async fn ask(&self, ask: Ask, reason: &Reason) -> anyhow::Result<RequestName> {
        let id = RequestId::parse(format!("{:032x}", fastrand::u128(..))).expect("hex digits");
        let (actor, id_token) = (self.actor.clone(), self.id_token.clone());
        let request = Request { id, actor, id_token, reason: reason.clone(), ask };
        let name = RequestName::new(Timestamp::now(), &request.id);
        self.requests.ask(&name, &request).await?;
        Ok(name)
    }

    /// The answer, unless it takes too long.
    pub(crate) async fn answer(&self, name: &RequestName) -> anyhow::Result<Option<Answer>> {
        let started = Instant::now();
        loop {
            if let Some(answer) = self.requests.answered(name).await? {
                return Ok(Some(answer));
            }
            if started.elapsed() >= self.timeout {
                return Ok(None);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Says so, and how the command ends.
    pub(crate) fn waited_too_long(&self, name: &RequestName) -> u8 {
        eprintln!(
            "no answer within {} s to {}: the request stands; is a worker running, and is this its bucket?",
            self.timeout.as_secs(),
            name.as_str()
        );
        exit::WAITED_TOO_LONG
    }
}
