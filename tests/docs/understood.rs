//! Commands that cannot run here are read by a real shell, where `branchline` and everything from elsewhere only
//! write down how they are called. Then the executable is asked whether it takes such arguments.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

use branchline_tests::processes::executable;
use serde_json::Value;
use tempfile::TempDir;

use crate::blocks::{Block, blocks};
use crate::variables::variables;

/// What comes from elsewhere and is only written down.
const FOREIGN: [&str; 14] = [
    "branchline",
    "cargo",
    "cosign",
    "curl",
    "docker",
    "gcloud",
    "git",
    "glab",
    "jq",
    "kubectl",
    "make",
    "podman",
    "skopeo",
    "terraform",
];
/// What is in every system and may run.
const COMMON: [&str; 5] = ["cat", "mkdir", "mktemp", "rm", "sleep"];
/// Files that earlier commands, or people, have left.
const THERE: [&str; 4] = ["worker-token", "notifier-token", "digest", "ci-digest"];
/// What a CI job finds in its variables, the group's among them.
const JOB: &str = "export GOOGLE_ID_TOKEN=token BRANCHLINE_PROVIDER='$BRANCHLINE_PROVIDER' \
    BRANCHLINE_SERVICE_ACCOUNT=ci@p.iam.gserviceaccount.com BRANCHLINE_TOPIC=projects/p/topics/ready \
    BRANCHLINE_ARTIFACT_BUCKET=artifacts BRANCHLINE_LEDGER_BUCKET=ledger\n";
const STUB: &str = r#"#!/bin/sh
[ "${0##*/}" = branchline ] || exit 0
for argument; do printf '%s\037' "$argument"; done >>"$CALLS"
printf '\036' >>"$CALLS"
"#;

/// A directory in which commands can be read.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        let bin = desk.path("bin");
        fs::create_dir_all(desk.path("deploy/k8s")).unwrap();
        fs::create_dir(&bin).unwrap();
        fs::create_dir(desk.path("overlay")).unwrap();
        for name in FOREIGN.iter().map(|it| bin.join(it)).chain([desk.path("deploy/k8s/check")]) {
            fs::write(&name, STUB).unwrap();
            fs::set_permissions(&name, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for name in COMMON {
            let found = ["/usr/bin", "/bin"].map(|it| Path::new(it).join(name));
            let found = found.iter().find(|it| it.exists()).unwrap();
            symlink(found, bin.join(name)).unwrap();
        }
        desk
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// What `branchline` is called with, call by call.
    fn read(&self, place: &str, commands: &str) -> Vec<Vec<String>> {
        let calls = self.path("calls");
        fs::write(&calls, "").unwrap();
        for name in THERE {
            fs::write(self.path(name), "").unwrap();
        }
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-eu", "-c", commands])
            .current_dir(self.0.path())
            .env_clear()
            .envs(variables());
        let ended = shell.env("PATH", self.path("bin")).env("CALLS", &calls).output().unwrap();
        assert!(ended.status.success(), "{place}: {}", said(&ended));
        let calls = fs::read_to_string(&calls).unwrap();
        let calls = calls.split_terminator('\u{1e}');
        calls.map(|it| it.split_terminator('\u{1f}').map(str::to_owned).collect()).collect()
    }
}

/// The commands of a block, if it has any that do not run here.
fn commands(block: &Block) -> Option<String> {
    match block.language.as_str() {
        "sh" => block.needs().map(|_| block.text.clone()),
        "console" => {
            let mut goes_on = false;
            let mut commands = String::new();
            for line in block.text.lines() {
                let command = if goes_on { Some(line) } else { line.strip_prefix("$ ") };
                goes_on = command.is_some_and(|it| it.ends_with('\\'));
                commands.extend(command.map(|it| format!("{it}\n")));
            }
            Some(commands)
        }
        _ => None,
    }
}

/// Fails where the executable does not take the arguments.
fn takes(place: &str, arguments: &[String]) {
    let nowhere = tempfile::tempdir().unwrap();
    let mut ours = Command::new(executable());
    ours.args(arguments).current_dir(&nowhere).env_clear().envs(variables()).env("USER", "ada");
    // It asks nobody: that, or a file that is not there, is what stops it, behind its arguments.
    let ended = ours.env("BRANCHLINE_CREDENTIALS", "none of these").output().unwrap();
    let code = ended.status.code().unwrap();
    assert!([66, 78].contains(&code), "{place}: {arguments:?} ended with {code}: {}", said(&ended));
}

fn said(ended: &Output) -> String {
    String::from_utf8_lossy(&ended.stderr).into_owned()
}

#[test]
fn the_executable_takes_the_commands_that_cannot_run_here() {
    let desk = Desk::new();
    let mut taken = 0;
    for block in blocks() {
        let Some(commands) = commands(&block) else { continue };
        for arguments in desk.read(&block.place(), &commands) {
            takes(&block.place(), &arguments);
            taken += 1;
        }
    }
    println!("{taken} commands are understood that cannot run here");
    assert!(taken >= 15);
}

#[test]
fn the_job_that_looks_at_others_has_what_it_needs() {
    let block = blocks().into_iter().find(|it| it.info == "doctor").unwrap();
    let job: Value = serde_saphyr::from_str(&block.text).unwrap();
    let script = job["doctor"]["script"][0].as_str().unwrap();
    let desk = Desk::new();
    let kept = "cat \"$GOOGLE_APPLICATION_CREDENTIALS\" >google.json\n";
    let calls = desk.read(&block.place(), &format!("{JOB}{script}{kept}"));
    let [arguments] = calls.as_slice() else { panic!("{calls:?}") };
    takes(&block.place(), arguments);
    let file: Value = serde_json::from_slice(&fs::read(desk.path("google.json")).unwrap()).unwrap();
    // The token is for whom it is exchanged at, and GitLab fills the variable in.
    let token = job["doctor"]["id_tokens"]["GOOGLE_ID_TOKEN"]["aud"].as_str().unwrap();
    assert_eq!(token, format!("https:{}", file["audience"].as_str().unwrap()));
    assert!(file["service_account_impersonation_url"].as_str().unwrap().contains("/ci@p."));
}

#[test]
fn a_command_that_is_misspelt_is_seen() {
    let seen = |commands: &'static str| {
        std::panic::catch_unwind(|| {
            for arguments in Desk::new().read("here", commands) {
                takes("here", &arguments);
            }
        })
        .is_err()
    };
    for wrong in
        ["branchline runs shwo \"$RUN\"", "branchline runs show \"$NOBODY\"", "gcluod version"]
    {
        assert!(seen(wrong), "{wrong}");
    }
    assert!(!seen("branchline runs show \"$RUN\""));
}
