//! `branchline local`: the embedded stack as a command, with what an
//! installation of Branchline needs set up in it.

pub(crate) mod demo;
mod keyless;
mod timeline;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use branchline_local::installation;
use branchline_local::stack::{Options, Stack};
use branchline_service::config::load;
use branchline_service::shutdown::stop_on_signal;

/// Run Pub/Sub, Cloud Storage, Vertex AI, Cloud Logging and GitLab on this machine
///
/// Listens on loopback only, and runs the commands of training jobs as local processes. Prints
/// `export` lines with which gcloud, Google's client libraries and branchline itself find the
/// stack, then serves until Ctrl-C or SIGTERM.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  branchline local --data-dir /tmp/branchline
  branchline local | tee stack.env     in one terminal, and in another:
  . ./stack.env; gcloud pubsub topics list --project demo-project

Faults are rules, the first that applies decides:
  seed: 7
  rules:
  - {service: vertex, method: POST, path: customJobs, fault: drop_response, probability: 0.3}
  - {service: vertex, fault: {answer: {status: 429, retry_after: 3}}, skip: 10, times: 2}
  - {service: storage, path: google.storage.v2.Storage/, fault: {delay_ms: 2000}, times: 1}
  - {service: gitlab, fault: drop_request, times: 1}
  - {service: pubsub, path: artifact-ready-worker, fault: duplicate, probability: 0.2}
  - {service: vertex, path: customJobs, fault: {end_as: {state: expired}}, skip: 3, times: 1}
Of requests: drop_request, drop_response, reset, delay_ms, answer, quota_per_minute. Of a subscription's messages: duplicate,
reorder_ms, expire_lease, redeliver_late_ms. Of Vertex AI's jobs: list_lag_ms, pause_ms,
end_as (succeeded, failed, cancelled, partially_succeeded, expired).")]
pub(crate) struct Args {
    /// Directory that keeps everything across restarts; in memory without it
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Google Cloud project in which topics and subscriptions are made
    #[arg(long, value_name = "PROJECT", default_value = installation::PROJECT)]
    project: String,
    /// Port of Pub/Sub; 0 takes a free one, here and below
    #[arg(long, value_name = "PORT", default_value_t = 8085)]
    pubsub_port: u16,
    /// Port of Cloud Storage
    #[arg(long, value_name = "PORT", default_value_t = 4443)]
    storage_port: u16,
    /// Port of Vertex AI
    #[arg(long, value_name = "PORT", default_value_t = 8086)]
    vertex_port: u16,
    /// Port of GitLab
    #[arg(long, value_name = "PORT", default_value_t = 8087)]
    gitlab_port: u16,
    /// Port of Google's identity side: IAM, STS, Resource Manager, the metadata server
    #[arg(long, value_name = "PORT", default_value_t = 8084)]
    iam_port: u16,
    /// Port of Cloud Logging
    #[arg(long, value_name = "PORT", default_value_t = 8083)]
    logging_port: u16,
    /// What goes wrong, YAML
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Adds a line of JSON for every request to this file
    #[arg(long, value_name = "FILE")]
    wire_log: Option<PathBuf>,
}

/// Serves until a signal.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let stop = stop_on_signal().context("listening for signals")?;
    let stack = Stack::start(Options {
        data_dir: args.data_dir.clone(),
        pubsub_port: args.pubsub_port,
        storage_port: args.storage_port,
        vertex_port: args.vertex_port,
        gitlab_port: args.gitlab_port,
        iam_port: args.iam_port,
        logging_port: args.logging_port,
        faults: args.faults.as_deref().map(load).transpose()?.unwrap_or_default(),
        wire_log: args.wire_log.clone(),
        ..Options::default()
    })
    .await
    .context("starting the stack")?;
    installation::create(&stack, &args.project)?;
    eprintln!("# training commands run as processes of this machine and user");
    let mut out = std::io::stdout().lock();
    for (name, value) in stack.exports() {
        writeln!(out, "export {name}={value}").context("writing to stdout")?;
    }
    out.flush().context("writing to stdout")?;
    drop(out);
    eprintln!("# serving until Ctrl-C");
    stop.cancelled().await;
    stack.shutdown().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    #[test]
    fn the_examples_listen_beside_the_stack_and_ask_for_it_where_it_is() {
        let command = Args::augment_args(clap::Command::new("local"));
        let args = Args::from_arg_matches(&command.get_matches_from(["local"])).unwrap();
        let stack = [
            ("pubsub_endpoint", args.pubsub_port),
            ("storage_endpoint", args.storage_port),
            ("vertex_endpoint", args.vertex_port),
            ("gitlab", args.gitlab_port),
            ("- issuer", args.gitlab_port),
            ("iam_endpoint", args.iam_port),
            ("logging_endpoint", args.logging_port),
        ];
        let examples = [
            include_str!("../../../../examples/local/worker.yaml"),
            include_str!("../../../../examples/local/notifier.yaml"),
        ];
        let mut listening = Vec::new();
        for line in examples.iter().flat_map(|it| it.lines()) {
            let Some((key, port)) = line.split_once(": ").zip(line.rsplit_once(':')) else {
                continue;
            };
            let (key, Ok(port)) = (key.0.trim(), port.1.parse::<u16>()) else { continue };
            if key == "listen" {
                assert!(stack.iter().all(|(_, it)| *it != port), "{line}: the stack is there");
                assert!(!listening.contains(&port), "{line}: another role is there");
                listening.push(port);
            } else {
                let known = stack.iter().find(|(name, _)| *name == key);
                assert_eq!(known.map(|(_, it)| *it), Some(port), "{line}");
            }
        }
        assert_eq!(listening.len(), examples.len());
    }
}
