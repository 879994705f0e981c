//! An operator at a terminal: an account that may look, and a proven address.

use std::process::{Output, Stdio};

use branchline_local::iam::Resource;
use branchline_local::installation::{DEAD_LETTERS, LEDGER, REQUESTS};
use branchline_tests::processes::executable;
use branchline_tests::roles::account;
use branchline_tests::world::World;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const GOOGLE: &str = "https://accounts.google.com";
const AUDIENCE: &str = "operators.example";

/// Lets jobs of the team train, and what an operator stands behind.
const POLICY: &str = r#"
rules:
- {name: team, match: 'has(claims.project_path) && claims.project_path == "team/iris"'}
- {name: operators, match: 'has(claims.operator) && claims.operator == "ada@example.com"', edited: true}
"#;

pub(crate) struct Operator {
    environment: Vec<(String, String)>,
    directory: tempfile::TempDir,
}

impl Operator {
    /// A world where IAM is enforced and Ada is an operator. What is not settled is given up at the second delivery.
    pub(crate) async fn start() -> (World, Self) {
        let directory = tempfile::tempdir().unwrap();
        let (policy, keys) =
            (directory.path().join("policy.yaml"), directory.path().join("keys.json"));
        std::fs::write(&policy, POLICY).unwrap();
        let more = json!({
            "policy": policy,
            "consume": {"attempts_max": 2},
            "operators": {
                "members": {"ada@example.com": {}},
                "audiences": [AUDIENCE],
                "issuer": {"issuer": GOOGLE, "jwks_file": keys},
            },
        });
        let world = World::start_enforced(more).await;
        let signer = world.stack.gitlab.signer().unwrap();
        std::fs::write(&keys, json!({"keys": [signer.public()]}).to_string()).unwrap();
        let now = Timestamp::now().as_second();
        let claims = json!({
            "iss": GOOGLE, "aud": AUDIENCE, "sub": "1021", "email": "ada@example.com",
            "email_verified": true, "iat": now, "exp": now + 3_600,
        });
        let token = signer.sign(&claims).unwrap();
        let environment = environment(&world, token).await;
        (world, Self { environment, directory })
    }

    /// A directory of the operator's own.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) async fn run(&self, args: &[&str], stdin: &[u8]) -> Output {
        self.run_with(args, stdin, ("LANG", "C")).await
    }

    /// The same with another value of a variable.
    pub(crate) async fn run_with(
        &self,
        args: &[&str],
        stdin: &[u8],
        (name, value): (&str, &str),
    ) -> Output {
        let mut child = Command::new(executable())
            .args(args)
            .env_clear()
            .envs(self.environment.iter().cloned())
            .env(name, value)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // A command that has heard enough has closed it.
        pipe.write_all(stdin).await.ok();
        drop(pipe);
        child.wait_with_output().await.unwrap()
    }

    /// What a command prints that does what it should.
    pub(crate) async fn says(&self, args: &[&str]) -> String {
        let output = self.run(args, b"").await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?} ended with {}: {said}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// The dead letters that a command lists.
    pub(crate) async fn lists(&self, args: &[&str]) -> Vec<Value> {
        let all = [&["dlq", "list", "--json"], args].concat();
        let text = self.says(&all).await;
        text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
    }
}

async fn environment(world: &World, token: String) -> Vec<(String, String)> {
    let iam = &world.stack.iam;
    let member = format!(
        "serviceAccount:{}",
        iam.create_service_account(branchline_local::installation::PROJECT, "operator")
    );
    for (bucket, role) in [
        (DEAD_LETTERS, "roles/storage.objectViewer"),
        (LEDGER, "roles/storage.objectViewer"),
        (REQUESTS, "roles/storage.objectCreator"),
    ] {
        iam.bind(&Resource::bucket(bucket), role, &member).unwrap();
    }
    let metadata = world.stack.metadata_server(&account("operator")).await.unwrap();
    let storage = format!("http://{}", world.stack.endpoints().storage);
    [
        ("GCE_METADATA_HOST", metadata.to_string()),
        ("BRANCHLINE_STORAGE_ENDPOINT", storage),
        ("BRANCHLINE_DEAD_LETTER_BUCKET", DEAD_LETTERS.to_owned()),
        ("BRANCHLINE_LEDGER_BUCKET", LEDGER.to_owned()),
        ("BRANCHLINE_REQUEST_BUCKET", REQUESTS.to_owned()),
        ("BRANCHLINE_OPERATOR_TOKEN", token),
        ("USER", "ada".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
