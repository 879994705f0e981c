//! Starts the services on loopback and stops them together.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::faults::{Dice, Faults, Service};
use crate::gitlab::GitLab;
use crate::guard::refuse_pages;
use crate::iam::Iam;
use crate::logging::Logging;
use crate::pubsub::PubSub;
use crate::storage::Storage;
use crate::vertex::Vertex;
use crate::wire::{Connection, Side, Sockets, Wire, pass};

/// How long open requests may take to end at shutdown.
const DRAIN: Duration = Duration::from_secs(2);

/// How to start the stack. Port 0 is any free one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where everything is kept; without it, in memory.
    pub data_dir: Option<PathBuf>,
    /// Port of Pub/Sub, gRPC and REST.
    pub pubsub_port: u16,
    /// Port of Cloud Storage, JSON and gRPC.
    pub storage_port: u16,
    /// Port of Vertex AI.
    pub vertex_port: u16,
    /// Port of GitLab.
    pub gitlab_port: u16,
    /// Port of IAM, STS and what else is Google's identity side.
    pub iam_port: u16,
    /// Port of Cloud Logging.
    pub logging_port: u16,
    /// Whether Google's services ask who sends a request, and whether they may.
    pub enforce_iam: bool,
    /// What goes wrong.
    pub faults: Faults,
    /// File to which a line is added for every request.
    pub wire_log: Option<PathBuf>,
}

/// Where the services listen: loopback only.
#[derive(Clone, Copy, Debug)]
pub struct Endpoints {
    /// Pub/Sub.
    pub pubsub: SocketAddr,
    /// Cloud Storage.
    pub storage: SocketAddr,
    /// Vertex AI.
    pub vertex: SocketAddr,
    /// GitLab.
    pub gitlab: SocketAddr,
    /// IAM, STS and what else is Google's identity side.
    pub iam: SocketAddr,
    /// Cloud Logging.
    pub logging: SocketAddr,
}

/// The running stack, with a handle on each service.
pub struct Stack {
    /// Pub/Sub.
    pub pubsub: PubSub,
    /// Cloud Storage.
    pub storage: Storage,
    /// Vertex AI.
    pub vertex: Vertex,
    /// GitLab.
    pub gitlab: GitLab,
    /// Google's identity side.
    pub iam: Iam,
    /// Cloud Logging.
    pub logging: Logging,
    /// What has gone wrong.
    pub dice: Dice,
    endpoints: Endpoints,
    servers: Mutex<JoinSet<io::Result<()>>>,
    wire: Wire,
    stop: CancellationToken,
}

impl Stack {
    /// Opens all services and listens. Training jobs that were interrupted run again.
    pub async fn start(options: Options) -> io::Result<Self> {
        // Ports first: one that is taken is told before anything is opened or run.
        let listen = async |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let listeners = [
            listen(options.pubsub_port).await?,
            listen(options.storage_port).await?,
            listen(options.vertex_port).await?,
            listen(options.gitlab_port).await?,
            listen(options.iam_port).await?,
            listen(options.logging_port).await?,
        ];
        let [pubsub, storage, vertex, gitlab, iam, logging] = &listeners;
        let endpoints = Endpoints {
            pubsub: pubsub.local_addr()?,
            storage: storage.local_addr()?,
            vertex: vertex.local_addr()?,
            gitlab: gitlab.local_addr()?,
            iam: iam.local_addr()?,
            logging: logging.local_addr()?,
        };
        let directory = |name| options.data_dir.as_ref().map(|it| it.join(name));
        let dice = Dice::new(options.faults);
        let pubsub = PubSub::open(directory("pubsub").as_deref(), dice.clone())?;
        let storage = Storage::open(directory("storage").as_deref())?;
        storage.set_external_url(&format!("http://{}", endpoints.storage));
        let gitlab = GitLab::open(directory("gitlab").as_deref())?;
        gitlab.set_external_url(&format!("http://{}", endpoints.gitlab));
        let iam = Iam::new();
        iam.enforce(options.enforce_iam);
        pubsub.forward_as_agent(&iam).map_err(io::Error::other)?;
        let vertex = Vertex::open(directory("vertex").as_deref(), storage.clone(), dice.clone())?;
        let logging = vertex.logging();

        let wire = Wire::new(dice.clone(), iam.clone(), options.wire_log.as_deref())?;
        let routers = [
            (Service::Pubsub, iam.guard(Service::Pubsub, pubsub.router())),
            (Service::Storage, iam.guard(Service::Storage, storage.router())),
            (Service::Vertex, iam.guard(Service::Vertex, vertex.router())),
            (Service::Gitlab, gitlab.router()),
            (Service::Iam, iam.router()),
            (Service::Logging, iam.guard(Service::Logging, logging.router())),
        ];
        let (mut servers, stop) = (JoinSet::new(), CancellationToken::new());
        for (listener, (service, router)) in listeners.into_iter().zip(routers) {
            let router = router.layer(from_fn_with_state(Side(wire.clone(), service), pass));
            servers.spawn(serve(listener, router, stop.clone()));
        }
        let servers = Mutex::new(servers);
        Ok(Self {
            pubsub,
            storage,
            vertex,
            gitlab,
            iam,
            logging,
            dice,
            endpoints,
            servers,
            wire,
            stop,
        })
    }

    /// Where the services listen.
    pub const fn endpoints(&self) -> Endpoints {
        self.endpoints
    }

    /// Starts a metadata server that speaks for one service account, and tells where: it is
    /// `GCE_METADATA_HOST` of what runs as that account.
    pub async fn metadata_server(&self, account: &str) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let side = Side(self.wire.clone(), Service::Iam);
        let router = self.iam.metadata_router(account).layer(from_fn_with_state(side, pass));
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.spawn(serve(listener, router, self.stop.clone()));
        Ok(address)
    }

    /// The environment in which clients of Google's, GitLab's and Branchline's use this stack.
    pub fn exports(&self) -> Vec<(&'static str, String)> {
        let Endpoints { pubsub, storage, vertex, gitlab, iam, logging } = self.endpoints;
        vec![
            ("PUBSUB_EMULATOR_HOST", pubsub.to_string()),
            ("STORAGE_EMULATOR_HOST", format!("http://{storage}")),
            ("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true".to_owned()),
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB", format!("http://{pubsub}/")),
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE", format!("http://{storage}/storage/v1/")),
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM", format!("http://{vertex}/")),
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING", format!("http://{logging}/")),
            ("BRANCHLINE_CREDENTIALS", "anonymous".to_owned()),
            ("BRANCHLINE_PUBSUB_ENDPOINT", format!("http://{pubsub}")),
            ("BRANCHLINE_STORAGE_ENDPOINT", format!("http://{storage}")),
            ("BRANCHLINE_VERTEX_ENDPOINT", format!("http://{vertex}")),
            ("BRANCHLINE_LOGGING_ENDPOINT", format!("http://{logging}")),
            ("BRANCHLINE_GITLAB_ENDPOINT", format!("http://{gitlab}")),
            ("BRANCHLINE_IAM_ENDPOINT", format!("http://{iam}")),
            ("BRANCHLINE_GITLAB_TOKEN", self.gitlab.token()),
        ]
    }

    /// Stops training processes and servers, and waits for both.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.pubsub.shutdown();
        self.vertex.shutdown().await;
        let mut servers = self.servers.into_inner().unwrap_or_else(PoisonError::into_inner);
        let drained = async { while servers.join_next().await.is_some() {} };
        // A client that holds its connection open does not hold up the shutdown.
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            servers.shutdown().await;
        }
    }
}

/// Serves HTTP/1 and HTTP/2 without TLS on one port.
async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    let router = router.layer(from_fn(refuse_pages));
    let router = router.into_make_service_with_connect_info::<Connection>();
    axum::serve(Sockets(listener), router).with_graceful_shutdown(stop.cancelled_owned()).await
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::ErrorKind;

    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::{Options, Stack};

    async fn get(authority: &str, path: &str) -> String {
        let mut connection = TcpStream::connect(authority).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn each_export_leads_to_its_service() {
        let stack = Stack::start(Options::default()).await.unwrap();
        let exports: HashMap<_, _> = stack
            .exports()
            .into_iter()
            .map(|(name, value)| {
                let authority = value.trim_start_matches("http://").split('/').next().unwrap();
                (name, authority.to_owned())
            })
            .collect();
        let cases = [
            ("PUBSUB_EMULATOR_HOST", "/v1/projects/p/topics", "200 OK"),
            ("STORAGE_EMULATOR_HOST", "/storage/v1/b/none", "404 Not Found"),
            (
                "BRANCHLINE_VERTEX_ENDPOINT",
                "/v1/projects/p/locations/us-central1/customJobs",
                "200 OK",
            ),
            ("BRANCHLINE_GITLAB_ENDPOINT", "/api/v4/user", "401 Unauthorized"),
            ("BRANCHLINE_IAM_ENDPOINT", "/oauth2/v3/certs", "200 OK"),
            ("BRANCHLINE_LOGGING_ENDPOINT", "/v2/entries:list", "404 Not Found"),
        ];
        for (name, path, status) in cases {
            let answer = get(&exports[name], path).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{name}: {answer}");
        }
        assert_eq!(exports["BRANCHLINE_GITLAB_TOKEN"], stack.gitlab.token());
        stack.shutdown().await;
    }

    #[tokio::test]
    async fn connections_end_as_the_faults_say() {
        let rule = |fault| json!({"service": "gitlab", "fault": fault, "times": 1});
        let faults = json!({"rules": [rule("drop_request"), rule("drop_response"), rule("reset")]});
        let faults = serde_json::from_value(faults).unwrap();
        let stack = Stack::start(Options { faults, ..Options::default() }).await.unwrap();
        let gitlab = stack.endpoints().gitlab;
        for expected in [Ok(0), Ok(0), Err(ErrorKind::ConnectionReset)] {
            let mut connection = TcpStream::connect(gitlab).await.unwrap();
            connection.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            let read = connection.read(&mut [0; 1]).await;
            assert_eq!(read.map_err(|error| error.kind()), expected);
        }
        assert_eq!(stack.dice.hits(), [1, 1, 1]);
        stack.shutdown().await;
    }

    #[tokio::test]
    async fn what_cannot_be_logged_is_not_answered_as_if_it_were() {
        let wire_log = Some("/dev/full".into());
        let stack = Stack::start(Options { wire_log, ..Options::default() }).await.unwrap();
        let answer = get(&stack.endpoints().vertex.to_string(), "/v1/projects").await;
        assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
        stack.shutdown().await;
    }

    #[tokio::test]
    async fn what_was_stored_is_there_after_a_restart_on_the_same_ports() {
        let directory = tempfile::tempdir().unwrap();
        let mut options =
            Options { data_dir: Some(directory.path().to_owned()), ..Options::default() };
        let stack = Stack::start(options.clone()).await.unwrap();
        stack.storage.create_bucket("bucket").unwrap();
        stack.storage.put("bucket", "name", "content").unwrap();
        stack.pubsub.create_topic("projects/p/topics/ready").unwrap();
        options.pubsub_port = stack.endpoints().pubsub.port();
        // A client that stays connected does not keep the stack up.
        let _idle = TcpStream::connect(stack.endpoints().vertex).await.unwrap();
        stack.shutdown().await;

        let stack = Stack::start(options).await.unwrap();
        assert_eq!(stack.storage.get("bucket", "name").unwrap().1, "content");
        let topic = get(&stack.endpoints().pubsub.to_string(), "/v1/projects/p/topics/ready").await;
        assert!(topic.starts_with("HTTP/1.1 200 OK"), "{topic}");
        stack.shutdown().await;
    }
}
