//! `branchline publish` against Cloud Storage and Pub/Sub on loopback.
#![cfg(feature = "local")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::process::Stdio;

use branchline_contract::{Outcome, RunId, Sha256};
use branchline_ledger::{Body, Ending, Fact};
use branchline_local::faults::Dice;
use branchline_local::pubsub::PubSub;
use branchline_local::storage::Storage;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

const CONFIG: &str = r#"
project: demo-project
region: europe-west4
bucket: demo-artifacts
topic: projects/demo-project/topics/artifact-ready
ledger: demo-ledger
artifacts_max: 3
runs:
  iris:
    artifacts:
      code: {path: train.sh}
      data: {path: "data/**"}
      lake: {uri: SOURCE}
    training:
      custom_job: {displayName: iris, jobSpec: {}}
"#;

struct Cloud {
    storage: Storage,
    storage_endpoint: String,
    pubsub_endpoint: String,
    repository: TempDir,
}

struct Published {
    success: bool,
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

async fn serve(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

impl Cloud {
    async fn start() -> Self {
        let (storage, pubsub) =
            (Storage::open(None).unwrap(), PubSub::open(None, Dice::default()).unwrap());
        for bucket in ["demo-artifacts", "demo-lake", "demo-ledger"] {
            storage.create_bucket(bucket).unwrap();
        }
        for name in ["part-1", "part-2", "deep/part-3", "deep/"] {
            storage.put("demo-lake", &format!("rows/{name}"), name.as_bytes().to_vec()).unwrap();
        }
        pubsub.create_topic("projects/demo-project/topics/artifact-ready").unwrap();
        let repository = tempfile::tempdir().unwrap();
        fs::create_dir_all(repository.path().join("data/deep")).unwrap();
        fs::write(repository.path().join("train.sh"), "exit 0\n").unwrap();
        fs::write(repository.path().join("data/a.csv"), "1,2\n").unwrap();
        fs::write(repository.path().join("data/deep/b.csv"), "3,4\n").unwrap();
        Self {
            storage_endpoint: serve(storage.router()).await,
            pubsub_endpoint: serve(pubsub.router()).await,
            storage,
            repository,
        }
    }

    fn command(&self, source: &str, arguments: &[&str]) -> Command {
        let config = self.repository.path().join("branchline.yaml");
        fs::write(config, CONFIG.replace("SOURCE", source)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_branchline"));
        command
            .arg("publish")
            .args(arguments)
            .current_dir(self.repository.path())
            .env_clear()
            .env("BRANCHLINE_CREDENTIALS", "anonymous")
            .env("BRANCHLINE_STORAGE_ENDPOINT", &self.storage_endpoint)
            .env("BRANCHLINE_PUBSUB_ENDPOINT", &self.pubsub_endpoint)
            .env("CI_SERVER_URL", "https://gitlab.example.com")
            .env("CI_PROJECT_ID", "42")
            .env("CI_PROJECT_PATH", "ml/iris")
            .env("CI_COMMIT_SHA", "1111111111111111111111111111111111111111")
            .env("CI_COMMIT_REF_NAME", "main")
            .env("CI_PIPELINE_ID", "7")
            .env("CI_JOB_ID", "70")
            .env("BRANCHLINE_ID_TOKEN", "header.claims.signature")
            .stdin(Stdio::null());
        command
    }

    async fn publish(&self, source: &str, arguments: &[&str]) -> Published {
        let output = self.command(source, arguments).output().await.unwrap();
        Published {
            success: output.status.success(),
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Writes the ledger of the run that `publish` will ask for.
    async fn record(&self, source: &str, bodies: impl FnOnce(Body) -> Vec<Body>) {
        let shown = self.publish(source, &["--dry-run"]).await.stdout;
        let message: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let request = serde_json::from_value(message["data"].clone()).unwrap();
        let (run, digest) = RunId::derive(&request);
        let requested = Body::Requested {
            request: Box::new(request),
            digest,
            asked_at: jiff::Timestamp::UNIX_EPOCH,
        };
        let mut previous = None;
        for (sequence, body) in (0..).zip(bodies(requested)) {
            let bytes = Fact {
                sequence,
                previous,
                nonce: String::new(),
                time: jiff::Timestamp::UNIX_EPOCH,
                actor: "worker".to_owned(),
                cause: "test".to_owned(),
                attempt: 1,
                trace: None,
                body,
            }
            .encode();
            previous = Some(Sha256::of(&bytes));
            let name = format!("runs/42/{run}/{sequence:06}.json");
            self.storage.put("demo-ledger", &name, bytes).unwrap();
        }
    }

    fn objects(&self) -> Vec<String> {
        self.storage.list("demo-artifacts", "").into_iter().map(|it| it.name).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_uploaded_is_named_by_its_content_and_uploaded_once() {
    let cloud = Cloud::start().await;
    let first = cloud.publish("gs://demo-lake/rows/part-1", &["--dotenv", "out.env"]).await;
    assert!(first.success, "{}", first.stderr);
    assert!(first.stderr.contains("published message"), "{}", first.stderr);
    let objects = cloud.objects();
    assert_eq!(objects.len(), 3, "{objects:?}");
    assert!(objects[0].starts_with("sets/") && objects[0].ends_with("/a.csv"), "{objects:?}");
    assert!(objects[1].ends_with("/deep/b.csv"), "{objects:?}");
    assert!(objects[2].starts_with("sha256/") && objects[2].ends_with("/train.sh"), "{objects:?}");

    let again = cloud.publish("gs://demo-lake/rows/part-1", &[]).await;
    assert_eq!((again.success, &again.stdout), (true, &first.stdout), "{}", again.stderr);
    assert_eq!(cloud.objects(), objects);
    let dotenv = fs::read_to_string(cloud.repository.path().join("out.env")).unwrap();
    assert_eq!(dotenv, format!("BRANCHLINE_RUN_ID={}", first.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_name_with_other_content_is_an_error() {
    let cloud = Cloud::start().await;
    assert!(cloud.publish("gs://demo-lake/rows/part-1", &[]).await.success);
    let objects = cloud.objects();
    cloud.storage.put("demo-artifacts", &objects[2], b"forged".to_vec()).unwrap();
    let refused = cloud.publish("gs://demo-lake/rows/part-1", &[]).await;
    assert!(!refused.success);
    let expected = format!("artifact code: gs://demo-artifacts/{} exists with another", objects[2]);
    assert!(refused.stderr.contains(&expected), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_in_the_cloud_is_pinned_and_not_copied() {
    let cloud = Cloud::start().await;
    let cases = [
        ("gs://demo-lake/rows/part-2", Ok((None, vec!["rows/part-2"]))),
        ("gs://demo-lake/rows/part-*", Ok((Some("rows/"), vec!["rows/part-1", "rows/part-2"]))),
        ("gs://demo-lake/r*/deep/*", Ok((Some(""), vec!["rows/deep/part-3"]))),
        ("gs://demo-lake/rows/deep/", Ok((Some("rows/deep/"), vec!["rows/deep/part-3"]))),
        (
            "gs://demo-lake/rows/",
            Ok((Some("rows/"), vec!["rows/deep/part-3", "rows/part-1", "rows/part-2"])),
        ),
        ("gs://demo-lake/none/*", Err("artifact lake: no object matches gs://demo-lake/none/*")),
        ("gs://demo-lake/none", Err("artifact lake: looking up gs://demo-lake/none")),
    ];
    for (source, expected) in cases {
        let run = cloud.publish(source, &["--dry-run"]).await;
        let (directory, names) = match expected {
            Err(part) => {
                assert!(!run.success && run.stderr.contains(part), "{source}: {}", run.stderr);
                continue;
            }
            Ok(expected) => expected,
        };
        assert!(run.success, "{source}: {}", run.stderr);
        let message: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        let artifacts = message["data"]["artifacts"].as_array().unwrap();
        let pinned: Vec<_> = artifacts.iter().filter(|it| it["name"] == "lake").collect();
        let uris: Vec<_> = pinned.iter().map(|it| it["uri"].as_str().unwrap()).collect();
        let expected: Vec<_> = names.iter().map(|it| format!("gs://demo-lake/{it}")).collect();
        assert_eq!(uris, expected);
        let directory = directory.map(|it| format!("gs://demo-lake/{it}"));
        assert!(pinned.iter().all(|it| it["directory"].as_str() == directory.as_deref()));
        assert!(pinned.iter().all(|it| it["generation"].as_i64().unwrap() > 0));
    }
    cloud.storage.put("demo-lake", "rows/part-4", b"4".to_vec()).unwrap();
    let many = cloud.publish("gs://demo-lake/rows/", &["--dry-run"]).await;
    let expected = "gs://demo-lake/rows/** matches 4 objects or more, and artifacts_max is 3";
    assert!(many.stderr.contains(expected), "{}", many.stderr);
    assert_eq!(cloud.objects(), Vec::<String>::new(), "a dry run uploads nothing");
}

const PART: &str = "gs://demo-lake/rows/part-1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_ends_with_the_outcome_of_the_run() {
    let cloud = Cloud::start().await;
    let failed = Body::Finished(Ending {
        outcome: Outcome::Failed,
        reason: Some("the replica exited with 1".to_owned()),
        metrics: [].into(),
        model_uri: None,
        model_files: Vec::new(),
    });
    cloud.record(PART, |requested| vec![requested, failed]).await;
    let run = cloud.publish(PART, &["--wait", "--dotenv", "out.env"]).await;
    assert_eq!(run.code, Some(10), "{}", run.stderr);
    assert!(run.stderr.ends_with(" failed: the replica exited with 1\n"), "{}", run.stderr);
    let dotenv = fs::read_to_string(cloud.repository.path().join("out.env")).unwrap();
    assert!(dotenv.ends_with("\nBRANCHLINE_OUTCOME=failed\n"), "{dotenv}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_ends_with_its_time() {
    let cloud = Cloud::start().await;
    let run = cloud.publish(PART, &["--wait", "--timeout", "300ms"]).await;
    assert_eq!(run.code, Some(14), "{}", run.stderr);
    assert!(run.stderr.contains("the time to wait is over: run iris-"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_stops_the_waiting_and_not_the_run() {
    let cloud = Cloud::start().await;
    let mut command = cloud.command(PART, &["--wait"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.ends_with(" published") {
            break;
        }
    }
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    let last = lines.next_line().await.unwrap().unwrap();
    assert!(last.starts_with("stopped: run iris-") && last.contains("goes on"), "{last}");
    assert_eq!(child.wait().await.unwrap().code(), Some(143));
}
