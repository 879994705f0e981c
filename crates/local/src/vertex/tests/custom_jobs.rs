//! Custom jobs: how they run, what they see, how they end.

use std::time::Instant;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{PARENT, Stack, custom_job, eventually, pool};
use crate::storage::Storage;

#[tokio::test]
async fn a_job_reads_its_input_and_leaves_its_model_in_storage() {
    let stack = Stack::new();
    stack.put("data/iris.csv", "5.1,3.5\n");
    let mut job = custom_job(
        r#"mkdir -p "${CLOUD_STORAGE_MOUNT:-/gcs}/${AIP_MODEL_DIR#gs://}"
           cp "$1" "${CLOUD_STORAGE_MOUNT:-/gcs}/${AIP_MODEL_DIR#gs://}model.txt"
           cat "${CLOUD_STORAGE_MOUNT:-/gcs}/${DATA#gs://}/iris.csv"
           echo "$CLOUD_ML_PROJECT_ID" >&2"#,
    );
    job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"] =
        json!(["/gcs/bucket/data/iris.csv"]);
    job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["env"] =
        json!([{"name": "DATA", "value": "gs://bucket/data"}]);

    let path = stack.create("customJobs", &job).await;
    let ended = stack.end(&path).await;

    assert_eq!(ended["state"], "JOB_STATE_SUCCEEDED", "{}", stack.printed(&path));
    assert_eq!(stack.object("out/model/model.txt").unwrap(), "5.1,3.5\n");
    assert!(stack.printed(&path).contains("workerpool0-0 5.1,3.5\n"));
    assert!(stack.printed(&path).contains("workerpool0-0 4711\n"));
    for time in ["createTime", "startTime", "endTime", "updateTime"] {
        assert!(ended[time].is_string(), "{time}");
    }
    assert_eq!(ended["error"], Value::Null);
}

#[tokio::test]
async fn a_process_inherits_nothing_but_path_and_home() {
    let stack = Stack::new();
    let path = stack.create("customJobs", &custom_job("env")).await;
    stack.end(&path).await;
    let printed = stack.printed(&path);
    let mut names: Vec<_> = printed
        .lines()
        .map(|line| line.trim_start_matches("workerpool0-0 ").split('=').next().unwrap())
        // The shell's own.
        .filter(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name))
        .collect();
    names.sort_unstable();
    let expected = [
        "AIP_CHECKPOINT_DIR",
        "AIP_MODEL_DIR",
        "AIP_TENSORBOARD_LOG_DIR",
        "CLOUD_ML_JOB_ID",
        "CLOUD_ML_PROJECT_ID",
        "CLOUD_STORAGE_MOUNT",
        "CLUSTER_SPEC",
        "HOME",
        "PATH",
    ];
    assert_eq!(names, expected);
    assert!(printed.contains("AIP_CHECKPOINT_DIR=gs://bucket/out/checkpoints/\n"));
}

#[tokio::test]
async fn outputs_become_objects_while_the_job_runs() {
    let stack = Stack::new();
    let script = r#"mkdir -p "$CLOUD_STORAGE_MOUNT/bucket/out"
        echo half > "$CLOUD_STORAGE_MOUNT/bucket/out/progress"
        exec sleep 60"#;
    let path = stack.create("customJobs", &custom_job(script)).await;
    eventually("the first half is stored", || stack.object("out/progress").is_some()).await;
    assert_eq!(stack.get(&path).await["state"], "JOB_STATE_RUNNING");
    stack.vertex.shutdown().await;
}

#[tokio::test]
async fn a_failed_command_fails_the_job_with_its_status() {
    let stack = Stack::new();
    let cases = [("exit 3", 3), ("kill -9 $$", 137), ("definitely-not-a-command", 127)];
    for (script, status) in cases {
        let path = stack.create("customJobs", &custom_job(script)).await;
        let job = stack.end(&path).await;
        let id = path.rsplit('/').next().unwrap();
        assert_eq!(job["state"], "JOB_STATE_FAILED", "{script}");
        let message = job["error"]["message"].as_str().unwrap();
        let start = format!(
            "The replica workerpool0-0 exited with a non-zero status of {status}. To find out more"
        );
        assert!(message.starts_with(&start), "{script}: {message}");
        assert!(
            message.contains(&format!("?project=4711&resource=ml_job%2Fjob_id%2F{id}&")),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_program_that_does_not_exist_fails_the_job() {
    let stack = Stack::new();
    let mut job = custom_job("");
    job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["command"] = json!(["/no/such/program"]);
    let path = stack.create("customJobs", &job).await;
    let message = stack.end(&path).await["error"]["message"].to_string();
    assert!(message.contains("status of 127"), "{message}");
    assert!(stack.printed(&path).contains("/no/such/program"));
}

#[tokio::test]
async fn a_cancelled_job_stops_with_everything_it_started() {
    let stack = Stack::new();
    // The child ignores SIGTERM and would hold on for a minute.
    let script = r#"(trap '' TERM; sleep 60) & echo "child $!"; wait"#;
    let path = stack.create("customJobs", &custom_job(script)).await;
    eventually("the child has started", || stack.printed(&path).contains("child")).await;

    stack.cancel(&path).await;
    let job = stack.end(&path).await;

    assert_eq!(job["state"], "JOB_STATE_CANCELLED");
    assert_eq!(job["error"]["code"], 1);
    let printed = stack.printed(&path);
    let child = printed.trim().rsplit(' ').next().unwrap().to_owned();
    eventually("the child is gone", || !is_running(&child)).await;
    // A cancel of what has ended changes nothing.
    stack.cancel(&path).await;
    assert_eq!(stack.get(&path).await, job);
}

/// A killed process may remain as a zombie where nobody reaps it.
fn is_running(pid: &str) -> bool {
    let output =
        std::process::Command::new("ps").args(["-o", "stat=", "-p", pid]).output().unwrap();
    let state = String::from_utf8(output.stdout).unwrap();
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

#[tokio::test]
async fn what_a_finished_command_left_running_is_stopped() {
    let stack = Stack::new();
    let path = stack.create("customJobs", &custom_job(r#"sleep 60 & echo "child $!""#)).await;
    let job = stack.end(&path).await;
    assert_eq!(job["state"], "JOB_STATE_SUCCEEDED");
    let printed = stack.printed(&path);
    let child = printed.trim().rsplit(' ').next().unwrap().to_owned();
    eventually("the child is gone", || !is_running(&child)).await;
}

#[tokio::test]
async fn a_job_that_exceeds_its_timeout_fails() {
    let stack = Stack::new();
    let mut job = custom_job("exec sleep 60");
    job["jobSpec"]["scheduling"] = json!({"timeout": "0.2s"});
    let path = stack.create("customJobs", &job).await;
    let job = stack.end(&path).await;
    assert_eq!(job["state"], "JOB_STATE_FAILED");
    assert_eq!(job["error"]["message"], "The job exceeded its timeout of 0.2 seconds.");
}

#[tokio::test]
async fn an_output_for_a_missing_bucket_fails_the_job() {
    let stack = Stack::new();
    let script = r#"mkdir -p "$CLOUD_STORAGE_MOUNT/no-such-bucket"; echo x > "$CLOUD_STORAGE_MOUNT/no-such-bucket/model""#;
    let path = stack.create("customJobs", &custom_job(script)).await;
    let job = stack.end(&path).await;
    assert_eq!(job["state"], "JOB_STATE_FAILED");
    let message = job["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("storing gs://no-such-bucket/model: "), "{message}");
}

#[tokio::test]
async fn replicas_know_each_other_and_end_with_their_chief() {
    let stack = Stack::new();
    let mut job = custom_job(
        r#"echo "$CLUSTER_SPEC"; until test -e "$CLOUD_STORAGE_MOUNT/bucket/ready"; do sleep 0.01; done"#,
    );
    let mut workers = pool(
        r#"echo "$CLUSTER_SPEC"; mkdir -p "$CLOUD_STORAGE_MOUNT/bucket"; touch "$CLOUD_STORAGE_MOUNT/bucket/ready"; exec sleep 60"#,
    );
    workers["replicaCount"] = json!(2);
    job["jobSpec"]["workerPoolSpecs"].as_array_mut().unwrap().push(workers);
    let path = stack.create("customJobs", &job).await;
    assert_eq!(stack.end(&path).await["state"], "JOB_STATE_SUCCEEDED", "{}", stack.printed(&path));

    let printed = stack.printed(&path);
    let chief = printed.lines().find_map(|line| line.strip_prefix("workerpool0-0 ")).unwrap();
    let cluster: Value = serde_json::from_str(chief).unwrap();
    assert_eq!(cluster["cluster"]["workerpool0"].as_array().unwrap().len(), 1);
    assert_eq!(cluster["cluster"]["workerpool1"].as_array().unwrap().len(), 2);
    assert_eq!(cluster["task"], json!({"type": "workerpool0", "index": 0}));
}

#[tokio::test]
async fn one_failed_replica_fails_the_job() {
    let stack = Stack::new();
    let mut job = custom_job("exec sleep 60");
    job["jobSpec"]["workerPoolSpecs"].as_array_mut().unwrap().push(pool("exit 7"));
    let path = stack.create("customJobs", &job).await;
    let message = stack.end(&path).await["error"]["message"].to_string();
    assert!(
        message.contains("The replica workerpool1-0 exited with a non-zero status of 7."),
        "{message}"
    );
}

#[tokio::test]
async fn a_shutdown_stops_processes_and_a_restart_runs_their_jobs_again() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::open(None).unwrap();
    storage.create_bucket("bucket").unwrap();
    let stack = Stack::at(directory.path(), &storage);
    let finished = stack.create("customJobs", &custom_job("true")).await;
    let finished_job = stack.end(&finished).await;
    // It goes on only where it finds what another execution left in its checkpoint directory.
    let script = r#"dir="$CLOUD_STORAGE_MOUNT/${AIP_CHECKPOINT_DIR#gs://}"; mkdir -p "$dir"
        if test -e "$dir/step"; then exit 0; fi
        echo 1 > "$dir/step"; echo "started $$"; exec sleep 60"#;
    let live = stack.create("customJobs", &custom_job(script)).await;
    eventually("the job has started", || stack.printed(&live).contains("started")).await;
    let printed = stack.printed(&live);
    let pid = printed.trim().rsplit(' ').next().unwrap().to_owned();
    let cancelling = stack
        .create("customJobs", &custom_job("trap '' TERM; echo ready; sleep 60; sleep 60"))
        .await;
    eventually("the stubborn job has started", || stack.printed(&cancelling).contains("ready"))
        .await;
    stack.cancel(&cancelling).await;

    let started = Instant::now();
    stack.vertex.shutdown().await;
    assert!(started.elapsed().as_secs() < 5);
    assert!(!is_running(&pid));
    assert_eq!(stack.get(&live).await["state"], "JOB_STATE_RUNNING");
    drop(stack);

    let stack = Stack::at(directory.path(), &storage);
    assert_eq!(stack.end(&live).await["state"], "JOB_STATE_SUCCEEDED", "{}", stack.printed(&live));
    assert_eq!(stack.end(&cancelling).await["state"], "JOB_STATE_CANCELLED");
    assert_eq!(stack.get(&finished).await, finished_job);
}

#[tokio::test]
async fn a_job_can_be_deleted_once_it_has_ended() {
    let stack = Stack::new();
    let path = stack.create("customJobs", &custom_job("exec sleep 60")).await;
    let (status, body) = stack.send("DELETE", &path, &Value::Null).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body["error"]["status"], "FAILED_PRECONDITION");

    stack.cancel(&path).await;
    stack.end(&path).await;
    let (status, body) = stack.send("DELETE", &path, &Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["done"], true);
    assert_eq!(stack.send("GET", &path, &Value::Null).await.0, StatusCode::NOT_FOUND);
    assert_eq!(stack.get(&format!("{PARENT}/customJobs")).await, json!({"customJobs": []}));
}
