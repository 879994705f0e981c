//! `branchline fetch` over sockets: the model that the run left, or nothing.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Output;

use branchline_ledger::History;
use branchline_local::installation::{LEDGER, OUTPUT};
use branchline_tests::processes::executable;
use branchline_tests::world::World;
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

/// What `branchline fetch` does in a directory.
async fn fetch(world: &World, directory: &Path, args: &[&str]) -> Output {
    let storage = format!("http://{}", world.stack.endpoints().storage);
    let fetch = Command::new(executable())
        .args(["fetch", "--ledger-bucket", LEDGER])
        .args(args)
        .current_dir(directory)
        .env("BRANCHLINE_CREDENTIALS", "anonymous")
        .env("BRANCHLINE_STORAGE_ENDPOINT", storage)
        .output()
        .await;
    fetch.unwrap()
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
