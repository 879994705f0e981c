//! Starts the four services on loopback and stops them together.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::gitlab::GitLab;
use crate::pubsub::PubSub;
use crate::storage::Storage;
use crate::vertex::Vertex;

/// How long open connections may take to end.
const GRACE: Duration = Duration::from_secs(2);

/// Where the stack listens and keeps its data.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Directory that survives the stack; in memory without one.
    pub data_dir: Option<PathBuf>,
    /// Ports on loopback, each 0 for a free one.
    pub ports: Ports,
}

/// A port for each service.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    /// Pub/Sub, gRPC and REST.
    pub pubsub: u16,
    /// Cloud Storage, JSON and gRPC.
    pub storage: u16,
    /// Vertex AI.
    pub vertex: u16,
    /// GitLab.
    pub gitlab: u16,
}

/// The running services.
pub struct Stack {
    /// Pub/Sub.
    pub pubsub: PubSub,
    /// Cloud Storage.
    pub storage: Storage,
    /// Vertex AI.
    pub vertex: Vertex,
    /// GitLab.
    pub gitlab: GitLab,
    /// Where they listen.
    pub ports: Ports,
    servers: JoinSet<io::Result<()>>,
    stop: CancellationToken,
}

impl Stack {
    /// Binds the ports and opens the services.
    pub async fn start(options: Options) -> io::Result<Self> {
        let Options { data_dir, ports } = options;
        let directory = |name: &str| -> io::Result<Option<PathBuf>> {
            let directory = data_dir.as_ref().map(|it| it.join(name));
            directory.as_ref().map_or(Ok(()), std::fs::create_dir_all)?;
            Ok(directory)
        };
        // Bound before anything is opened: a second stack must not touch the first one's data.
        let (pubsub_at, storage_at) = (bind(ports.pubsub).await?, bind(ports.storage).await?);
        let (vertex_at, gitlab_at) = (bind(ports.vertex).await?, bind(ports.gitlab).await?);
        let port = |it: &TcpListener| it.local_addr().map(|it| it.port());
        let ports = Ports {
            pubsub: port(&pubsub_at)?,
            storage: port(&storage_at)?,
            vertex: port(&vertex_at)?,
            gitlab: port(&gitlab_at)?,
        };
        let pubsub = PubSub::open(directory("pubsub")?.as_deref())?;
        let storage = Storage::open(directory("storage")?.as_deref())?;
        storage.set_external_url(&format!("http://127.0.0.1:{}", ports.storage));
        let vertex = Vertex::open(directory("vertex")?.as_deref(), storage.clone())?;
        let gitlab = GitLab::open(directory("gitlab")?.as_deref())?;
        gitlab.set_external_url(&format!("http://127.0.0.1:{}", ports.gitlab));

        let (stop, mut servers) = (CancellationToken::new(), JoinSet::new());
        let served = [
            (pubsub_at, pubsub.router()),
            (storage_at, storage.router()),
            (vertex_at, vertex.router()),
            (gitlab_at, gitlab.router()),
        ];
        for (listener, router) in served {
            servers.spawn(serve(listener, router, stop.clone()));
        }
        Ok(Self { pubsub, storage, vertex, gitlab, ports, servers, stop })
    }

    /// The environment in which other people's clients, and ours, find the stack.
    pub fn exports(&self) -> Vec<(&'static str, String)> {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let (pubsub, storage) = (url(self.ports.pubsub), url(self.ports.storage));
        let vertex = url(self.ports.vertex);
        vec![
            ("PUBSUB_EMULATOR_HOST", format!("127.0.0.1:{}", self.ports.pubsub)),
            ("STORAGE_EMULATOR_HOST", storage.clone()),
            ("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true".to_owned()),
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB", format!("{pubsub}/")),
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE", format!("{storage}/storage/v1/")),
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM", format!("{vertex}/")),
            ("BRANCHLINE_CREDENTIALS", "anonymous".to_owned()),
            ("BRANCHLINE_PUBSUB_ENDPOINT", pubsub),
            ("BRANCHLINE_STORAGE_ENDPOINT", storage),
            ("BRANCHLINE_VERTEX_ENDPOINT", vertex),
            ("BRANCHLINE_GITLAB_ENDPOINT", url(self.ports.gitlab)),
            ("BRANCHLINE_GITLAB_TOKEN", self.gitlab.token()),
        ]
    }

    /// Ends streams, stops training processes and closes the ports.
    pub async fn shutdown(mut self) {
        self.pubsub.shutdown();
        self.vertex.shutdown().await;
        self.stop.cancel();
        let drained = async { while self.servers.join_next().await.is_some() {} };
        // A client that keeps its connection open does not keep the stack up.
        if tokio::time::timeout(GRACE, drained).await.is_err() {
            self.servers.shutdown().await;
        }
    }
}

/// Loopback only: what is behind the ports runs commands for whoever asks.
async fn bind(port: u16) -> io::Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("listening on {address}: {error}")))
}

async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}
