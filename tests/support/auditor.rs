//! The executable as auditors and operators use it.

use std::process::Output;

use branchline_local::installation::{LEDGER, QUEUE, REQUESTS};
use tokio::process::Command;

use crate::processes::executable;
use crate::world::World;

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Told {
    /// Its exit code.
    pub code: i32,
    /// What it said on stdout.
    pub stdout: String,
    /// What it said on stderr.
    pub stderr: String,
}

impl World {
    /// Runs `branchline` with these arguments.
    pub async fn branchline(&self, arguments: &[&str]) -> Told {
        Told::of(self.command(arguments)).await
    }

    /// The same, before it is run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(executable());
        command
            .args(arguments)
            .env_clear()
            .envs(self.stack.exports())
            .envs(self.environment())
            .kill_on_drop(true);
        command
    }

    /// Where the executable finds this world.
    pub fn environment(&self) -> [(&'static str, String); 7] {
        let endpoints = self.stack.endpoints();
        [
            ("BRANCHLINE_CREDENTIALS", "anonymous".to_owned()),
            ("BRANCHLINE_STORAGE_ENDPOINT", format!("http://{}", endpoints.storage)),
            ("BRANCHLINE_VERTEX_ENDPOINT", format!("http://{}", endpoints.vertex)),
            ("BRANCHLINE_LEDGER_BUCKET", LEDGER.to_owned()),
            ("BRANCHLINE_QUEUE_BUCKET", QUEUE.to_owned()),
            ("BRANCHLINE_REQUEST_BUCKET", REQUESTS.to_owned()),
            ("USER", "anna".to_owned()),
        ]
    }
}

impl Told {
    /// Runs a command to its end.
    pub async fn of(mut command: Command) -> Self {
        let Output { status, stdout, stderr } = command.output().await.expect("it starts");
        let text = |it| String::from_utf8(it).expect("it says text");
        let code = status.code().expect("nobody kills it");
        Self { code, stdout: text(stdout), stderr: text(stderr) }
    }
}
