//! A worker and a notifier within the process of a test, and as whom they work.

use branchline_gcp::{Config, Credentials};
use branchline_local::iam::Resource;
use branchline_local::installation::{self, PROJECT};
use branchline_local::stack::{Endpoints, Stack};
use branchline_service::health;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const GRANTS: &str = include_str!("../../deploy/grants.yaml");

pub(crate) fn extend(config: &mut Value, more: Value) {
    let more: serde_json::Map<_, _> = serde_json::from_value(more).expect("keys and values");
    config.as_object_mut().expect("it has keys").extend(more);
}

pub(crate) fn worker(
    google: &Config,
    more: Value,
    token: String,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let mut config = installation::worker(json!({
        "verify_sha256": true,
        "tick": "50ms",
        "settle": "1s",
        "listen": "127.0.0.1:0",
        "google": endpoints(google),
    }));
    extend(&mut config, more);
    let config: branchline_worker::Config =
        serde_json::from_value(config).expect("the worker's configuration is one");
    let (token, stop) = (SecretString::from(token), stop.clone());
    tokio::spawn(async move {
        let listener = health::listen(config.listen).await.expect("a free port");
        branchline_worker::run(config, Some(token), listener, stop).await.expect("it runs");
    })
}

pub(crate) fn notifier(
    google: &Config,
    gitlab: &str,
    listen: &str,
    token: String,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let config = installation::notifier(json!({
        "gitlab": gitlab,
        "merge_requests": {
            "queue_bucket": installation::QUEUE,
            "request_bucket": installation::REQUESTS,
            "poll": "1s",
        },
        "listen": listen,
        "google": endpoints(google),
    }));
    let config: branchline_notifier::Config =
        serde_json::from_value(config).expect("the notifier's configuration is one");
    let (token, stop) = (SecretString::from(token), stop.clone());
    tokio::spawn(async move {
        let listener = health::listen(config.listen).await.expect("a free port");
        branchline_notifier::run(config, token, listener, stop).await.expect("it runs");
    })
}

/// What a role is told of Google, as its file has it.
pub fn endpoints(google: &Config) -> Value {
    let anonymous = google.credentials == Credentials::Anonymous;
    json!({
        "credentials": if anonymous { "anonymous" } else { "application_default" },
        "metadata_endpoint": google.metadata_endpoint,
        "pubsub_endpoint": google.pubsub_endpoint,
        "storage_endpoint": google.storage_endpoint,
        "vertex_endpoint": google.vertex_endpoint,
    })
}

/// Address of an account of the installation.
pub fn account(id: &str) -> String {
    format!("{id}@{PROJECT}.iam.gserviceaccount.com")
}

/// Gives every account what it needs, and the owner everything.
pub fn grant(stack: &Stack) {
    grant_these(stack, GRANTS);
}

/// The same by another text than `deploy/grants.yaml`.
pub fn grant_these(stack: &Stack, grants: &str) {
    let number = stack.iam.create_project(PROJECT);
    let trainer = format!("{number}-compute@developer.gserviceaccount.com");
    installation::grant(stack, PROJECT, grants, &trainer).expect("the roles are granted");
    let owner = stack.iam.create_service_account(PROJECT, "owner");
    let (project, member) = (Resource::project(PROJECT), format!("serviceAccount:{owner}"));
    stack.iam.bind(&project, "roles/owner", &member).expect("the owner owns");
}

/// Makes another account that may do what the worker may.
pub(crate) fn grant_worker(stack: &Stack, id: &str) {
    let rows = GRANTS.split_once("\nworker:\n").expect("there is a worker").1;
    let rows = rows.split("\n\n").next().unwrap_or_default();
    grant_these(stack, &format!("{id}:\n{rows}\n"));
}

/// Where the clients of an account find the stack.
pub async fn google(stack: &Stack, id: &str, enforced: bool) -> Config {
    let Endpoints { pubsub, storage, vertex, .. } = stack.endpoints();
    let metadata = if enforced {
        let server = stack.metadata_server(&account(id)).await.expect("a port is free");
        Some(format!("http://{server}"))
    } else {
        None
    };
    Config {
        credentials: if enforced {
            Credentials::ApplicationDefault
        } else {
            Credentials::Anonymous
        },
        metadata_endpoint: metadata,
        pubsub_endpoint: Some(format!("http://{pubsub}")),
        storage_endpoint: Some(format!("http://{storage}")),
        vertex_endpoint: Some(format!("http://{vertex}")),
        ..Config::default()
    }
}
