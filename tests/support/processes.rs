//! The system as processes of its own: the stack on a data directory, workers
//! and a notifier, which are stopped by SIGTERM and started again.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use branchline_gcp::{Config, Credentials};
use serde_json::json;
use tempfile::TempDir;

/// How long a process may take to start, or to stop before it is killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that does not outlive the test.
pub struct Process {
    child: Child,
    name: &'static str,
}

impl Process {
    fn start(name: &'static str, command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).spawn().expect("the executable starts");
        Self { child, name }
    }

    /// Asks it to stop, without waiting.
    pub fn terminate(&self) {
        // The standard library can only kill; everybody has this command.
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(status.expect("kill is there").success(), "{} is there to be stopped", self.name);
    }

    /// Waits until it has stopped, and tells how and after how long.
    pub fn stopped(mut self, since: Instant) -> (ExitStatus, Duration) {
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return (status, since.elapsed());
            }
            assert!(since.elapsed() < PATIENCE, "{} does not stop", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A data directory, ports that stay the same, and configuration files for the roles.
pub struct Site {
    directory: TempDir,
    executable: PathBuf,
    ports: [u16; 4],
}

/// The processes of a site.
pub struct Running {
    /// The embedded stack.
    pub stack: Process,
    /// A worker.
    pub worker: Process,
    /// A notifier.
    pub notifier: Process,
}

impl Running {
    /// Stops all at once and tells the longest time that one took.
    pub fn stop(self) -> Duration {
        let since = Instant::now();
        let all = [self.worker, self.notifier, self.stack];
        all.iter().for_each(Process::terminate);
        let stopped = all.map(|it| {
            let name = it.name;
            let (status, took) = it.stopped(since);
            assert!(status.success(), "{name} ended with {status}");
            took
        });
        stopped.into_iter().max().expect("there are three")
    }
}

impl Site {
    /// A fresh one. The executable is the one beside the tests'.
    pub fn new() -> Self {
        let tests = std::env::current_exe().expect("a test is an executable");
        let executable = tests.parent().and_then(Path::parent).expect("it lies in deps");
        let executable = executable.join("branchline");
        assert!(
            executable.exists(),
            "there is no {}: cargo build -p branchline",
            executable.display()
        );
        // Held together, so that they are four different ones.
        let held = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
        let ports = held.map(|it| it.local_addr().expect("it is bound").port());
        let directory = tempfile::tempdir().expect("a directory can be made");
        let site = Self { directory, executable, ports };
        site.configure();
        site
    }

    /// A file of this site.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where our clients find the stack.
    pub fn google(&self) -> Config {
        let url = |port: u16| Some(format!("http://127.0.0.1:{port}"));
        let [pubsub, storage, vertex, _] = self.ports;
        Config {
            credentials: Credentials::Anonymous,
            pubsub_endpoint: url(pubsub),
            storage_endpoint: url(storage),
            vertex_endpoint: url(vertex),
        }
    }

    /// GitLab's address, and the token that the stack made for us.
    pub fn gitlab(&self) -> (String, String) {
        let exports = fs::read_to_string(self.path("exports")).expect("the stack has started");
        let token =
            exports.lines().find_map(|it| it.strip_prefix("export BRANCHLINE_GITLAB_TOKEN="));
        (format!("http://127.0.0.1:{}", self.ports[3]), token.expect("it is exported").to_owned())
    }

    /// Starts the stack, a worker and a notifier.
    pub fn start(&self) -> Running {
        let stack = self.start_stack();
        Running { stack, worker: self.start_worker(), notifier: self.start_notifier() }
    }

    /// Starts a worker; there may be several.
    pub fn start_worker(&self) -> Process {
        Process::start("worker", &mut self.role("worker"))
    }

    fn start_notifier(&self) -> Process {
        let token = self.gitlab().1;
        Process::start("notifier", self.role("notifier").env("BRANCHLINE_GITLAB_TOKEN", token))
    }

    fn role(&self, role: &str) -> Command {
        let log = fs::File::options().create(true).append(true).open(self.path("roles.log"));
        let mut command = Command::new(&self.executable);
        command.arg(role).arg("--config").arg(self.path(&format!("{role}.json")));
        command.stderr(log.expect("the log can be written")).stdout(Stdio::null());
        command
    }

    /// Starts the stack and waits until it serves.
    fn start_stack(&self) -> Process {
        let mut command = Command::new(&self.executable);
        command.arg("local").arg("--data-dir").arg(self.path("data"));
        for (name, port) in ["pubsub", "storage", "vertex", "gitlab"].iter().zip(self.ports) {
            command.arg(format!("--{name}-port={port}"));
        }
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Process::start("stack", &mut command);
        let lines = BufReader::new(process.child.stdout.take().expect("it is piped")).lines();
        let mut exports = String::new();
        for line in lines {
            let line = line.expect("the stack prints text");
            exports += &(line.clone() + "\n");
            // The last line: from here on it serves.
            if line.starts_with("export BRANCHLINE_GITLAB_TOKEN=") {
                break;
            }
        }
        fs::write(self.path("exports"), exports).expect("the directory is ours");
        process
    }

    fn configure(&self) {
        let google = self.google();
        let google = json!({
            "credentials": "anonymous",
            "pubsub_endpoint": google.pubsub_endpoint,
            "storage_endpoint": google.storage_endpoint,
            "vertex_endpoint": google.vertex_endpoint,
        });
        let name = |collection: &str, id: &str| format!("projects/demo-project/{collection}/{id}");
        let worker = json!({
            "subscription": name("subscriptions", "artifact-ready-worker"),
            "dead_letter_topic": name("topics", "dead-letters"),
            "run_event_topic": name("topics", "run-events"),
            "ledger_bucket": "demo-ledger",
            "queue_bucket": "demo-queue",
            "output_bucket": "demo-output",
            "regions": ["europe-west4"],
            "tick_millis": 100,
            "create_secs": 5,
            "settle_secs": 2,
            "consume": {"grace_seconds": 8},
            "listen": "127.0.0.1:0",
            "google": google,
        });
        let notifier = json!({
            "subscription": name("subscriptions", "run-events-notifier"),
            "dead_letter_topic": name("topics", "dead-letters"),
            "ledger_bucket": "demo-ledger",
            "gitlab": format!("http://127.0.0.1:{}", self.ports[3]),
            "consume": {"grace_seconds": 8},
            "listen": "127.0.0.1:0",
            "google": google,
        });
        for (role, config) in [("worker", worker), ("notifier", notifier)] {
            // JSON is YAML.
            fs::write(self.path(&format!("{role}.json")), config.to_string()).expect("it is ours");
        }
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}
