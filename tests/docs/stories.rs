//! The commands of a document as one story: what somebody would paste, in order, into one shell, against the local
//! stack.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use branchline_contract::RunId;
use branchline_gcp::pubsub::{Message, Publish as _, Publisher};
use branchline_ledger::State;
use branchline_local::installation::{PROJECT, topic};
use branchline_tests::eventually::eventually;
use branchline_tests::processes::{executable, free_ports};
use branchline_tests::world::{World, run_id};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::blocks::{Block, blocks, top};
use crate::variables::variables;

const QUICKSTART: &str = "docs/quickstart.md";
/// It meets a run that goes on, and others one that has ended badly.
const DISASTER: &str = "docs/disaster.md";
/// As gRPC has it.
const UNAVAILABLE: u16 = 14;
const TOLD_WITHIN: Duration = Duration::from_secs(150);

/// The commands of a document that run here, each block behind a line that tells where it stands.
fn story(path: &str) -> (usize, String) {
    let has_gcloud = std::process::Command::new("gcloud").arg("--version").output().is_ok();
    let runs = |it: &Block| it.path == path && it.language == "sh" && it.needs().is_none();
    let (mut count, mut story) = (0, String::new());
    for block in blocks().into_iter().filter(runs) {
        if block.text.contains("gcloud ") && !has_gcloud {
            println!("skipped: {}, because gcloud is not installed", block.place());
            continue;
        }
        count += 1;
        write!(story, "echo '--- {}'\n{}", block.place(), block.text).unwrap();
    }
    (count, story)
}

/// Runs a story to its end, in a directory that looks like the top of the repository.
async fn tell(story: &str, environment: Vec<(&'static str, String)>) {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    symlink(top().join("examples"), at("examples")).unwrap();
    fs::create_dir(at("bin")).unwrap();
    symlink(executable(), at("bin/branchline")).unwrap();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", at("bin").display());
    let log = fs::File::create(at("log")).unwrap();
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-eu", "-c", story])
        .current_dir(&place)
        .env_clear()
        .envs(environment)
        .envs([("PATH", path.as_str()), ("USER", "ada")])
        .envs(gcloud(place.path()))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .process_group(0);
    let mut shell = shell.spawn().unwrap();
    let group = Pid::from_raw(shell.id().unwrap().try_into().unwrap()).unwrap();
    let ended = tokio::time::timeout(TOLD_WITHIN, shell.wait()).await;
    // What a story that broke off has left behind.
    kill_process_group(group, Signal::KILL).ok();
    let told = fs::read_to_string(at("log")).unwrap();
    let ended = ended.unwrap_or_else(|_| panic!("not within {TOLD_WITHIN:?}\n{told}")).unwrap();
    assert!(ended.success(), "{ended}\n{told}");
}

/// gcloud with a directory of its own, which asks nobody.
fn gcloud(place: &Path) -> [(&'static str, String); 4] {
    [
        ("CLOUDSDK_CONFIG", place.join("gcloud").display().to_string()),
        ("CLOUDSDK_CORE_PROJECT", PROJECT.to_owned()),
        ("CLOUDSDK_CORE_DISABLE_PROMPTS", "1".to_owned()),
        ("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "true".to_owned()),
    ]
}

/// An installation where something has happened: dead letters of both roles, and a run that has failed, and goes on
/// for a while if it is tried again.
struct Eventful {
    world: World,
    run: RunId,
    health: String,
    _directory: TempDir,
}

impl Eventful {
    async fn start() -> Self {
        let (code, directory) =
            (Arc::new(AtomicU16::new(UNAVAILABLE)), tempfile::tempdir().unwrap());
        let [port] = free_ports();
        let health = format!("127.0.0.1:{port}");
        let world = World::start_refusing(code.clone(), json!({"listen": health})).await;
        let unread = world.request("unread", &json!([world.artifact("a.csv", "1")]), "true");
        world.publish(unread.to_string()).await;
        assert_eq!(world.dead_letter().await.reason, "unavailable");
        code.store(0, Ordering::SeqCst);
        world.publish("train something, please").await;
        let publisher = Publisher::connect(world.google()).await.unwrap();
        let message = Message { data: "no event".into(), ..Message::default() };
        publisher.publish(&topic(PROJECT, "run-events"), message).await.unwrap();
        for _ in 0..2 {
            assert_eq!(world.dead_letter().await.reason, "does-not-decode");
        }
        let tried = directory.path().join("tried");
        let script = format!("mkdir {} && exit 3; exec sleep 100", tried.display());
        let request = world.request("iris", &json!([]), &script);
        world.publish(request.to_string()).await;
        world.ended(&request, 1).await;
        Self { run: run_id(&request), world, health, _directory: directory }
    }

    /// Has the run go on.
    async fn try_again(&self) {
        let Self { world, run, .. } = self;
        let told = world.branchline(&["runs", "retry", run.as_str(), "--reason", "to go on"]).await;
        assert_eq!(told.code, 0, "{}", told.stderr);
        eventually("it trains", async || {
            let history = world.store.load(world.project_id, run).await.unwrap()?;
            (history.run.state == State::Running).then_some(())
        })
        .await;
    }

    async fn tell(&self, path: &str) {
        let (count, story) = story(path);
        let Self { world, run, health, .. } = self;
        let mut environment = variables();
        environment.extend(world.stack.exports());
        environment.extend(world.environment());
        // Of several values the last counts.
        environment.extend([
            ("RUN", run.to_string()),
            ("SHA", world.job.sha.clone()),
            ("WORKER_HEALTH", health.clone()),
        ]);
        tell(&story, environment).await;
        println!("{path}: {count} blocks of commands ran");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_an_installation_can_be_done_to_one() {
    let here = blocks().into_iter().filter(|it| it.language == "sh" && it.needs().is_none());
    let mut paths: Vec<_> = here.map(|it| it.path).filter(|it| it != QUICKSTART).collect();
    paths.dedup();
    let at = Eventful::start().await;
    for path in paths {
        if path == DISASTER {
            at.try_again().await;
        }
        at.tell(&path).await;
    }
    at.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quickstart_is_an_installation_on_one_machine() {
    // The stack's usual ports, and those of the roles beside it.
    let taken = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_err();
    if let Some(port) = (8083..=8089).chain([4443]).find(taken) {
        println!("skipped: the quickstart, because something listens on port {port}");
        return;
    }
    let (count, story) = story(QUICKSTART);
    tell(&story, Vec::new()).await;
    println!("{QUICKSTART}: {count} blocks of commands ran");
}
