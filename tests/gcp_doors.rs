//! The doors of `branchline-gcp` against the embedded stack, over its sockets.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

#[path = "gcp_doors/jobs.rs"]
mod jobs;
#[path = "gcp_doors/logging.rs"]
mod logging;
#[path = "gcp_doors/pubsub.rs"]
mod pubsub;
#[path = "gcp_doors/storage.rs"]
mod storage;
#[path = "gcp_doors/vertex.rs"]
mod vertex;

use axum::Router;
use branchline_gcp::{Config, Credentials};
use tokio::net::TcpListener;

/// Serves one service of the stack, and says where every door finds it.
async fn serve(router: Router) -> Config {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Config {
        credentials: Credentials::Anonymous,
        pubsub_endpoint: Some(endpoint.clone()),
        storage_endpoint: Some(endpoint.clone()),
        vertex_endpoint: Some(endpoint.clone()),
        logging_endpoint: Some(endpoint),
        ..Config::default()
    }
}
