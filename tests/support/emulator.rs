//! Google's own Pub/Sub emulator, where the gcloud SDK has it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

const START_MAX: Duration = Duration::from_secs(30);

/// A running emulator; dropping it ends its process group.
#[derive(Debug)]
pub struct Emulator {
    process: Child,
    address: SocketAddr,
}

impl Emulator {
    /// Starts the emulator by the script that [`installed`] found.
    pub async fn start(script: &Path) -> Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let process = Command::new(script)
            .arg(format!("--host={}", address.ip()))
            .arg(format!("--port={}", address.port()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("starting the emulator")?;
        let mut emulator = Self { process, address };
        emulator.wait_until_it_listens().await?;
        Ok(emulator)
    }

    /// Where it speaks gRPC, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn wait_until_it_listens(&mut self) -> Result<()> {
        let started = Instant::now();
        while tokio::net::TcpStream::connect(self.address).await.is_err() {
            if let Some(status) = self.process.try_wait()? {
                bail!("the emulator ended with {status}");
            }
            if started.elapsed() > START_MAX {
                bail!("the emulator did not listen within {START_MAX:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let group = format!("-{}", self.process.id());
        let ended = Command::new("kill").args(["-KILL", "--", &group]).status();
        if !ended.is_ok_and(|it| it.success()) {
            eprintln!("could not end the emulator's process group {group}");
        }
        drop(self.process.wait());
    }
}

/// The emulator's start script, or what this machine lacks: gcloud, the emulator, java.
pub fn installed() -> Result<PathBuf> {
    let asked =
        Command::new("gcloud").args(["info", "--format=value(installation.sdk_root)"]).output();
    let root = asked.context("gcloud is not installed")?.stdout;
    let root = String::from_utf8(root)?;
    let script =
        PathBuf::from(root.trim()).join("platform/pubsub-emulator/bin/cloud-pubsub-emulator");
    if !script.is_file() {
        bail!("the gcloud SDK has no Pub/Sub emulator");
    }
    let java =
        Command::new("java").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    java.context("java is not installed")?;
    Ok(script)
}
