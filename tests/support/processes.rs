//! The executable's roles as processes of their own: started, waited for and stopped.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long a process that a failed test leaves behind may take to end by itself.
const ABANDONED: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Whoever has begun to answer does so by then.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// Below the ports that a system gives to outgoing connections, so that a port
/// is still free when its process starts again.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The executable that was built beside this test.
pub fn executable() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own executable");
    let built = test.ancestors().nth(2).expect("it lies in deps/").join("branchline");
    assert!(built.is_file(), "{} is missing: cargo build -p branchline first", built.display());
    built
}

/// Ports of loopback that are free now and stay so until their processes take them.
pub fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    // Two tests that run at once begin at different places.
    let begin = u16::try_from(std::process::id() * 97 % u32::from(span)).expect("it is below");
    std::array::from_fn(|_| {
        let mut ports = (0..span).map(|_| {
            let offset = NEXT.fetch_add(1, Ordering::Relaxed);
            PORTS.start + (begin + offset % span) % span
        });
        ports
            .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
            .expect("some port is free")
    })
}

/// A running process in a group of its own. Dropping it ends the whole group.
#[derive(Debug)]
pub struct Role {
    name: String,
    child: Child,
    group: Pid,
    log: PathBuf,
}

impl Role {
    /// Starts `branchline` with these arguments. What it prints goes to `log`.
    pub fn start(
        name: &str,
        args: &[&str],
        environment: &[(String, String)],
        log: &Path,
    ) -> Result<Self> {
        Self::start_from(&executable(), name, args, environment, log)
    }

    /// The same with another executable.
    pub fn start_from(
        executable: &Path,
        name: &str,
        args: &[&str],
        environment: &[(String, String)],
        log: &Path,
    ) -> Result<Self> {
        let printed = std::fs::File::create(log)?;
        let child = Command::new(executable)
            .args(args)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(printed.try_clone()?)
            .stderr(printed)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let id = child.id().and_then(|it| i32::try_from(it).ok()).and_then(Pid::from_raw);
        let group = id.context("a process that has just started has an id")?;
        Ok(Self { name: name.to_owned(), child, group, log: log.to_owned() })
    }

    /// Its process id.
    pub const fn id(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    /// Waits until it answers on this port, which it has before it looks at everything else, and returns a connection
    /// on which nothing was said yet.
    pub async fn listens(&mut self, port: u16) -> Result<TcpStream> {
        let started = Instant::now();
        loop {
            let answer = tokio::time::timeout(ANSWERS_WITHIN, is_alive(port)).await;
            if matches!(answer, Ok(Ok(true))) {
                return Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?);
            }
            self.still_runs(started)?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until a line that it prints begins with `start`, and returns its rest.
    pub async fn says(&mut self, start: &str) -> Result<String> {
        let started = Instant::now();
        loop {
            let printed = std::fs::read_to_string(&self.log)?;
            let mut lines = printed.split_inclusive('\n').filter(|it| it.ends_with('\n'));
            if let Some(rest) = lines.find_map(|it| it.strip_prefix(start)) {
                return Ok(rest.trim_end().to_owned());
            }
            self.still_runs(started)?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn still_runs(&mut self, since: Instant) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}: {}", self.name, self.last_words());
        }
        ensure!(
            since.elapsed() < READY_WITHIN,
            "{} is not ready: {}",
            self.name,
            self.last_words()
        );
        Ok(())
    }

    /// Sends SIGTERM, as Kubernetes and terminals do.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Stops it where it stands: it keeps its connections and answers nothing.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.group, signal).with_context(|| format!("{signal:?} to {}", self.name))
    }

    /// Waits for its end, for `within` at most, and asserts that it ended well and
    /// left nothing of its group behind.
    pub async fn ends(mut self, within: Duration) -> Result<()> {
        let ended = tokio::time::timeout(within, self.child.wait()).await;
        let last = self.last_words();
        let status: ExitStatus = ended
            .with_context(|| format!("{} did not end within {within:?}: {last}", self.name))??;
        ensure!(status.code() == Some(0), "{} ended with {status}: {last}", self.name);
        ensure!(is_gone(self.group), "{} left processes behind", self.name);
        Ok(())
    }

    /// Ends it where it stands.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    /// Waits for its end by SIGKILL.
    pub async fn dies(mut self, within: Duration) -> Result<()> {
        let ended = tokio::time::timeout(within, self.child.wait()).await;
        let status = ended.with_context(|| format!("{} lives on", self.name))??;
        let killed = status.signal() == Some(Signal::KILL.as_raw());
        ensure!(killed, "{} ended with {status}: {}", self.name, self.last_words());
        Ok(())
    }

    /// The end of what it printed, for whoever has to find out why.
    pub fn last_words(&self) -> String {
        let printed = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = printed.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // It may have training processes to stop, which lead groups of their own.
        self.thaw().and_then(|()| self.terminate()).ok();
        let abandoned = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && abandoned.elapsed() < ABANDONED {
            std::thread::sleep(LOOK_EVERY);
        }
        kill_process_group(self.group, Signal::KILL).ok();
    }
}

async fn is_alive(port: u16) -> std::io::Result<bool> {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    connection.write_all(b"GET /livez HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer.starts_with("HTTP/1.1 200 "))
}

/// Whether nothing is left of a process group.
pub fn is_gone(group: Pid) -> bool {
    test_kill_process_group(group).is_err()
}
