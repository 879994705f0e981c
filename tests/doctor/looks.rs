//! `branchline doctor`, run on a clinic.

use std::process::Output;
use std::time::{Duration, Instant};

use branchline_local::installation::{ARTIFACTS, LEDGER, PROJECT, topic};
use branchline_tests::processes::executable;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::clinic::{Clinic, account};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Ci,
    Worker,
    Notifier,
    All,
}

/// What a look found.
pub(crate) struct Told {
    pub(crate) code: i32,
    pub(crate) findings: Vec<Value>,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Clinic {
    /// Runs the doctor.
    pub(crate) async fn look(&self, part: Part) -> Told {
        let (worker, notifier) =
            (self.write("worker.yaml", &self.worker), self.write("notifier.yaml", &self.notifier));
        let mut command = Command::new(executable());
        let name = match part {
            Part::Ci => "ci",
            Part::Worker => "worker",
            Part::Notifier => "notifier",
            Part::All => "all",
        };
        command.args(["doctor", name, "--json"]).env_clear().env("HOME", self.directory.path());
        self.endpoints(&mut command);
        match part {
            Part::Ci => {
                self.job(&mut command);
                self.ci(&mut command).await;
            }
            Part::Worker | Part::Notifier | Part::All => {
                command.env("GCE_METADATA_HOST", &self.metadata);
                match &self.gitlab_token_file {
                    Some(file) => command.env("BRANCHLINE_GITLAB_TOKEN_FILE", file),
                    None => command.env("BRANCHLINE_GITLAB_TOKEN", &self.gitlab_token),
                };
                if let Some(key) = &self.key_file {
                    command.env("GOOGLE_APPLICATION_CREDENTIALS", self.write("key.json", key));
                }
                command.args(["--gitlab-project", &self.project_id.to_string()]);
            }
        }
        let (worker_account, notifier_account) = (account("worker"), account("notifier"));
        let training = |command: &mut Command| {
            command.args(["--artifact-bucket", ARTIFACTS, "--training-project", PROJECT]);
            for it in &self.training_accounts {
                command.args(["--training-account", it]);
            }
        };
        match part {
            Part::Ci => {}
            Part::Worker => {
                command.arg("--config").arg(worker);
                if self.impersonates {
                    command.args(["--account", &worker_account]);
                }
                training(&mut command);
            }
            Part::Notifier => {
                command.arg("--config").arg(notifier);
                if self.impersonates {
                    command.args(["--account", &notifier_account]);
                }
            }
            Part::All => {
                command.arg("--worker").arg(worker).arg("--notifier").arg(notifier);
                command.args(["--worker-account", &worker_account]);
                command.args(["--notifier-account", &notifier_account]);
                training(&mut command);
            }
        }
        Self::told(command).await
    }

    /// Runs the command that looks at a CI job, as the doctor has proposed it.
    pub(crate) async fn look_again(&self, words: &[&str]) -> Told {
        let ["branchline", arguments @ ..] = words else { panic!("{words:?}") };
        let mut command = Command::new(executable());
        command.args(arguments).arg("--json").env_clear().current_dir(self.directory.path());
        self.endpoints(&mut command);
        self.job(&mut command);
        Self::told(command).await
    }

    async fn told(mut command: Command) -> Told {
        let started = Instant::now();
        let Output { status, stdout, stderr } = command.output().await.unwrap();
        let took = started.elapsed();
        let text = String::from_utf8(stdout).unwrap();
        let findings = text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        let stderr = String::from_utf8(stderr).unwrap();
        Told { code: status.code().unwrap(), findings, stderr, took }
    }

    fn endpoints(&self, command: &mut Command) {
        let google = &self.worker["google"];
        for name in ["pubsub", "storage", "vertex", "iam"] {
            let value = google[format!("{name}_endpoint")].as_str().unwrap();
            command.env(format!("BRANCHLINE_{}_ENDPOINT", name.to_uppercase()), value);
        }
    }

    /// What a CI job has.
    fn job(&self, command: &mut Command) {
        if let Some(claims) = &self.own_token {
            command.env("BRANCHLINE_ID_TOKEN", self.signer.sign(claims).unwrap());
        }
        let mut token = self.signer.sign(&self.google_token).unwrap();
        if self.tampered {
            let last = if token.ends_with('A') { "Q" } else { "A" };
            token.replace_range(token.len() - 1.., last);
        }
        token += self.behind_token;
        let text = self.token_field.map(|it| json!({ it: token }).to_string()).unwrap_or(token);
        std::fs::write(self.file("google-token"), text).unwrap();
        if let Some(credentials) = &self.credentials {
            command.env("GOOGLE_APPLICATION_CREDENTIALS", self.write("google.json", credentials));
        }
        if let Some(metadata) = &self.runner {
            command.env("GCE_METADATA_HOST", metadata);
        }
    }

    async fn ci(&self, command: &mut Command) {
        command.args(["--topic", &topic(PROJECT, "artifact-ready"), "--bucket", ARTIFACTS]);
        command.args(["--ledger", LEDGER]);
        if self.shows_provider {
            command.arg("--provider").arg(self.describe().await);
        }
    }
}
