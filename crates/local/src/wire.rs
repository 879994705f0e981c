//! The wire between clients and services: what goes wrong on it, and a log of
//! what went over it, one JSON line for each request.

use std::fs::{File, OpenOptions};
use std::future::pending;
use std::io::{self, Write as _};
use std::net::{Shutdown, TcpStream as StdStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, to_bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::serve::{IncomingStream, Listener};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tonic::{Code, Status};

use crate::faults::{Dice, Fault, Faults, Service};

/// A longer body of a create call is passed on without a look at its labels.
const BODY_MAX: usize = 4 << 20;
const WHY: &str = "a fault that the local stack was asked for";

/// What all services share. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    dice: Arc<Mutex<Dice>>,
    log: Option<Arc<File>>,
}

/// One service's end of it.
#[derive(Clone, Debug)]
pub(crate) struct End(pub(crate) Wire, pub(crate) Service);

/// A connection that can be closed under a request.
#[derive(Clone, Debug)]
pub(crate) struct Connection(Option<Arc<StdStream>>);

/// Accepts connections that can be closed under a request.
pub(crate) struct Sockets(pub(crate) TcpListener);

impl Listener for Sockets {
    type Io = TcpStream;
    type Addr = Connection;

    async fn accept(&mut self) -> (TcpStream, Connection) {
        let (stream, _) = Listener::accept(&mut self.0).await;
        // Small answers do not wait for each other; without it they are only slower.
        let _ = stream.set_nodelay(true);
        let socket = stream.as_fd().try_clone_to_owned();
        let connection = Connection(socket.ok().map(|it| Arc::new(it.into())));
        (stream, connection)
    }

    fn local_addr(&self) -> io::Result<Connection> {
        Ok(Connection(None))
    }
}

impl Connected<IncomingStream<'_, Sockets>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Sockets>) -> Self {
        stream.remote_addr().clone()
    }
}

impl Connection {
    /// Closes it. Nobody is left to answer, so whoever called this waits to be dropped with it.
    async fn close(self) -> Response {
        if let Some(socket) = self.0 {
            let _ = socket.shutdown(Shutdown::Both);
        }
        pending().await
    }
}

impl Wire {
    pub(crate) fn new(faults: Faults, log: Option<&Path>) -> io::Result<Self> {
        let open = |path| OpenOptions::new().append(true).create(true).open(path);
        let log = log.map(open).transpose()?.map(Arc::new);
        Ok(Self { dice: Arc::new(Mutex::new(Dice::new(faults))), log })
    }

    /// A whole line at once, so that those of several requests do not mix.
    fn write(&self, mut line: Value, fault: Option<Fault>, status: Option<&str>) {
        let Some(log) = &self.log else { return };
        line["fault"] = json!(fault);
        line["status"] = json!(status);
        let _ = log.as_ref().write_all(format!("{line}\n").as_bytes());
    }
}

/// Passes a request through the wire.
pub(crate) async fn pass(
    State(End(wire, service)): State<End>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let fault =
        wire.dice.lock().unwrap_or_else(PoisonError::into_inner).roll(service, &method, &path);
    let mut line =
        json!({"time": Timestamp::now(), "service": service, "method": method, "path": path});
    let mut request = request;
    if wire.log.is_some() && service == Service::Vertex && method == "POST" {
        let (parts, body) = request.into_parts();
        let Ok(body) = to_bytes(body, BODY_MAX).await else {
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        };
        let job: Value = serde_json::from_slice(&body).unwrap_or_default();
        line["labels"] = job["labels"].clone();
        request = Request::from_parts(parts, Body::from(body));
    }
    if fault == Some(Fault::DropRequest) {
        wire.write(line, fault, None);
        return connection.close().await;
    }
    tokio::time::sleep(fault.map(Fault::delay).unwrap_or_default()).await;
    let is_grpc = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|it| it.as_bytes().starts_with(b"application/grpc"));
    let response = match fault {
        Some(Fault::Answer { status, retry_after }) if is_grpc => {
            let _ = retry_after;
            Status::new(code(status), WHY).into_http()
        }
        Some(Fault::Answer { status, retry_after }) => refusal(service, status, retry_after),
        Some(Fault::DropRequest | Fault::DropResponse | Fault::DelayMs(_)) | None => {
            next.run(request).await
        }
    };
    let grpc = response.headers().get("grpc-status").and_then(|it| it.to_str().ok());
    let status =
        grpc.map_or_else(|| response.status().as_u16().to_string(), |it| format!("grpc {it}"));
    wire.write(line, fault, Some(&status));
    match fault {
        Some(Fault::DropResponse) => connection.close().await,
        Some(Fault::DropRequest | Fault::DelayMs(_) | Fault::Answer { .. }) | None => response,
    }
}

/// As the service words it.
fn refusal(service: Service, status: u16, retry_after: Option<u64>) -> Response {
    let body = match service {
        Service::Gitlab => json!({"message": format!("{status} {WHY}")}),
        Service::Pubsub | Service::Storage | Service::Vertex => {
            let name = code_name(code(status));
            json!({"error": {"code": status, "message": WHY, "status": name}})
        }
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, axum::Json(body)).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Google's mapping between HTTP and its own codes, for what a fault may answer.
const fn code(status: u16) -> Code {
    match status {
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        409 => Code::AlreadyExists,
        412 => Code::FailedPrecondition,
        429 => Code::ResourceExhausted,
        503 => Code::Unavailable,
        504 => Code::DeadlineExceeded,
        _ => Code::Internal,
    }
}

const fn code_name(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::Unauthenticated => "UNAUTHENTICATED",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::Unavailable => "UNAVAILABLE",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    }
}
