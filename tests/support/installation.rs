//! A whole installation as processes: `branchline local` on a directory that is
//! kept, its roles, and a repository whose training tells how far it came.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use branchline_contract::RunId;
use branchline_gcp::{Config as Google, Credentials};
use branchline_ledger::Entry;
use branchline_local::faults::Faults;
use branchline_local::gitlab::{CiJob, GitLab, Signer, Trigger};
use branchline_local::installation::{self, PROJECT, topic};
use branchline_local::stack::{Options, Stack};
use rustix::process::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::identity::ANYBODY;
use crate::processes::{Role, executable, free_ports, is_gone};

/// Region of the repository's run.
pub const REGION: &str = "europe-west4";
/// Name of the repository's run.
pub const RUN: &str = "nap";
const TARGET: &str = "main";
const BRANCH: &str = "try";
const PUBLISHED_WITHIN: Duration = Duration::from_secs(20);

/// Says on one line each that it began, is halfway and ended, with its process id.
/// By the trap the shell sees its own `sleep` off: what init inherits may stay
/// among the processes for seconds after its death.
const TRAIN: &str = r#"#!/bin/sh
# train.sh OUTPUT PROGRESS: takes about 1.5 s and learns nothing.
set -eu
trap 'exit 143' TERM
output=$CLOUD_STORAGE_MOUNT/${1#gs://}
echo "began $$" >> "$2"
sleep 0.5
echo "halfway $$" >> "$2"
sleep 1
mkdir -p "$output"
echo '{"naps": 1}' > "$output/metrics.json"
echo "ended $$" >> "$2"
"#;

const CI: &str =
    "train: {id_tokens: {BRANCHLINE_ID_TOKEN: {aud: branchline}}, script: [branchline publish]}";

/// One installation. Its processes are the caller's, and its directory goes with it.
pub struct Installation {
    directory: TempDir,
    ports: [u16; 4],
    grace: Duration,
    /// What the roles log.
    pub log: &'static str,
    /// The trace that the CI job is part of.
    pub trace: Option<&'static str>,
    /// What roles are started from.
    pub executable: PathBuf,
    job: CiJob,
    signer: Signer,
    project_id: u64,
    merge_request: u64,
    started: AtomicU32,
}

impl Installation {
    /// Chooses ports and writes configurations and the repository; starts nothing.
    /// The roles have `grace` to stop.
    pub fn new(grace: Duration) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let ports = free_ports();
        let gitlab = GitLab::open(Some(&directory.path().join("data/gitlab")))?;
        gitlab.set_external_url(&address(ports[3]));
        let config = config(&directory.path().join("progress"));
        let files = [
            ("branchline.yaml", config.as_bytes()),
            (".gitlab-ci.yml", CI.as_bytes()),
            ("train.sh", TRAIN.as_bytes()),
        ];
        let project_id = gitlab.create_project("team/naps", TARGET, &files)?;
        gitlab.commit(project_id, BRANCH, "Try", &[("try", b"try")])?;
        let merge_request = gitlab.open_merge_request(project_id, BRANCH, TARGET, "Try")?;
        let job =
            gitlab.start_pipeline(project_id, Trigger::MergeRequest(merge_request), "train")?;
        gitlab.checkout(project_id, &job.sha, &directory.path().join("checkout"))?;
        fs::write(directory.path().join("policy.yaml"), ANYBODY)?;
        let (signer, started) = (gitlab.signer()?, AtomicU32::new(0));
        Ok(Self {
            directory,
            ports,
            grace,
            log: "info",
            trace: None,
            executable: executable(),
            job,
            signer,
            project_id,
            merge_request,
            started,
        })
    }

    /// Starts the stack, and returns it with the token of the notifier.
    pub async fn stack(&self) -> Result<(Role, String)> {
        let data = self.path("data");
        let ports = self.ports.map(|it| it.to_string());
        let names = ["--pubsub-port", "--storage-port", "--vertex-port", "--gitlab-port"];
        let (wire_log, faults) = (self.path("wire.jsonl"), self.faults());
        let mut args = vec!["local", "--data-dir", data.to_str().context("a path in UTF-8")?];
        args.extend(["--wire-log", wire_log.to_str().context("a path in UTF-8")?]);
        if faults.is_file() {
            args.extend(["--faults", faults.to_str().context("a path in UTF-8")?]);
        }
        args.extend(names.iter().zip(&ports).flat_map(|(name, port)| [*name, port]));
        args.extend(["--iam-port", "0", "--logging-port", "0"]);
        let mut stack = Role::start("stack", &args, &[], &self.log("stack"))?;
        let token = stack.says("export BRANCHLINE_GITLAB_TOKEN=").await?;
        Ok((stack, token))
    }

    /// Starts the stack within this process.
    pub async fn embedded(&self, faults: Faults) -> Result<Stack> {
        let [pubsub_port, storage_port, vertex_port, gitlab_port] = self.ports;
        let options = Options {
            data_dir: Some(self.path("data")),
            pubsub_port,
            storage_port,
            vertex_port,
            gitlab_port,
            faults,
            wire_log: Some(self.path("wire.jsonl")),
            ..Options::default()
        };
        let stack = Stack::start(options).await?;
        installation::create(&stack, PROJECT)?;
        Ok(stack)
    }

    /// What goes wrong on the wire, where a test says so before the stack starts.
    pub fn faults(&self) -> PathBuf {
        self.path("faults.yaml")
    }

    /// Where the roles and a test talk of crash points.
    pub fn failpoints(&self) -> PathBuf {
        self.path("failpoints")
    }

    /// Starts a worker, and returns a connection to its health port too.
    pub async fn worker(&self) -> Result<(Role, TcpStream)> {
        self.worker_with(60_000).await
    }

    /// The same with a first guess at Vertex AI's quota.
    pub async fn worker_with(&self, creates_per_minute: u32) -> Result<(Role, TcpStream)> {
        let config = installation::worker(json!({
            "staging": {"bucket": installation::STAGING},
            "identity": {"issuers": [{"issuer": self.gitlab()}]},
            "policy": self.path("policy.yaml"),
            "tick": "100ms",
            "lease": "3s",
            "create_max": "1s",
            "settle": "1s",
            "creates_per_minute": creates_per_minute,
        }));
        self.role("worker", config, Vec::new()).await
    }

    /// Starts a notifier with its token, and returns a connection to its health port too.
    pub async fn notifier(&self, token: String) -> Result<(Role, TcpStream)> {
        let config = installation::notifier(json!({"gitlab": self.gitlab()}));
        let token = ("BRANCHLINE_GITLAB_TOKEN".to_owned(), token);
        self.role("notifier", config, vec![token]).await
    }

    async fn role(
        &self,
        name: &str,
        mut config: Value,
        mut environment: Vec<(String, String)>,
    ) -> Result<(Role, TcpStream)> {
        environment.push(("RUST_LOG".to_owned(), self.log.to_owned()));
        let failpoints = self.failpoints();
        if failpoints.is_dir() {
            let failpoints = failpoints.to_str().context("a path in UTF-8")?.to_owned();
            environment.push(("BRANCHLINE_FAILPOINTS".to_owned(), failpoints));
        }
        let [port] = free_ports();
        let mut google = json!({"credentials": "anonymous"});
        let vertex = (name == "worker").then_some(("vertex_endpoint", 2));
        for (key, at) in [("pubsub_endpoint", 0), ("storage_endpoint", 1)].into_iter().chain(vertex)
        {
            google[key] = Value::from(address(self.ports[at]));
        }
        config["consume"] = json!({"grace": format!("{}ms", self.grace.as_millis())});
        config["listen"] = json!(format!("127.0.0.1:{port}"));
        config["google"] = google;
        let file = self.path(&format!("{name}-{port}.yaml"));
        fs::write(&file, config.to_string())?;
        let file = file.to_str().context("a path in UTF-8")?;
        let log = self.log(name);
        let args = [name, "--config", file];
        let mut role = Role::start_from(&self.executable, name, &args, &environment, &log)?;
        let idle = role.listens(port).await?;
        Ok((role, idle))
    }

    /// Runs `branchline publish` as the repository's CI job, and returns the id of its run.
    pub async fn publish(&self) -> Result<RunId> {
        let done = self.publish_output().await?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "publish ended with {}: {said}", done.status);
        Ok(RunId::parse(String::from_utf8(done.stdout)?.trim())?)
    }

    /// The same, and returns how it ended and what it said.
    pub async fn publish_output(&self) -> Result<Output> {
        let publish = Command::new(executable())
            .args(["publish", RUN])
            .current_dir(self.path("checkout"))
            .env_clear()
            .envs(&self.job.variables)
            .envs(self.trace.map(|it| ("TRACEPARENT", it)))
            .env("BRANCHLINE_CREDENTIALS", "anonymous")
            .env("BRANCHLINE_PUBSUB_ENDPOINT", address(self.ports[0]))
            .env("BRANCHLINE_STORAGE_ENDPOINT", address(self.ports[1]))
            .kill_on_drop(true)
            .output();
        Ok(tokio::time::timeout(PUBLISHED_WITHIN, publish).await.context("publishing")??)
    }

    /// The kinds of the facts on record, in order, read beneath the stack: it may be down.
    pub fn facts(&self) -> Result<Vec<&'static str>> {
        let objects = self.objects(installation::LEDGER)?;
        objects.values().map(|it| Ok(Entry::decode(it)?.fact.body.kind())).collect()
    }

    /// The process id of the worker that holds the lease.
    pub fn leader(&self) -> Result<Option<i32>> {
        let objects = self.objects(installation::QUEUE)?;
        let lease = objects.get("lease").and_then(|it| str::from_utf8(it).ok());
        Ok(lease.and_then(|it| it.split_once('-')?.0.parse().ok()))
    }

    /// The live objects of a bucket by name, as the stack keeps them.
    pub fn objects(&self, bucket: &str) -> Result<BTreeMap<String, Vec<u8>>> {
        let bucket = self.path("data/storage/buckets").join(bucket);
        let mut objects = BTreeMap::new();
        let Ok(records) = fs::read_dir(bucket.join("objects")) else { return Ok(objects) };
        for record in records {
            // What is replaced or removed meanwhile is there again, or not, at the next look.
            let Ok(record) = fs::read(record?.path()) else { continue };
            let record: Value = serde_json::from_slice(&record)?;
            let content = bucket.join("content").join(record["generation"].to_string());
            if let (Some(name), Ok(content)) = (record["name"].as_str(), fs::read(content)) {
                objects.insert(name.to_owned(), content);
            }
        }
        Ok(objects)
    }

    /// What the training processes have said, with their ids.
    pub fn progress(&self) -> Result<Vec<(String, Pid)>> {
        let said = fs::read_to_string(self.path("progress")).unwrap_or_default();
        let lines = said.split_inclusive('\n').filter_map(|it| it.strip_suffix('\n'));
        lines
            .map(|line| {
                let (step, id) = line.split_once(' ').context("a step and an id")?;
                Ok((step.to_owned(), Pid::from_raw(id.parse()?).context("a process id")?))
            })
            .collect()
    }

    /// Whether no training process is left, nor anything that one has started.
    pub fn trains_nothing(&self) -> Result<bool> {
        Ok(self.progress()?.into_iter().all(|(_, id)| is_gone(id)))
    }

    /// Where our own clients find the stack.
    pub fn google(&self) -> Google {
        Google {
            credentials: Credentials::Anonymous,
            pubsub_endpoint: Some(address(self.ports[0])),
            storage_endpoint: Some(address(self.ports[1])),
            vertex_endpoint: Some(address(self.ports[2])),
            ..Google::default()
        }
    }

    /// Vertex AI.
    pub fn vertex(&self) -> String {
        address(self.ports[2])
    }

    /// Address of GitLab.
    pub fn gitlab(&self) -> String {
        address(self.ports[3])
    }

    /// The CI job that asks for runs.
    pub const fn job(&self) -> &CiJob {
        &self.job
    }

    /// What signs the tokens of other CI jobs.
    pub const fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Number of the merge request of its branch.
    pub const fn merge_request(&self) -> u64 {
        self.merge_request
    }

    /// Id of the GitLab project.
    pub const fn project_id(&self) -> u64 {
        self.project_id
    }

    /// The ends of all logs, for whoever has to find out why.
    pub fn logs(&self) -> String {
        let mut logs = String::new();
        let entries = fs::read_dir(self.directory.path()).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|it| it.path()).collect();
        paths.retain(|it| it.extension().is_some_and(|it| it == "log"));
        paths.sort();
        for path in paths {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            let end = lines[lines.len().saturating_sub(20)..].join("\n");
            writeln!(logs, "--- {}\n{end}", path.display()).expect("a text takes everything");
        }
        logs
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self, name: &str) -> PathBuf {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        self.path(&format!("{number}-{name}.log"))
    }
}

fn address(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// `branchline.yaml` of the repository.
fn config(progress: &Path) -> String {
    let custom_job = json!({
        "displayName": RUN,
        "jobSpec": {"workerPoolSpecs": [{
            "machineSpec": {"machineType": "n1-standard-4"},
            "replicaCount": 1,
            "containerSpec": {
                "imageUri": "docker.io/library/debian:12-slim",
                "command": ["sh", "{{ artifacts.code.path }}"],
                "args": ["{{ output }}", progress],
            },
        }]},
    });
    json!({
        "project": PROJECT,
        "region": REGION,
        "bucket": installation::ARTIFACTS,
        "topic": topic(PROJECT, "artifact-ready"),
        "runs": {RUN: {
            "artifacts": {"code": {"path": "train.sh"}},
            "training": {"custom_job": custom_job},
        }},
    })
    .to_string()
}
