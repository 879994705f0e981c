//! Runs the processes of one job, trial or task: each leads a process group,
//! so that nothing it started outlives it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::logs::{LogWriter, Stream};

/// How long a process may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);

/// How long output is read after the whole group is gone: only a process that
/// left the group can still hold the pipe.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The exit status that shells and container runtimes give a command they cannot start.
const NOT_STARTED: i32 = 127;

/// One process to run.
#[derive(Debug)]
pub(super) struct Process {
    /// The replica's name, as failures tell it: `workerpool0-0`.
    pub(super) task: String,
    pub(super) argv: Vec<String>,
    /// The whole environment apart from PATH and HOME.
    pub(super) env: BTreeMap<String, String>,
    pub(super) directory: PathBuf,
    pub(super) log: LogWriter,
}

/// How a set of processes ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// The first process, the chief, ended with status 0.
    Succeeded,
    /// A process ended badly, which ends all of them.
    Failed {
        task: String,
        status: i32,
    },
    TimedOut,
    Stopped,
}

/// Runs all of them to the end of the first one, the first failure, the
/// deadline, or the stop; none is left when this returns.
pub(super) async fn run(
    processes: Vec<Process>,
    deadline: Duration,
    stop: &CancellationToken,
) -> Exit {
    let mut started = Vec::new();
    for process in processes {
        match Running::start(&process) {
            Ok(running) => started.push(running),
            Err(error) => {
                process.log.line(
                    Stream::Stderr,
                    format!("cannot start {:?}: {error}", process.argv[0]).as_bytes(),
                );
                end_all(started).await;
                return Exit::Failed { task: process.task, status: NOT_STARTED };
            }
        }
    }
    let exit = tokio::select! {
        exit = first_decisive(&mut started) => exit,
        () = stop.cancelled() => Exit::Stopped,
        () = sleep(deadline) => Exit::TimedOut,
    };
    end_all(started).await;
    exit
}

async fn first_decisive(started: &mut [Running]) -> Exit {
    let mut ends: FuturesUnordered<_> = started
        .iter_mut()
        .enumerate()
        .map(async |(at, running)| (at, running.task.clone(), running.child.wait().await))
        .collect();
    while let Some((at, task, ended)) = ends.next().await {
        match ended.as_ref().map_or(NOT_STARTED, |status| exit_status(*status)) {
            0 if at == 0 => return Exit::Succeeded,
            0 => {}
            status => return Exit::Failed { task, status },
        }
    }
    Exit::Succeeded
}

/// A death by signal counts as shells count it: 128 and the signal.
fn exit_status(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

async fn end_all(started: Vec<Running>) {
    futures::future::join_all(started.into_iter().map(Running::end)).await;
}

/// The file that a command's first word stands for. By its path it is spawned; by a name that is
/// looked for in another environment this process would be forked, which takes long when it is large.
fn program(name: &str, path: Option<&OsStr>) -> PathBuf {
    let directories =
        path.into_iter().filter(|_| !name.contains('/')).flat_map(std::env::split_paths);
    let found = directories.map(|it| it.join(name)).find(|it| it.is_file());
    found.unwrap_or_else(|| name.into())
}

struct Running {
    task: String,
    child: Child,
    group: Option<Pid>,
    output: [JoinHandle<()>; 2],
}

impl Running {
    fn start(process: &Process) -> io::Result<Self> {
        std::fs::create_dir_all(&process.directory)?;
        let path = process.env.get("PATH").map(OsString::from).or_else(|| std::env::var_os("PATH"));
        let mut command = Command::new(program(&process.argv[0], path.as_deref()));
        command
            .arg0(&process.argv[0])
            .args(&process.argv[1..])
            .current_dir(&process.directory)
            .env_clear();
        // A training command needs its tools; nothing else of ours is its business.
        for name in ["PATH", "HOME"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.envs(&process.env).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let output = [
            tokio::spawn(process.log.clone().copy(Stream::Stdout, stdout)),
            tokio::spawn(process.log.clone().copy(Stream::Stderr, stderr)),
        ];
        Ok(Self { task: process.task.clone(), child, group, output })
    }

    /// Ends the process if it still runs, then whatever is left of its group.
    async fn end(mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.signal(Signal::TERM);
            // The group is killed next, whether it has obeyed or not.
            let _ = timeout(GRACE, self.child.wait()).await;
        }
        self.signal(Signal::KILL);
        let _ = self.child.wait().await;
        for mut output in self.output {
            if timeout(LAST_WORDS, &mut output).await.is_err() {
                output.abort();
            }
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // The only failure is that nobody is left to get it.
            let _ = kill_process_group(group, signal);
        }
    }
}
