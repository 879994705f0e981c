//! `branchline fetch` over sockets: the model that the run left, or nothing.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Output, Stdio};

use branchline_ledger::History;
use branchline_local::installation::{LEDGER, OUTPUT};
use branchline_tests::eventually::eventually;
use branchline_tests::processes::executable;
use branchline_tests::world::{World, run_id};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

/// Three files, one of them in a directory of its own.
const TRAIN: &str = r#"out="$CLOUD_STORAGE_MOUNT/${1#gs://}"; mkdir -p "$out/model/variables"
echo weights > "$out/model/model.txt"; echo 1 2 3 > "$out/model/variables/index"
echo part > "$out/model/model.txt.part""#;

/// Runs a script to its end.
async fn trained(world: &World, run: &str, script: &str) -> History {
    let request = world.request(run, &json!([world.artifact("a.csv", "1,2")]), script);
    world.publish(request.to_string()).await;
    world.ended(&request, 1).await
}

/// `branchline fetch` in a directory.
fn command(world: &World, directory: &Path, args: &[&str]) -> Command {
    let storage = format!("http://{}", world.stack.endpoints().storage);
    let mut command = Command::new(executable());
    command
        .args(["fetch", "--ledger-bucket", LEDGER])
        .args(args)
        .current_dir(directory)
        .env("BRANCHLINE_CREDENTIALS", "anonymous")
        .env("BRANCHLINE_STORAGE_ENDPOINT", storage)
        .kill_on_drop(true);
    command
}

/// What it does.
async fn fetch(world: &World, directory: &Path, args: &[&str]) -> Output {
    command(world, directory, args).output().await.unwrap()
}

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The name of a file of the model in the bucket of outputs.
fn object(history: &History, path: &str) -> String {
    let uri = history.run.ending().unwrap().model_uri.clone().unwrap();
    format!("{}{path}", uri.strip_prefix(&format!("gs://{OUTPUT}/")).unwrap())
}

/// Nothing but what was there is left of a fetch that came to nothing.
fn is_empty(directory: &TempDir) -> bool {
    std::fs::read_dir(directory.path()).unwrap().next().is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_of_a_run_or_a_commit_is_fetched_as_it_was_when_the_run_ended() {
    let world = World::start().await;
    let history = trained(&world, "iris", TRAIN).await;
    let (id, sha) = (history.run.id.to_string(), world.job.sha.clone());
    // What comes later belongs to no run.
    world.stack.storage.put(OUTPUT, &object(&history, "later.txt"), "x").unwrap();

    let directory = tempfile::tempdir().unwrap();
    let by_id = fetch(&world, directory.path(), &[&id, "--json"]).await;
    assert_eq!(said(&by_id), (Some(0), format!("{id}: 3 files, 19 B, verified, in model\n")));
    let model = directory.path().join("model");
    assert_eq!(std::fs::read_to_string(model.join("model.txt")).unwrap(), "weights\n");
    assert_eq!(std::fs::read_to_string(model.join("variables/index")).unwrap(), "1 2 3\n");
    assert_eq!(std::fs::read_to_string(model.join("model.txt.part")).unwrap(), "part\n");
    assert_eq!(std::fs::read_dir(&model).unwrap().count(), 3);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    let told = String::from_utf8(by_id.stdout).unwrap();
    let told: Vec<Value> = told.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let recorded = &history.run.ending().unwrap().model_files;
    for (told, recorded) in told.iter().zip(recorded) {
        let uri = format!("gs://{OUTPUT}/{}", recorded.object);
        assert_eq!((&told["uri"], &told["crc32c"]), (&json!(uri), &json!(recorded.crc32c)));
        assert_eq!(told["generation"], recorded.generation);
    }
    assert_eq!(told.len(), 3);

    // Another run of the commit needs a name; one that went wrong is not taken.
    trained(&world, "other", "exit 3").await;
    let project = world.project_id.to_string();
    let short = &sha[..8];
    let several = fetch(&world, directory.path(), &[short, "--output", "b"]).await;
    let (code, text) = said(&several);
    assert_eq!(code, Some(64), "{text}");
    let both = format!("iris of {sha} in team/iris; or other of {sha} in team/iris");
    assert!(text.contains(&both), "{text}");
    let named = [short, "--run", "iris", "--project", &project, "--output", "deep/b"];
    assert_eq!(said(&fetch(&world, directory.path(), &named).await).0, Some(0));
    assert!(directory.path().join("deep/b/variables/index").is_file());
    let failed = said(&fetch(&world, directory.path(), &[short, "--run", "other"]).await);
    assert_eq!(failed.0, Some(10), "{failed:?}");
    let elsewhere = [short, "--run", "iris", "--project", "999", "--output", "c"];
    assert_eq!(said(&fetch(&world, directory.path(), &elsewhere).await).0, Some(66));

    let foreign = [&*id, "--project", "team/other", "--output", "d"];
    assert_eq!(said(&fetch(&world, directory.path(), &foreign).await).0, Some(66));

    // What lies there already is not mixed with it.
    let (code, text) = said(&fetch(&world, directory.path(), &[&id]).await);
    assert_eq!((code, text.as_str()), (Some(73), "error: model is not empty\n"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_directory_is_filled_wherever_it_is() {
    let world = World::start().await;
    let id = trained(&world, "iris", TRAIN).await.run.id.to_string();
    let top = tempfile::tempdir().unwrap();
    let path = |name: &str| top.path().join(name);
    for name in ["here", "there", "elsewhere", "killed/.branchline-fetch-0123/model"] {
        std::fs::create_dir_all(path(name)).unwrap();
    }
    symlink("elsewhere", path("link")).unwrap();
    symlink("nowhere", path("broken")).unwrap();
    let cases = [
        ("here", ".", "here"),
        ("", "there", "there"),
        ("", "link", "elsewhere"),
        // Somebody killed the fetch before.
        ("", "killed", "killed"),
    ];
    let count = |directory: &Path| std::fs::read_dir(directory).unwrap().count();
    for (from, output, directory) in cases {
        let done = said(&fetch(&world, &path(from), &[&id, "--output", output]).await);
        assert_eq!(done.0, Some(0), "{output}: {done:?}");
        assert!(path(directory).join("variables/index").is_file(), "{output}");
        assert_eq!(count(&path(directory)), 3, "{output}");
    }
    let nowhere = said(&fetch(&world, top.path(), &[&id, "--output", "broken"]).await);
    assert_eq!(nowhere.0, Some(73), "{nowhere:?}");
    assert!(path("link").is_symlink());
    assert_eq!(count(top.path()), 6);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_is_stopped_leaves_nothing() {
    let world = World::start().await;
    let id = trained(&world, "iris", TRAIN).await.run.id.to_string();
    let slow = json!({
        "service": "storage", "method": "GET", "path": "variables", "fault": {"delay_ms": 600_000},
    });
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        world.stack.dice.set(serde_json::from_value(json!({"rules": [slow]})).unwrap());
        let directory = tempfile::tempdir().unwrap();
        let mut fetch = command(&world, directory.path(), &[&id]);
        let fetch = fetch.stderr(Stdio::piped()).spawn().unwrap();
        eventually("a file is under way", async || (world.stack.dice.hits() == [1]).then_some(()))
            .await;
        assert!(!is_empty(&directory));
        let process = Pid::from_raw(fetch.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(process, signal).unwrap();
        let (ended, text) = said(&fetch.wait_with_output().await.unwrap());
        assert_eq!(ended, Some(code), "{text}");
        assert_eq!(text, "stopped: nothing of the model is left here\n");
        assert!(is_empty(&directory));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_with_runs_in_two_projects_needs_one_of_them() {
    let world = World::start().await;
    trained(&world, "iris", TRAIN).await;
    let gitlab = &world.stack.gitlab;
    let fork = gitlab.create_project("team/fork", "main", &[("README.md", b"iris")]).unwrap();
    let mut request = world.request("iris", &json!([world.artifact("a.csv", "1,2")]), TRAIN);
    request["gitlab"]["project_id"] = fork.into();
    request["gitlab"]["project_path"] = "team/fork".into();
    request["gitlab"].as_object_mut().unwrap().remove("merge_request");
    world.publish(request.to_string()).await;
    eventually("the fork's run ends", async || {
        let history = world.store.load(fork, &run_id(&request)).await.unwrap()?;
        history.run.ending().is_some().then_some(())
    })
    .await;

    let directory = tempfile::tempdir().unwrap();
    let sha = world.job.sha.as_str();
    let (code, text) = said(&fetch(&world, directory.path(), &[sha]).await);
    assert_eq!(code, Some(64), "{text}");
    let both = format!("iris of {sha} in team/fork; or iris of {sha} in team/iris");
    assert!(text.contains(&both), "{text}");
    assert!(is_empty(&directory));
    let named = [sha, "--project", "team/fork"];
    assert_eq!(said(&fetch(&world, directory.path(), &named).await).0, Some(0));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_not_what_it_was_is_not_fetched_at_all() {
    let world = World::start().await;
    let history = trained(&world, "iris", TRAIN).await;
    let changed = object(&history, "variables/index");
    world.stack.storage.put(OUTPUT, &changed, "6 6 6\n").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (code, text) = said(&fetch(&world, directory.path(), &[history.run.id.as_str()]).await);
    assert_eq!(code, Some(65), "{text}");
    assert!(text.contains("variables/index is not what it was when the run ended"), "{text}");
    assert!(is_empty(&directory));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_too_many_files_ends_its_run_and_is_not_on_record() {
    let world = World::start().await;
    let many = r#"out="$CLOUD_STORAGE_MOUNT/${1#gs://}"; mkdir -p "$out/model"; i=0
while [ $i -lt 1001 ]; do : > "$out/model/$i"; i=$((i + 1)); done"#;
    let history = trained(&world, "iris", many).await;
    let ending = history.run.ending().unwrap();
    let reason = ending.reason.as_deref().unwrap_or_default();
    assert!(reason.contains("more than 1000 files"), "{ending:?}");
    let directory = tempfile::tempdir().unwrap();
    let (code, text) = said(&fetch(&world, directory.path(), &[history.run.id.as_str()]).await);
    assert_eq!(code, Some(65), "{text}");
    assert!(text.contains("gcloud storage cp"), "{text}");
    assert!(is_empty(&directory));
    world.stop().await;
}
