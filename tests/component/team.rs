//! A platform team's components, a team whose pipeline includes them, and a runner for it: gitlab-ci-local
//! against the whole system with IAM enforced.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use branchline_local::gitlab::{CiJob, Trigger};
use branchline_local::iam::{Provider, Resource};
use branchline_local::installation::{LEDGER, PROJECT};
use branchline_tests::processes::executable;
use branchline_tests::roles::account;
use branchline_tests::world::World;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::template::root;

/// The team's checkout.
pub(crate) const TEAM: &str = "iris";
/// The platform team's.
pub(crate) const PLATFORM: &str = "platform/branchline.git";
const POOL: &str = "gitlab";
const POLICY: &str = "
rules:
- name: iris
  match: origin.project_path == 'team/iris'
  validations:
  - {expression: origin.ref_protected == true, message: only protected branches train}
";
/// What gitlab-ci-local would make up itself: here the job is what its tokens say.
const PREDEFINED: [&str; 8] = [
    "CI_SERVER_URL",
    "CI_PROJECT_ID",
    "CI_COMMIT_SHA",
    "CI_COMMIT_REF_NAME",
    "CI_PIPELINE_ID",
    "CI_JOB_ID",
    "CI_PIPELINE_SOURCE",
    "CI_COMMIT_REF_PROTECTED",
];
/// What some tests change beside that.
const MORE_PREDEFINED: &str = "CI_COMMIT_TAG,CI_OPEN_MERGE_REQUESTS";
const PIPELINE: &str = r#"
include:
  - component: $CI_SERVER_FQDN/platform/branchline/train@1
    inputs:
      run: iris
      set: |
        epochs=200
      timeout: 3m
  - component: $CI_SERVER_FQDN/platform/branchline/fetch@1.0.0
    inputs:
      image: branchline
      provider: PROVIDER
      service_account: ACCOUNT
      ledger: LEDGER

use:
  stage: deploy
  needs: [train, fetch]
  rules: !reference [fetch, rules]
  script:
    - echo "$BRANCHLINE_RUN_ID $BRANCHLINE_OUTCOME $BRANCHLINE_MODEL_URI $BRANCHLINE_CONSOLE_URL" >used
    - cp model/model.json used.json
  artifacts: {paths: [used, used.json]}
"#;
/// For branchline, the stack's address takes the place of Google's two; what the component wrote is not changed
/// otherwise.
const BRANCHLINE: &str = r#"#!/bin/sh
set -eu
theirs=$GOOGLE_APPLICATION_CREDENTIALS
export GOOGLE_APPLICATION_CREDENTIALS="${theirs%/*}/local.json"
sed -e 's|https://sts.googleapis.com/|IAM/|' -e 's|https://iamcredentials.googleapis.com/|IAM/|' \
    "$theirs" >"$GOOGLE_APPLICATION_CREDENTIALS"
exec 'EXECUTABLE' "$@"
"#;
const WITHIN: Duration = Duration::from_mins(4);

pub(crate) struct Team {
    pub(crate) world: World,
    directory: TempDir,
    /// gitlab-ci-local.
    runner: PathBuf,
    /// Audience of the provider.
    audience: String,
}

/// A pipeline that is over.
pub(crate) struct Pipeline {
    pub(crate) passed: bool,
    pub(crate) log: String,
}

impl Pipeline {
    /// The names of the jobs in a list of them.
    pub(crate) fn jobs(&self) -> Vec<&str> {
        let list = self.log.split_once("name;stage;when;");
        let (_, list) = list.unwrap_or_else(|| panic!("it lists no jobs: {}", self.log));
        list.lines().skip(1).filter_map(|it| Some(it.split_once(';')?.0)).collect()
    }
}

impl Team {
    /// None where nobody says where gitlab-ci-local is.
    pub(crate) async fn start() -> Option<Self> {
        let Some(runner) = std::env::var_os("GITLAB_CI_LOCAL").map(PathBuf::from) else {
            println!("skipped: templates/check installs gitlab-ci-local and says where it is");
            return None;
        };
        assert!(runner.is_file(), "{} is missing", runner.display());
        let directory = tempfile::tempdir().unwrap();
        let policy = directory.path().join("policy.yaml");
        fs::write(&policy, POLICY).unwrap();
        let world = World::start_enforced(json!({"policy": policy})).await;
        let audience = let_in(&world);
        let team = Self { world, directory, runner, audience };
        fs::create_dir(team.path("tmp")).unwrap();
        team.release_components().await;
        team.check_out().await;
        team.install_branchline();
        Some(team)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The platform team's repository, with a release.
    async fn release_components(&self) {
        let repository = self.path(PLATFORM);
        copy(&root().join("templates"), &repository.join("templates"));
        for file in [".gitlab-ci.yml", "Cargo.lock"] {
            fs::copy(root().join(file), repository.join(file)).unwrap();
        }
        commit(&repository).await;
        let origin = self.gitlab("platform/branchline");
        run(&repository, &["git", "remote", "add", "origin", &origin]).await;
        run(&repository, &["git", "tag", "1.0.0"]).await;
    }

    /// The team's repository on the machine of a runner.
    async fn check_out(&self) {
        let checkout = self.path(TEAM);
        copy(&root().join("examples/iris"), &checkout);
        let pipeline = PIPELINE
            .replace("PROVIDER", self.provider())
            .replace("ACCOUNT", &account("ci"))
            .replace("LEDGER", LEDGER);
        fs::write(checkout.join(".gitlab-ci.yml"), pipeline).unwrap();
        commit(&checkout).await;
        run(&checkout, &["git", "remote", "add", "origin", &self.gitlab("team/iris")]).await;
    }

    fn install_branchline(&self) {
        let iam = format!("http://{}", self.world.stack.endpoints().iam);
        let script = BRANCHLINE.replace("IAM", &iam);
        let script = script.replace("EXECUTABLE", executable().to_str().unwrap());
        fs::create_dir(self.path("bin")).unwrap();
        fs::write(self.path("bin/branchline"), script).unwrap();
        fs::set_permissions(self.path("bin/branchline"), PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn provider(&self) -> &str {
        self.audience.trim_start_matches("//iam.googleapis.com/")
    }

    fn gitlab(&self, path: &str) -> String {
        format!("http://{}/{path}", self.world.stack.endpoints().gitlab)
    }

    /// Someone pushes to a branch.
    pub(crate) async fn push(&self, branch: &str) -> Pipeline {
        let gitlab = &self.world.stack.gitlab;
        let project = self.world.project_id;
        gitlab.commit(project, branch, "Train", &[("a", branch.as_bytes())]).unwrap();
        let job = gitlab.start_pipeline(project, Trigger::Push(branch), "train").unwrap();
        run(&self.path(TEAM), &["git", "checkout", "-q", "-B", branch]).await;
        let tokens = [
            format!("BRANCHLINE_ID_TOKEN={}", self.token(&job, "branchline")),
            format!("GOOGLE_ID_TOKEN={}", self.token(&job, &format!("https:{}", self.audience))),
        ];
        let of_job = PREDEFINED.map(|it| format!("{it}={}", job.variables[it]));
        let endpoints = self.world.stack.endpoints();
        // What the first component takes from the group, and where this world is.
        let variables = [
            "BRANCHLINE_IMAGE=branchline".to_owned(),
            format!("BRANCHLINE_PROVIDER={}", self.provider()),
            format!("BRANCHLINE_SERVICE_ACCOUNT={}", account("ci")),
            format!("BRANCHLINE_PUBSUB_ENDPOINT=http://{}", endpoints.pubsub),
            format!("BRANCHLINE_STORAGE_ENDPOINT=http://{}", endpoints.storage),
            format!("TMPDIR={}", self.path("tmp").display()),
        ];
        let variables = tokens.iter().chain(&of_job).chain(&variables);
        let arguments: Vec<_> = variables.flat_map(|it| ["--variable", it.as_str()]).collect();
        let pipeline = self.run_pipeline(TEAM, &arguments).await;
        for token in tokens {
            let (_, token) = token.split_once('=').unwrap();
            assert!(!pipeline.log.contains(&token[..40]), "{}", pipeline.log);
        }
        pipeline
    }

    fn token(&self, job: &CiJob, audience: &str) -> String {
        self.world.stack.gitlab.id_token(job.id, audience).unwrap()
    }

    /// gitlab-ci-local in a checkout, for which the platform team's repository lies in GitLab.
    pub(crate) async fn run_pipeline(&self, checkout: &str, arguments: &[&str]) -> Pipeline {
        let path = std::env::var("PATH").unwrap();
        let at = format!("url.file://{}.insteadOf", self.path(PLATFORM).display());
        let command = Command::new(&self.runner)
            .args(["--force-shell-executor", "--shell-isolation", "--no-color"])
            .args(arguments)
            .args([
                "--ignore-predefined-vars",
                &format!("{},{MORE_PREDEFINED}", PREDEFINED.join(",")),
            ])
            .current_dir(self.path(checkout))
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("HOME", self.path("tmp"))
            .envs([("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", at.as_str())])
            .env("GIT_CONFIG_VALUE_0", self.gitlab("platform/branchline.git"))
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(WITHIN, command).await.expect("it ends").unwrap();
        let log = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap()).concat();
        Pipeline { passed: output.status.success(), log }
    }
}

/// Lets the project's CI jobs become the account `ci`, and returns the audience of the provider.
fn let_in(world: &World) -> String {
    let iam = &world.stack.iam;
    let pool = iam.create_pool(PROJECT, POOL);
    let issuer = format!("http://{}", world.stack.endpoints().gitlab);
    let mapping = [
        ("google.subject", r#""project:" + assertion.project_id"#),
        ("attribute.project_id", "assertion.project_id"),
    ];
    let audience = iam.put_provider(PROJECT, POOL, POOL, Provider::new(&issuer, &mapping)).unwrap();
    let jobs = format!("principalSet:{pool}/attribute.project_id/{}", world.project_id);
    let ci = Resource::account(&account("ci"));
    iam.bind(&ci, "roles/iam.workloadIdentityUser", &jobs).unwrap();
    audience
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

async fn commit(directory: &Path) {
    run(directory, &["git", "init", "-q", "-b", "main"]).await;
    run(directory, &["git", "add", "--all"]).await;
    let anna = ["-c", "user.name=Anna", "-c", "user.email=anna@example.com"];
    run(directory, &[&["git"], &anna[..], &["commit", "-q", "-m", "All"]].concat()).await;
}

async fn run(directory: &Path, command: &[&str]) {
    let output = Command::new(command[0]).args(&command[1..]).current_dir(directory).output().await;
    let output = output.unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
