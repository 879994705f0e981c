//! Containers by podman, with as little as a pod of ours has in Kubernetes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// User and group of both images.
pub(crate) const USER: u32 = 65532;
const READY_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The network is the one that this process was started in.
const CONFINED: [&str; 8] = [
    "--network=host",
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=256m",
    "--pids-limit=64",
    "--pull=never",
];

/// A running worker or notifier. Dropping it removes the container.
pub(crate) struct Role {
    name: String,
}

impl Role {
    /// Starts a role with the configuration for this port, and tells how long it took until it was ready.
    pub(crate) async fn start(
        image: &str,
        role: &str,
        config: &Path,
        port: u16,
    ) -> Result<(Self, Duration)> {
        let name = format!("branchline-{}-{port}", std::process::id());
        let started = Instant::now();
        let mut command = podman();
        command
            .args(["run", "--detach", "--name", &name])
            .args(CONFINED)
            .args(["--env", "BRANCHLINE_GITLAB_TOKEN_FILE=/etc/branchline/gitlab-token"])
            .arg(format!("--volume={}:/etc/branchline:ro", config.display()))
            .args([image, role, "--config", &format!("/etc/branchline/{port}.yaml")]);
        run(&mut command).await?;
        let this = Self { name };
        let url = format!("http://127.0.0.1:{port}/readyz");
        loop {
            if reqwest::get(&url).await.is_ok_and(|it| it.status() == 200) {
                return Ok((this, started.elapsed()));
            }
            if started.elapsed() > READY_WITHIN {
                let log = podman().args(["logs", &this.name]).stderr(Stdio::inherit()).status();
                log.await?;
                anyhow::bail!("the {role} is not ready after {READY_WITHIN:?}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Looks at the process from outside: what it may do is what Linux says, and not what podman was asked for.
    pub(crate) async fn is_confined(&self) -> Result<()> {
        let process = self.process().await?;
        let status = fs::read_to_string(process.join("status"))?;
        let expected = [
            ("Uid", [USER.to_string().as_str(); 4].join("\t")),
            ("Gid", [USER.to_string().as_str(); 4].join("\t")),
            ("CapBnd", "0".repeat(16)),
            ("CapEff", "0".repeat(16)),
            ("NoNewPrivs", "1".to_owned()),
            ("Seccomp", "2".to_owned()),
        ];
        for (key, expected) in expected {
            let actual = field(&status, key)?;
            ensure!(actual == expected, "{key} of {} is {actual}", self.name);
        }
        let mounts = fs::read_to_string(process.join("mounts"))?;
        let root = mounts.lines().find(|it| it.split(' ').nth(1) == Some("/"));
        let options = root.and_then(|it| it.split(' ').nth(3)).context("there is a root")?;
        ensure!(options.split(',').any(|it| it == "ro"), "the root is mounted with {options}");
        let devices = fs::read_to_string(process.join("net/dev"))?;
        let devices = devices.lines().filter_map(|it| Some(it.split_once(':')?.0.trim()));
        let devices: Vec<_> = devices.collect();
        ensure!(devices == ["lo"], "{} has the network devices {devices:?}", self.name);
        Ok(())
    }

    /// Memory that is resident, now and at its most.
    pub(crate) async fn memory(&self) -> Result<String> {
        let status = fs::read_to_string(self.process().await?.join("status"))?;
        Ok(format!("{} resident, {} at most", field(&status, "VmRSS")?, field(&status, "VmHWM")?))
    }

    /// Sends SIGTERM, expects exit code 0, and tells how long it took.
    pub(crate) async fn stop(self, grace: Duration) -> Result<Duration> {
        let started = Instant::now();
        let grace = grace.as_secs().to_string();
        run(podman().args(["stop", "--time", &grace, &self.name])).await?;
        let took = started.elapsed();
        let code = self.inspect("{{.State.ExitCode}}").await?;
        ensure!(code == "0", "{} ended with exit code {code}", self.name);
        Ok(took)
    }

    async fn process(&self) -> Result<PathBuf> {
        Ok(Path::new("/proc").join(self.inspect("{{.State.Pid}}").await?))
    }

    async fn inspect(&self, format: &str) -> Result<String> {
        run(podman().args(["inspect", "--format", format, &self.name])).await
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let mut remove = std::process::Command::new("podman");
        remove.args(["rm", "--force", "--time", "0", &self.name]).stdout(Stdio::null());
        remove.status().ok();
    }
}

/// Runs a script as GitLab's runner does: a shell in the image that reads it from its input.
pub(crate) async fn ci_job(
    image: String,
    checkout: PathBuf,
    script: String,
    environment: BTreeMap<String, String>,
) -> Result<()> {
    let mut job = podman();
    job.args(["run", "--rm", "--interactive"]).args(CONFINED).arg("--tmpfs=/tmp:mode=1777");
    job.arg(format!("--volume={}:/builds", checkout.display())).arg("--workdir=/builds");
    // Named only: a token is no argument of a process.
    job.args(environment.keys().flat_map(|name| ["--env", name.as_str()])).envs(&environment);
    let mut job = job.args([&image, "sh"]).stdin(Stdio::piped()).spawn()?;
    let mut input = job.stdin.take().context("it is piped")?;
    input.write_all(format!("set -eo pipefail\n{script}\n").as_bytes()).await?;
    drop(input);
    let status = job.wait().await?;
    ensure!(status.success(), "the CI job ended with {status}");
    Ok(())
}

fn podman() -> Command {
    let mut podman = Command::new("podman");
    podman.kill_on_drop(true);
    podman
}

/// What a command prints that has to succeed.
async fn run(command: &mut Command) -> Result<String> {
    let output = command.output().await.context("running podman")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "podman ended with {}: {complaint}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A line of `/proc/PID/status`.
fn field<'a>(status: &'a str, key: &str) -> Result<&'a str> {
    let value = status.lines().find_map(|it| it.strip_prefix(key)?.strip_prefix(":\t"));
    Ok(value.with_context(|| format!("there is no {key}"))?.trim())
}
