//! `branchline worker` and `branchline notifier`: the roles that run in the cluster.

use std::path::PathBuf;

use anyhow::Context as _;
use branchline_service::shutdown::stop_on_signal;
use branchline_service::telemetry::{self, Format};
use secrecy::SecretString;

use crate::env::Environment;
#[cfg(all(feature = "failpoints", debug_assertions))]
use crate::failpoints::Failpoints;
use crate::start;

/// What both roles take.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// Configuration file, YAML
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Form of the log on stderr: auto is human on a terminal and Cloud Logging JSON elsewhere
    #[arg(long, value_name = "FORM", default_value = "auto")]
    pub log_format: Format,
    /// What is logged, such as info or debug
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = "info")]
    pub log: String,
}

/// Take requests in, train them on Vertex AI, announce what becomes of them
///
/// Every pod takes messages in; one of them, the holder of the lease, dispatches
/// and watches. SIGTERM drains: what is in flight is finished, the lease is given back.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  branchline worker --config worker.yaml

Environment, where the configuration names a GitLab whose approvals count:
  BRANCHLINE_GITLAB_TOKEN       token of a GitLab user who may read merge requests (read_api)
  BRANCHLINE_GITLAB_TOKEN_FILE  file that holds it

GET /livez, /readyz and /metrics answer on the configured address.
It looks at everything that it needs before it starts, and tells all that is wrong.
Exit codes: 0 drained, 78 wrong configuration or an endpoint that does not answer, 77 not allowed.")]
pub(crate) struct Worker {
    #[command(flatten)]
    pub common: Common,
}

/// Report runs to GitLab: a commit status, and a note on the merge request
///
/// What it reports is the run's ledger; run events only tell it to look. The user who reports
/// needs the scope api and the role Developer, or Maintainer for protected branches.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  BRANCHLINE_GITLAB_TOKEN_FILE=/run/secrets/gitlab branchline notifier --config notifier.yaml

Environment:
  BRANCHLINE_GITLAB_TOKEN       token of the GitLab user who reports
  BRANCHLINE_GITLAB_TOKEN_FILE  file that holds it

GET /livez, /readyz and /metrics answer on the configured address.
It looks at everything that it needs before it starts, and tells all that is wrong.
Exit codes: 0 drained, 78 wrong configuration or an endpoint that does not answer, 77 not allowed.")]
pub(crate) struct Notifier {
    #[command(flatten)]
    pub common: Common,
}

/// Runs a worker until a signal drains it.
pub(crate) async fn worker(args: &Worker, environment: &Environment) -> anyhow::Result<()> {
    let stop = stop_on_signal().context("listening for signals")?;
    let started = start::worker(&args.common, environment);
    let Some(started) = stop.run_until_cancelled(started).await else { return Ok(()) };
    let (config, token, listener) = started?;
    telemetry::init(args.common.log_format, &args.common.log)?;
    #[cfg(all(feature = "failpoints", debug_assertions))]
    if let Some(points) = Failpoints::new(environment, "worker") {
        return points.worker(config, token, listener, stop).await;
    }
    Ok(branchline_worker::run(config, token, listener, stop).await?)
}

/// Runs a notifier until a signal drains it.
pub(crate) async fn notifier(args: &Notifier, environment: &Environment) -> anyhow::Result<()> {
    let stop = stop_on_signal().context("listening for signals")?;
    let started = start::notifier(&args.common, environment);
    let Some(started) = stop.run_until_cancelled(started).await else { return Ok(()) };
    let (config, token, listener) = started?;
    telemetry::init(args.common.log_format, &args.common.log)?;
    #[cfg(all(feature = "failpoints", debug_assertions))]
    if let Some(points) = Failpoints::new(environment, "notifier") {
        return points.notifier(config, token, listener, stop).await;
    }
    Ok(branchline_notifier::run(config, token, listener, stop).await?)
}

/// A token for GitLab that is not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// Nobody says where one is.
    #[error(
        "there is no token for GitLab: set BRANCHLINE_GITLAB_TOKEN or BRANCHLINE_GITLAB_TOKEN_FILE"
    )]
    None,
    /// Its file cannot be read.
    #[error("reading GitLab's token from {file}")]
    Unreadable { file: String, source: std::io::Error },
    /// Nothing is in it.
    #[error("there is no token for GitLab in {0}, which BRANCHLINE_GITLAB_TOKEN_FILE names")]
    Empty(String),
}

/// The token of whoever asks GitLab, where one is given.
pub(crate) fn gitlab_token(environment: &Environment) -> Result<Option<SecretString>, TokenError> {
    let get = |name: &str| environment.get(name).filter(|it| !it.trim().is_empty());
    let token = match (get("BRANCHLINE_GITLAB_TOKEN"), get("BRANCHLINE_GITLAB_TOKEN_FILE")) {
        (Some(token), _) => token.clone(),
        (None, Some(file)) => {
            let text = std::fs::read_to_string(file);
            let text =
                text.map_err(|source| TokenError::Unreadable { file: file.clone(), source })?;
            if text.trim().is_empty() {
                return Err(TokenError::Empty(file.clone()));
            }
            text
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(SecretString::from(token.trim().to_owned())))
}

/// The token of whoever reports to GitLab.
pub(crate) fn reporting_token(environment: &Environment) -> Result<SecretString, TokenError> {
    gitlab_token(environment)?.ok_or(TokenError::None)
}
