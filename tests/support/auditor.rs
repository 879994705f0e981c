//! The executable as those use it who only read the ledger.

use std::process::Output;

use branchline_local::installation::LEDGER;
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
        let endpoints = self.stack.endpoints();
        let mut command = Command::new(executable());
        command
            .args(arguments)
            .env_clear()
            .env("BRANCHLINE_CREDENTIALS", "anonymous")
            .env("BRANCHLINE_STORAGE_ENDPOINT", format!("http://{}", endpoints.storage))
            .env("BRANCHLINE_VERTEX_ENDPOINT", format!("http://{}", endpoints.vertex))
            .env("BRANCHLINE_LEDGER_BUCKET", LEDGER);
        let Output { status, stdout, stderr } = command.output().await.expect("it starts");
        let text = |it| String::from_utf8(it).expect("it says text");
        let code = status.code().expect("nobody kills it");
        Told { code, stdout: text(stdout), stderr: text(stderr) }
    }
}
