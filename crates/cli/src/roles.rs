//! `branchline worker` and `branchline notifier`: the roles that run in the cluster.

use std::path::PathBuf;

use anyhow::Context as _;
use branchline_service::config::load;
use branchline_service::shutdown::stop_on_signal;
use branchline_service::telemetry::{self, Format};
use secrecy::SecretString;
use serde::de::DeserializeOwned;

use crate::env::{self, Environment};
#[cfg(all(feature = "failpoints", debug_assertions))]
use crate::failpoints::Failpoints;

/// What both roles take.
#[derive(Debug, clap::Args)]
struct Common {
    /// Configuration file, YAML
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Form of the log on stderr: auto is human on a terminal and Cloud Logging JSON elsewhere
    #[arg(long, value_name = "FORM", default_value = "auto")]
    log_format: Format,
    /// What is logged, such as info or debug
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = "info")]
    log: String,
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
Exit codes: 0 drained, 78 wrong configuration, 77 not allowed, 69 and 75 Google Cloud not reached.")]
pub(crate) struct Worker {
    #[command(flatten)]
    common: Common,
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
Exit codes: 0 drained, 78 wrong configuration, 77 not allowed, 69 and 75 Google Cloud not reached.")]
pub(crate) struct Notifier {
    #[command(flatten)]
    common: Common,
}

/// Runs a worker until a signal drains it.
pub(crate) async fn worker(args: &Worker, environment: &Environment) -> anyhow::Result<()> {
    let config: branchline_worker::Config = begin(&args.common)?;
    env::keyless(environment, &config.google)?;
    let token = gitlab_token(environment)?;
    let stop = stop_on_signal().context("listening for signals")?;
    #[cfg(all(feature = "failpoints", debug_assertions))]
    if let Some(points) = Failpoints::new(environment, "worker") {
        return points.worker(config, token, stop).await;
    }
    Ok(branchline_worker::run(config, token, stop).await?)
}

/// Runs a notifier until a signal drains it.
pub(crate) async fn notifier(args: &Notifier, environment: &Environment) -> anyhow::Result<()> {
    let config: branchline_notifier::Config = begin(&args.common)?;
    env::keyless(environment, &config.google)?;
    let token = gitlab_token(environment)?.ok_or(NoToken)?;
    let stop = stop_on_signal().context("listening for signals")?;
    #[cfg(all(feature = "failpoints", debug_assertions))]
    if let Some(points) = Failpoints::new(environment, "notifier") {
        return points.notifier(config, token, stop).await;
    }
    Ok(branchline_notifier::run(config, token, stop).await?)
}

fn begin<T: DeserializeOwned>(common: &Common) -> anyhow::Result<T> {
    let config = load(&common.config)?;
    telemetry::init(common.log_format, &common.log)?;
    Ok(config)
}

/// The notifier was given no token.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no token for GitLab: set BRANCHLINE_GITLAB_TOKEN or BRANCHLINE_GITLAB_TOKEN_FILE"
)]
pub(crate) struct NoToken;

pub(crate) fn gitlab_token(environment: &Environment) -> anyhow::Result<Option<SecretString>> {
    let get = |name: &str| environment.get(name).filter(|it| !it.is_empty());
    let token = match (get("BRANCHLINE_GITLAB_TOKEN"), get("BRANCHLINE_GITLAB_TOKEN_FILE")) {
        (Some(token), _) => token.clone(),
        (None, Some(file)) => std::fs::read_to_string(file)
            .with_context(|| format!("reading GitLab's token from {file}"))?,
        (None, None) => return Ok(None),
    };
    Ok(Some(SecretString::from(token.trim().to_owned())))
}
