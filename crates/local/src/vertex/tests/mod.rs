//! Stories over the HTTP router, with commands in POSIX shell.

mod api;
mod custom_jobs;
mod pipelines;
mod training;
mod tuning;

use std::path::Path;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::Service;

use super::Vertex;
use crate::faults::Dice;
use crate::storage::Storage;

/// The collections' parent in all tests, and its name in answers.
pub(super) const PARENT: &str = "/v1/projects/4711/locations/europe-west4";

/// A service over its own Storage.
pub(super) struct Stack {
    pub(super) vertex: Vertex,
    pub(super) storage: Storage,
}

impl Stack {
    pub(super) fn new() -> Self {
        let storage = Storage::open(None).unwrap();
        storage.create_bucket("bucket").unwrap();
        Self { vertex: Vertex::open(None, storage.clone(), Dice::default()).unwrap(), storage }
    }

    /// With jobs that survive it.
    pub(super) fn at(directory: &Path, storage: &Storage) -> Self {
        Self {
            vertex: Vertex::open(Some(directory), storage.clone(), Dice::default()).unwrap(),
            storage: storage.clone(),
        }
    }

    pub(super) async fn send(&self, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder().method(method).uri(path).body(body).unwrap();
        let response = self.vertex.router().call(request).await.unwrap();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send("GET", path, &Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    /// Creates a job and returns its path.
    pub(super) async fn create(&self, collection: &str, job: &Value) -> String {
        let (status, body) = self.send("POST", &format!("{PARENT}/{collection}"), job).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        format!("/v1/{}", body["name"].as_str().unwrap())
    }

    /// What the service says about a create that it refuses.
    pub(super) async fn refuse(&self, collection: &str, job: &Value) -> String {
        let (status, body) = self.send("POST", &format!("{PARENT}/{collection}"), job).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(body["error"]["status"], "INVALID_ARGUMENT", "{body}");
        body["error"]["message"].as_str().unwrap().to_owned()
    }

    pub(super) async fn cancel(&self, path: &str) {
        let (status, body) = self.send("POST", &format!("{path}:cancel"), &json!({})).await;
        assert_eq!((status, body), (StatusCode::OK, json!({})));
    }

    /// Waits until the job has ended.
    pub(super) async fn end(&self, path: &str) -> Value {
        self.until(path, |job| {
            let state = job["state"].as_str().unwrap();
            ["SUCCEEDED", "FAILED", "CANCELLED"].iter().any(|end| state.ends_with(end))
        })
        .await
    }

    /// Waits until the job is as wanted.
    pub(super) async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let job = self.get(path).await;
            if wanted(&job) {
                return job;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "still waiting: {job:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The text of an object.
    pub(super) fn object(&self, name: &str) -> Option<String> {
        let (_, bytes) = self.storage.get("bucket", name)?;
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    pub(super) fn put(&self, name: &str, text: &'static str) {
        self.storage.put("bucket", name, text).unwrap();
    }

    /// All that a job printed.
    pub(super) fn printed(&self, path: &str) -> String {
        let lines = self.vertex.logs(path.trim_start_matches("/v1/"));
        let lines: Vec<_> =
            lines.iter().map(|line| format!("{} {}\n", line.task, line.text)).collect();
        lines.concat()
    }
}

/// Waits until something holds.
pub(super) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A custom job's spec that runs a script.
pub(super) fn spec(script: &str) -> Value {
    json!({
        "workerPoolSpecs": [pool(script)],
        "baseOutputDirectory": {"outputUriPrefix": "gs://bucket/out"},
    })
}

/// A worker pool of one replica.
pub(super) fn pool(script: &str) -> Value {
    json!({
        "machineSpec": {"machineType": "n1-standard-4"},
        "replicaCount": "1",
        "containerSpec": {"imageUri": "image", "command": ["sh", "-euc", script, "script"]},
    })
}

pub(super) fn custom_job(script: &str) -> Value {
    json!({"displayName": "train", "jobSpec": spec(script)})
}
