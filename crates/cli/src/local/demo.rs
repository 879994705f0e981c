//! `branchline demo`: the whole way of one commit, on this machine, in one process.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use branchline_contract::{CommitSha, Outcome, RunId};
use branchline_gcp::Config;
use branchline_gcp::storage::Storage;
use branchline_gcp::vertex::Vertex;
use branchline_gitlab::{Client, CommitStatus, StatusState};
use branchline_ledger::{History, Store};
use branchline_local::gitlab::{CiJob, GitLab, JobEnd, Trigger};
use branchline_local::installation::{self, PROJECT};
use branchline_local::stack::{Endpoints, Options, Stack};
use branchline_service::health;
use branchline_service::telemetry::{self, Format};
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{keyless, timeline};
use crate::runs::model::Model;

const GROUP: &str = "demo";
const PROJECT_PATH: &str = "demo/iris";
const BRANCH: &str = "more-epochs";
/// The notifier is a few events behind the ledger at most.
const REPORTED_WITHIN: Duration = Duration::from_secs(30);
const RUN_WITHIN: Duration = Duration::from_mins(5);

/// Show one commit's whole way to a trained model, on this machine
///
/// Starts the local stack, a worker and a notifier in one process, opens a merge request with
/// the example project in the local GitLab, runs `branchline publish` as its CI job would, and
/// shows the run step by step: the ledger, Vertex AI, the commit status, the merge request note
/// and the model.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  branchline demo --output /tmp/model")]
pub(crate) struct Args {
    /// The example project
    #[arg(long, value_name = "DIR", default_value = "examples/iris")]
    example: PathBuf,
    /// The policy by which the worker decides
    #[arg(long, value_name = "FILE", default_value = "examples/local/policy.yaml")]
    policy: PathBuf,
    /// Run of its branchline.yaml to ask for
    #[arg(long, value_name = "NAME", default_value = "iris")]
    run: String,
    /// Directory that the trained model is copied to
    #[arg(long, value_name = "DIR", default_value = "target/demo")]
    output: PathBuf,
    /// What the roles log on stderr, such as info
    #[arg(long, value_name = "FILTER", default_value = "error")]
    log: String,
}

/// A merge request and the CI job that runs for it.
struct MergeRequest {
    project_id: u64,
    iid: u64,
    job: CiJob,
}

/// Runs the demo; an error when anything is not as it should be.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    telemetry::init(Format::Auto, &args.log)?;
    println!("stack  │ Pub/Sub, Cloud Storage, Vertex AI and GitLab on loopback;");
    println!("       │ training commands run as processes of this machine and user");
    let stack = Stack::start(Options::default()).await?;
    let stop = CancellationToken::new();
    installation::create(&stack, PROJECT)?;
    keyless::grant(&stack, GROUP)?;
    println!("iam    │ enforced: each role has an account with the roles of deploy/, and no key");
    let roles = start_roles(&stack, &args.policy, &stop).await?;

    let shown = show(args, &stack).await;
    stop.cancel();
    for role in roles {
        role.await.context("a role panicked")??;
    }
    stack.shutdown().await;
    shown
}

/// Where the clients of an account find the stack.
async fn google(stack: &Stack, account: &str) -> anyhow::Result<serde_json::Value> {
    let Endpoints { pubsub, storage, vertex, .. } = stack.endpoints();
    Ok(json!({
        "metadata_endpoint": keyless::metadata_endpoint(stack, account).await?,
        "pubsub_endpoint": format!("http://{pubsub}"),
        "storage_endpoint": format!("http://{storage}"),
        "vertex_endpoint": format!("http://{vertex}"),
    }))
}

/// The worker and the notifier, configured as their files would.
async fn start_roles(
    stack: &Stack,
    policy: &Path,
    stop: &CancellationToken,
) -> anyhow::Result<[JoinHandle<anyhow::Result<()>>; 2]> {
    let gitlab = stack.endpoints().gitlab;
    let worker = installation::worker(json!({
        "identity": {"issuers": [{"issuer": format!("http://{gitlab}")}]},
        "policy": policy,
        "tick": "200ms",
        "settle": "5s",
        "listen": "127.0.0.1:0",
        "google": google(stack, "worker").await?,
    }));
    let worker: branchline_worker::Config =
        serde_json::from_value(worker).context("configuring the worker")?;
    let notifier = installation::notifier(json!({
        "gitlab": format!("http://{gitlab}"),
        "listen": "127.0.0.1:0",
        "google": google(stack, "notifier").await?,
    }));
    let notifier: branchline_notifier::Config =
        serde_json::from_value(notifier).context("configuring the notifier")?;
    let (worker_listens, notifier_listens) =
        (health::listen(worker.listen).await?, health::listen(notifier.listen).await?);
    let token = SecretString::from(stack.gitlab.token());
    let (worker_stop, notifier_stop) = (stop.clone(), stop.clone());
    Ok([
        tokio::spawn(async move {
            Ok(branchline_worker::run(worker, None, worker_listens, worker_stop).await?)
        }),
        tokio::spawn(async move {
            Ok(branchline_notifier::run(notifier, token, notifier_listens, notifier_stop).await?)
        }),
    ])
}

async fn show(args: &Args, stack: &Stack) -> anyhow::Result<()> {
    let checkout = tempfile::tempdir().context("making a directory for the checkout")?;
    let merge_request = open_merge_request(args, stack)?;
    stack
        .gitlab
        .checkout(merge_request.project_id, &merge_request.job.sha, checkout.path())
        .context("checking the commit out")?;

    keyless::let_in(stack, merge_request.project_id)?;
    let google: Config = serde_json::from_value(google(stack, "viewer").await?)?;
    let storage = Storage::connect(&google).await?;
    let store =
        Store::new(Arc::new(storage.clone()), installation::LEDGER.to_owned(), Timestamp::now);
    let vertex = Vertex::connect(&google).await?;
    let ci = CiScript::start(&args.run, stack, &merge_request.job, checkout.path())?;
    let (run, script) = ci.run_id().await?;
    let followed = timeline::follow(&store, &vertex, merge_request.project_id, &run);
    let history = tokio::time::timeout(RUN_WITHIN, followed)
        .await
        .context("waiting for the run to end")??;
    let status = script.await.context("the CI job's output was lost")??;
    let end = if status.success() { JobEnd::Success } else { JobEnd::Failed };
    stack.gitlab.finish_job(merge_request.job.id, end, "")?;

    logs(stack, merge_request.project_id, &run).await?;
    report(stack, &merge_request, &args.run).await?;
    ensure!(status.success(), "the CI job ended with {status}");
    let outcome = history.run.ending().map(|it| it.outcome);
    ensure!(outcome == Some(Outcome::Succeeded), "the run ended as {outcome:?}");
    save_model(&storage, &history, &args.output).await
}

/// Commits the example to a new project, and to a branch a change that is worth a training.
fn open_merge_request(args: &Args, stack: &Stack) -> anyhow::Result<MergeRequest> {
    let files = read_files(&args.example)?;
    let borrowed: Vec<(&str, &[u8])> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let gitlab = &stack.gitlab;
    let project_id = gitlab.create_project(PROJECT_PATH, "main", &borrowed)?;
    let config = files.get("branchline.yaml").context("the example has no branchline.yaml")?;
    let config = String::from_utf8_lossy(config).replace(r#"epochs: "300""#, r#"epochs: "400""#);
    let message = "Train for 400 epochs";
    gitlab.commit(project_id, BRANCH, message, &[("branchline.yaml", config.as_bytes())])?;
    let iid = gitlab.open_merge_request(project_id, BRANCH, "main", message)?;
    let job = gitlab.start_pipeline(project_id, Trigger::MergeRequest(iid), "train")?;
    println!(
        "gitlab │ {PROJECT_PATH}!{iid} “{message}”, commit {}, CI job {}",
        &job.sha[..8],
        job.id
    );
    Ok(MergeRequest { project_id, iid, job })
}

fn read_files(root: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.context("reading the example project; run this from the repository")?;
        if entry.file_type().is_file() {
            let relative = entry.path().strip_prefix(root).expect("it was found below");
            let bytes = std::fs::read(entry.path())
                .with_context(|| format!("reading {}", entry.path().display()))?;
            files.insert(relative.to_string_lossy().into_owned(), bytes);
        }
    }
    Ok(files)
}

/// `branchline publish` as a process of its own, in the environment of a CI job.
struct CiScript {
    child: tokio::process::Child,
    run_id: tokio::sync::oneshot::Receiver<String>,
    output: [JoinHandle<anyhow::Result<()>>; 2],
}

/// The CI job's log in GitLab, shown here as it grows.
#[derive(Clone)]
struct Log {
    gitlab: GitLab,
    job: u64,
}

impl Log {
    fn line(&self, line: &str) -> anyhow::Result<()> {
        println!("ci     │ {line}");
        self.gitlab.print(self.job, line).context("adding to the CI job's log")
    }
}

impl CiScript {
    fn start(run: &str, stack: &Stack, job: &CiJob, checkout: &Path) -> anyhow::Result<Self> {
        let token =
            job.variables.get("GOOGLE_ID_TOKEN").context("the job asks for no such token")?;
        keyless::write_credentials(stack, token, checkout)?;
        let log = Log { gitlab: stack.gitlab.clone(), job: job.id };
        log.line("$ printf %s \"$GOOGLE_ID_TOKEN\" >google-token")?;
        log.line(&format!("$ branchline publish {run} --wait"))?;
        let executable = std::env::current_exe().context("finding this executable")?;
        let ours = |name: &str| name.starts_with("BRANCHLINE_") && name.ends_with("_ENDPOINT");
        let exports = stack.exports().into_iter().filter(|(name, _)| ours(name));
        let mut child = Command::new(executable)
            .args(["publish", run, "--wait", "--timeout", "5m"])
            .current_dir(checkout)
            .env_clear()
            .envs(&job.variables)
            // Where things are, and how its token becomes an account: a job has nothing else.
            .envs(exports)
            .env("GOOGLE_APPLICATION_CREDENTIALS", "google.json")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting the CI job")?;
        let (tell, run_id) = tokio::sync::oneshot::channel();
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        let mut tell = Some(tell);
        let output = [
            tokio::spawn(copy(stdout, log.clone(), move |line| {
                // The first line that publish prints is the run's id, for scripts.
                if let Some(tell) = tell.take() {
                    tell.send(line.to_owned()).ok();
                }
            })),
            tokio::spawn(copy(stderr, log, |_| {})),
        ];
        Ok(Self { child, run_id, output })
    }

    /// The id of the run that the job asked for, and how the job will end.
    async fn run_id(self) -> anyhow::Result<(RunId, JoinHandle<anyhow::Result<ExitStatus>>)> {
        let Self { mut child, run_id, output } = self;
        let script = tokio::spawn(async move {
            for copied in output {
                copied.await.context("reading the CI job's output")??;
            }
            Ok(child.wait().await?)
        });
        match run_id.await {
            Ok(id) => Ok((RunId::parse(id)?, script)),
            Err(_) => bail!("the CI job ended with {} and asked for nothing", script.await??),
        }
    }
}

async fn copy(
    from: impl tokio::io::AsyncRead + Unpin,
    log: Log,
    mut each: impl FnMut(&str),
) -> anyhow::Result<()> {
    let mut lines = BufReader::new(from).lines();
    while let Some(line) = lines.next_line().await? {
        log.line(&line)?;
        each(&line);
    }
    Ok(())
}

/// Shows the run once more, as an operator sees it: all sources in one order.
async fn logs(stack: &Stack, project_id: u64, run: &RunId) -> anyhow::Result<()> {
    println!("logs   │ $ branchline runs logs {run}");
    let metadata = keyless::metadata_endpoint(stack, "viewer").await?;
    let executable = std::env::current_exe().context("finding this executable")?;
    let ours = |name: &str| name.starts_with("BRANCHLINE_") && name != "BRANCHLINE_CREDENTIALS";
    let output = Command::new(executable)
        .args(["runs", "logs", run.as_str(), "--project-id", &project_id.to_string()])
        .env_clear()
        .envs(stack.exports().into_iter().filter(|(name, _)| ours(name)))
        .env("BRANCHLINE_LEDGER_BUCKET", installation::LEDGER)
        .env("GCE_METADATA_HOST", metadata.trim_start_matches("http://"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("showing the run's log")?;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        println!("logs   │{line}");
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && complaint.is_empty(), "runs logs says {complaint}");
    Ok(())
}

/// Shows what a developer sees in GitLab, once it is what it should be.
async fn report(stack: &Stack, of: &MergeRequest, run: &str) -> anyhow::Result<()> {
    let address = format!("http://{}", stack.endpoints().gitlab);
    let client = Client::new(&address, SecretString::from(stack.gitlab.token()))?;
    let sha = CommitSha::parse(of.job.sha.clone())?;
    let name = format!("branchline/{run}");
    let status = tokio::time::timeout(REPORTED_WITHIN, ended_status(&client, of, &sha, &name))
        .await
        .context("waiting for the commit status")??;
    println!("gitlab │ commit status {name}: {}", status.status.as_str());
    let notes = notes(&client, of).await?;
    println!("gitlab │ {} note on the merge request:", notes.len());
    for line in notes.iter().flat_map(|it| it.lines()) {
        println!("       │   {line}");
    }
    ensure!(notes.len() == 1, "{} notes instead of one", notes.len());
    ensure!(
        status.status == StatusState::Success,
        "the commit status is {}",
        status.status.as_str()
    );
    Ok(())
}

async fn ended_status(
    client: &Client,
    of: &MergeRequest,
    sha: &CommitSha,
    name: &str,
) -> anyhow::Result<CommitStatus> {
    loop {
        let statuses = client.commit_statuses(of.project_id, sha, name).await?;
        let ended = statuses.into_iter().find(|it| it.status.is_terminal());
        if let Some(status) = ended {
            return Ok(status);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn notes(client: &Client, of: &MergeRequest) -> anyhow::Result<Vec<String>> {
    let bodies = RefCell::new(Vec::new());
    let collect = |note: &branchline_gitlab::Note| {
        bodies.borrow_mut().push(note.body.clone());
        false
    };
    client.find_note(of.project_id, of.iid, collect).await?;
    Ok(bodies.into_inner())
}

/// Copies the trained model here, where it can be looked at, as `branchline fetch` does.
async fn save_model(storage: &Storage, history: &History, output: &Path) -> anyhow::Result<()> {
    let ending = history.run.ending().expect("it succeeded");
    let model = Model::of(history)?;
    std::fs::create_dir_all(output)
        .with_context(|| format!("writing the model to {}", output.display()))?;
    model.download(storage, output).await?;
    let uri = ending.model_uri.as_deref().unwrap_or_default();
    println!("model  │ {uri}, verified and copied to {}", output.display());
    let accuracy = ending.metrics.get("accuracy").context("the run reported no accuracy")?;
    println!("model  │ accuracy on the held-out rows: {accuracy}");
    Ok(())
}
