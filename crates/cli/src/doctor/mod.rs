//! `branchline doctor`: looks at every hop between GitLab and Google Cloud, and names what is
//! wrong with the command that mends it. It changes nothing.

mod ci;
mod cluster;
mod credentials;
pub(crate) mod finding;
pub(crate) mod gitlab;
pub(crate) mod grants;
pub(crate) mod job_token;
mod pool;
mod provider;
mod quote;
pub(crate) mod roles;
mod service_agent;
mod subscription;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use branchline_gcp::iam::{Iam, Provider, Resource};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::Value;

use self::finding::{Finding, Level};
use self::grants::{Member, On, Things};
use self::quote::quote;
use self::roles::{both, notifier, worker};
use crate::env::{self, Environment};
use crate::exit;
use crate::operate::Misplaced;
use crate::publish::config::{bucket, topic};
use crate::terminal::{self, plain};

/// What workers expect unless they are told otherwise.
const AUDIENCE: &str = "branchline";

const AFTER_HELP: &str = "\
Examples:
  branchline doctor ci --topic projects/P/topics/artifact-ready --bucket acme-artifacts
  branchline doctor worker --config worker.yaml --artifact-bucket acme-artifacts \
      --training-project ml --account worker@ml.iam.gserviceaccount.com

What an account may do only that account is told: run it where the role runs, or name the
account with --account and be allowed to impersonate it (iam.serviceAccountTokenCreator).

Exit codes:
  0   nothing is wrong                  75  something could not be looked at
  64  wrong usage                       78  something is wrong";

/// Say what is wrong between GitLab and Google Cloud, and how to mend it
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    Ci(Ci),
    Worker(Worker),
    Notifier(Notifier),
    All(All),
}

/// A CI job: its tokens, the identity provider, what its account may do
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
struct Ci {
    #[command(flatten)]
    ci: CiArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct CiArgs {
    /// Topic that messages are published to, projects/P/topics/T
    #[arg(long, value_name = "TOPIC", env = "BRANCHLINE_TOPIC", value_parser = topic)]
    topic: String,
    /// Bucket that artifacts are uploaded to
    #[arg(long, value_name = "BUCKET", value_parser = bucket)]
    bucket: String,
    /// Bucket of the run ledger, for jobs that `publish --wait` or `fetch`
    #[arg(long, value_name = "BUCKET", value_parser = bucket)]
    ledger: Option<String>,
    /// Bucket that models lie in, for jobs that `fetch`
    #[arg(long, value_name = "BUCKET", value_parser = bucket)]
    output: Option<String>,
    /// Audience that the workers expect
    #[arg(long, value_name = "AUDIENCE", default_value = AUDIENCE)]
    audience: String,
    /// The identity provider, as `gcloud iam workload-identity-pools providers describe
    /// --format=json` prints it
    #[arg(long, value_name = "FILE")]
    provider: Option<PathBuf>,
}

/// The worker: its account, subscription, APIs, regions, issuers
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
struct Worker {
    /// Its configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Service account of the role, which is impersonated
    #[arg(long, value_name = "EMAIL")]
    account: Option<String>,
    #[command(flatten)]
    jobs: Jobs,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Jobs {
    /// Bucket of artifacts; any number
    #[arg(long, value_name = "BUCKET", required = true)]
    artifact_bucket: Vec<String>,
    /// Project in which jobs train; any number
    #[arg(long, value_name = "PROJECT", required = true)]
    training_project: Vec<String>,
    /// Service account that jobs train as; any number
    #[arg(long, value_name = "EMAIL")]
    training_account: Vec<String>,
    /// The policy, where it lies elsewhere than the worker's configuration says
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// The notifier: its account, subscription, GitLab token
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
struct Notifier {
    /// Its configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Service account of the role, which is impersonated
    #[arg(long, value_name = "EMAIL")]
    account: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Worker and notifier
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
struct All {
    /// The worker's configuration
    #[arg(long, value_name = "FILE")]
    worker: PathBuf,
    /// The notifier's configuration
    #[arg(long, value_name = "FILE")]
    notifier: PathBuf,
    /// Service account of the worker, which is impersonated
    #[arg(long, value_name = "EMAIL")]
    worker_account: Option<String>,
    /// Service account of the notifier, which is impersonated
    #[arg(long, value_name = "EMAIL")]
    notifier_account: Option<String>,
    #[command(flatten)]
    jobs: Jobs,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// GitLab project, by its id, in which runs are reported
    #[arg(long, value_name = "ID")]
    gitlab_project: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Probes and tells.
pub(crate) async fn run(args: &Args, environment: &Environment) -> anyhow::Result<u8> {
    let now = Timestamp::now();
    let (mut found, json) = match &args.command {
        Part::Ci(Ci { ci, json }) => (job(ci, environment, now).await?, *json),
        Part::Worker(Worker { config, account, jobs, common }) => {
            let account = account.as_ref();
            (worker(config, jobs, account, common, environment, now).await?, common.json)
        }
        Part::Notifier(Notifier { config, account, common }) => {
            (notifier(config, account.as_ref(), common, environment, now).await?, common.json)
        }
        Part::All(all) => {
            let All { jobs, common, .. } = all;
            let (its, other) = (all.worker_account.as_ref(), all.notifier_account.as_ref());
            let (worker, notifier) = futures::join!(
                worker(&all.worker, jobs, its, common, environment, now),
                notifier(&all.notifier, other, common, environment, now),
            );
            let both = both(&all.worker, &all.notifier, other)?;
            (worker?.into_iter().chain(notifier?).chain(both).collect(), common.json)
        }
    };
    found.sort_by(|a, b| (a.level, &a.what).cmp(&(b.level, &b.what)));
    found.dedup();
    tell(&found, json).context("writing to stdout")?;
    Ok(match found.first().map(|it| it.level) {
        None => 0,
        Some(Level::Wrong) => exit::CONFIG,
        Some(Level::Unknown) => exit::TRY_AGAIN,
    })
}

fn tell(found: &[Finding], json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for finding in found {
        if json {
            writeln!(out, "{}", terminal::json(finding))?;
            continue;
        }
        let mark = match finding.level {
            Level::Wrong => "wrong",
            Level::Unknown => "unknown",
        };
        writeln!(out, "{mark}: {}\n  {}", plain(&finding.what), plain(&finding.why))?;
        for line in finding.fix.iter().flat_map(|it| it.lines()) {
            // The whole of it, however long: it is to be pasted.
            let visible = |it: char| if it.is_control() { ' ' } else { it };
            writeln!(out, "    {}", line.chars().map(visible).collect::<String>())?;
        }
    }
    if !json && found.is_empty() {
        writeln!(out, "nothing is wrong")?;
    }
    Ok(())
}

async fn job(
    args: &CiArgs,
    environment: &Environment,
    now: Timestamp,
) -> anyhow::Result<Vec<Finding>> {
    let google = env::google_with_any_key(environment).map_err(Misplaced)?;
    let iam = Iam::new(&google)?;
    let get = |name: &str| environment.get(name).filter(|it| !it.is_empty()).cloned();
    let mut things = Things::new();
    things.insert(On::ArtifactTopic, vec![Resource::Topic(args.topic.clone())]);
    things.insert(On::ArtifactBucket, vec![Resource::Bucket(args.bucket.clone())]);
    things.insert(On::LedgerBucket, args.ledger.iter().cloned().map(Resource::Bucket).collect());
    things.insert(On::OutputBucket, args.output.iter().cloned().map(Resource::Bucket).collect());
    let provider = args.provider.as_deref().map(described).transpose()?;
    let job = ci::Job {
        token: get("BRANCHLINE_ID_TOKEN"),
        audience: args.audience.clone(),
        credentials: get("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from),
        provider,
        again: args.again(),
        key_file: key_file(environment, &google),
        things,
    };
    Ok(ci::probe(&iam, &job, now).await)
}

/// Whether this process would be refused for the key that it has.
fn key_file(environment: &Environment, google: &branchline_gcp::Config) -> Option<Finding> {
    let refused = env::keyless(environment, google).err()?;
    let fix = "# unset GOOGLE_APPLICATION_CREDENTIALS, and take the file away: in a cluster Workload \
               Identity stands for it, in CI a credential file for the job's ID token";
    let what = "neither role starts, nor does publish, with the credentials that are here";
    Some(Finding::wrong("credentials", what, refused.to_string(), fix))
}

/// How IAM names whoever this process is.
pub(crate) async fn whoami(iam: &Iam) -> Member {
    let token = iam.own_id_token().await;
    let claims = token.and_then(|it| job_token::decode(&it));
    let email = claims.as_ref().map(|it| job_token::text(it, "email")).filter(|it| !it.is_empty());
    let email = email.ok_or("nothing here tells its address, and --account would")?;
    Ok(format!("serviceAccount:{email}"))
}

impl CiArgs {
    /// The same once more, with the provider that the command before it has written.
    fn again(&self) -> String {
        let own = (self.audience != AUDIENCE).then_some(self.audience.as_str());
        let options = [
            ("topic", Some(self.topic.as_str())),
            ("bucket", Some(&self.bucket)),
            ("ledger", self.ledger.as_deref()),
            ("output", self.output.as_deref()),
            ("audience", own),
            ("provider", Some("provider.json")),
        ];
        let options = options.iter().filter_map(|(name, value)| Some((name, (*value)?)));
        let words = options.map(|(name, value)| format!(" --{name} {}", quote(value)));
        format!("branchline doctor ci{}", words.collect::<String>())
    }
}

/// A provider from a file.
fn described(path: &Path) -> anyhow::Result<Provider> {
    let doing = || format!("reading the provider in {}", path.display());
    let text = std::fs::read(path).with_context(doing)?;
    let value: Value = serde_json::from_slice(&text).with_context(doing)?;
    Provider::read(&value).with_context(doing)
}
