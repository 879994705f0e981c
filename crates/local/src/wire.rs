//! The wire between clients and services: what goes wrong on it, and a log of
//! what went over it, one JSON line for each request. The line of a stream of
//! gRPC says how it began.

use std::fs::{File, OpenOptions};
use std::future::pending;
use std::io::{self, Write as _};
use std::net::{Shutdown, TcpStream as StdStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::serve::{IncomingStream, Listener};
use jiff::Timestamp;
use prost::Message as _;
use rustix::net::sockopt::set_socket_linger;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tonic::{Code, Status};

use crate::faults::{Dice, Fault, Service};
use crate::iam::Iam;
use crate::vertex::read_bytes;

const QUOTA: &str = "Quota exceeded for quota metric 'Requests' and limit 'Requests per minute'.";
const WHY: &str = "a fault that the local stack was asked for";
/// Labels of a job that the log shows: by them it is counted.
const LABELS: [&str; 2] = ["branchline-run", "branchline-intent"];

/// Headers that the log shows: by the one a call is told to belong to a trace, and by the other a
/// call of gRPC on what it is.
const HEADERS: [(&str, &str); 2] =
    [("traceparent", "traceparent"), ("x-goog-request-params", "params")];
/// Of a query, what it shows: by it an upload is told from one that replaces an object.
const IF_GENERATION: &str = "ifGenerationMatch";

/// What all services share. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    dice: Dice,
    /// Knows whose requests they are.
    iam: Iam,
    log: Option<Arc<File>>,
}

/// One service's side of it.
#[derive(Clone, Debug)]
pub(crate) struct Side(pub(crate) Wire, pub(crate) Service);

/// A connection that can be closed under a request.
#[derive(Clone, Debug)]
pub(crate) struct Connection(Option<Arc<StdStream>>);

/// Accepts connections that can be closed under a request.
pub(crate) struct Sockets(pub(crate) TcpListener);

impl Listener for Sockets {
    type Io = TcpStream;
    type Addr = Connection;

    async fn accept(&mut self) -> (TcpStream, Connection) {
        loop {
            let (stream, _) = Listener::accept(&mut self.0).await;
            // Small answers do not wait for each other; without it they are only slower.
            let _ = stream.set_nodelay(true);
            // One that could not be closed later is closed now: its client comes again.
            if let Ok(socket) = stream.as_fd().try_clone_to_owned() {
                return (stream, Connection(Some(Arc::new(socket.into()))));
            }
        }
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
    /// Ends it. Nobody is left to answer, so whoever called this waits to be dropped with it.
    async fn end(self, how: End) -> Response {
        let Some(socket) = self.0 else { return pending().await };
        let how = match how {
            End::Closed => Shutdown::Both,
            // The server sees its end, and what is closed with no time to linger is reset.
            End::Reset => {
                let _ = set_socket_linger(&*socket, Some(Duration::ZERO));
                Shutdown::Read
            }
        };
        let _ = socket.shutdown(how);
        pending().await
    }
}

/// How a connection ends that gets no answer.
enum End {
    Closed,
    Reset,
}

impl Wire {
    pub(crate) fn new(dice: Dice, iam: Iam, log: Option<&Path>) -> io::Result<Self> {
        let open = |path| OpenOptions::new().append(true).create(true).open(path);
        Ok(Self { dice, iam, log: log.map(open).transpose()?.map(Arc::new) })
    }

    /// What the log says of a request when it comes.
    fn line(&self, service: Service, request: &Request) -> Value {
        let (method, path) = (request.method().as_str(), request.uri().path());
        let mut line =
            json!({"time": Timestamp::now(), "service": service, "method": method, "path": path});
        for (header, key) in HEADERS {
            if let Some(it) = request.headers().get(header) {
                line[key] = json!(String::from_utf8_lossy(it.as_bytes()));
            }
        }
        let mut query = request.uri().query().unwrap_or_default().split('&');
        if let Some(generation) =
            query.find_map(|it| it.strip_prefix(IF_GENERATION)?.strip_prefix('='))
        {
            line["if_generation"] = json!(generation);
        }
        if self.log.is_some() {
            line["sender"] = json!(self.iam.sender(request.headers()));
        }
        line
    }

    /// A whole line at once, so that those of several requests do not mix. What
    /// the log lacks would be missed by whoever counts from it, so a request
    /// that cannot be logged fails.
    fn write(
        &self,
        mut line: Value,
        fault: Option<&Fault>,
        status: Option<&str>,
    ) -> io::Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        line["fault"] = json!(fault);
        line["status"] = json!(status);
        line["answered"] = json!(Timestamp::now());
        log.as_ref().write_all(format!("{line}\n").as_bytes())
    }
}

/// Passes a request through the wire. What Vertex AI has got it does, whoever waits for the answer.
pub(crate) async fn pass(
    State(Side(wire, service)): State<Side>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
    next: Next,
) -> Response {
    let passing = async move { through(&wire, service, request, next).await };
    let passed = if service == Service::Vertex {
        tokio::spawn(passing).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
    } else {
        passing.await
    };
    match passed {
        Ok(Ok(response)) => response,
        Ok(Err(end)) => connection.end(end).await,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "request not passed on");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("request not passed on: {error}"))
                .into_response()
        }
    }
}

/// Fails where the log cannot be written.
async fn through(
    wire: &Wire,
    service: Service,
    mut request: Request,
    next: Next,
) -> io::Result<Result<Response, End>> {
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let mut line = wire.line(service, &request);
    let creates = service == Service::Vertex
        && method == "POST"
        && (wire.log.is_some() || wire.dice.looks_at_bodies());
    let mut written = String::new();
    if creates {
        let (parts, body) = request.into_parts();
        let body = match read_bytes(body).await {
            Ok(body) => body,
            Err(refusal) => return Ok(Ok(refusal.into_response())),
        };
        let job: Value = serde_json::from_slice(&body).unwrap_or_default();
        written = job.to_string();
        let labels = LABELS.iter().filter_map(|it| Some((*it, job["labels"].get(it)?.clone())));
        line["labels"] = labels.collect();
        request = Request::from_parts(parts, Body::from(body));
    }
    let fault = wire.dice.request(service, &method, &path, &written);
    match &fault {
        Some(Fault::DropRequest) => {
            wire.write(line, fault.as_ref(), None)?;
            return Ok(Err(End::Closed));
        }
        Some(Fault::Reset) => {
            wire.write(line, fault.as_ref(), None)?;
            return Ok(Err(End::Reset));
        }
        Some(Fault::DelayMs(time)) => tokio::time::sleep(Duration::from_millis(*time)).await,
        _ => {}
    }
    let is_grpc = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|it| it.as_bytes().starts_with(b"application/grpc"));
    let answer = match &fault {
        Some(Fault::Answer { status, retry_after, code, message }) => Some(Refusal {
            status: *status,
            code: code.as_deref().unwrap_or_else(|| code_of(*status)),
            retry_after: *retry_after,
            message: message.as_deref().unwrap_or(WHY),
        }),
        Some(Fault::QuotaPerMinute(_)) => {
            Some(Refusal { status: 429, code: code_of(429), retry_after: None, message: QUOTA })
        }
        _ => None,
    };
    let mut response = match answer {
        Some(refusal) if is_grpc => refusal.grpc(),
        Some(refusal) => refusal.http(service),
        None => next.run(request).await,
    };
    if creates && response.status().is_success() {
        let (parts, body) = response.into_parts();
        // The service holds it in memory already.
        let body = to_bytes(body, usize::MAX).await.map_err(io::Error::other)?;
        let job: Value = serde_json::from_slice(&body).unwrap_or_default();
        line["job"] = job["name"].clone();
        response = Response::from_parts(parts, Body::from(body));
    }
    let grpc = response.headers().get("grpc-status").and_then(|it| it.to_str().ok());
    let status =
        grpc.map_or_else(|| response.status().as_u16().to_string(), |it| format!("grpc {it}"));
    wire.write(line, fault.as_ref(), Some(&status))?;
    if fault == Some(Fault::DropResponse) {
        return Ok(Err(End::Closed));
    }
    Ok(Ok(response))
}

/// `google.rpc.Status`, as the trailer `grpc-status-details-bin` carries it.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// A status of gRPC with one detail, a message of this type.
pub(crate) fn detailed(
    code: Code,
    message: &str,
    type_url: &str,
    detail: &impl prost::Message,
) -> Status {
    let detail = prost_types::Any { type_url: type_url.to_owned(), value: detail.encode_to_vec() };
    let status =
        RpcStatus { code: code.into(), message: message.to_owned(), details: vec![detail] };
    Status::with_details(code, message, status.encode_to_vec().into())
}

/// What a request is answered with instead.
struct Refusal<'a> {
    status: u16,
    /// Name of Google's code.
    code: &'a str,
    retry_after: Option<u32>,
    message: &'a str,
}

impl Refusal<'_> {
    fn grpc(&self) -> Response {
        let code = CODES.iter().find(|(name, ..)| *name == self.code);
        let code = code.map_or(Code::Unknown, |(.., code)| *code);
        let Some(seconds) = self.retry_after else {
            return Status::new(code, self.message).into_http();
        };
        let retry_delay = Some(prost_types::Duration { seconds: seconds.into(), nanos: 0 });
        detailed(code, self.message, RETRY_INFO, &RetryInfo { retry_delay }).into_http()
    }

    /// As the service words it.
    fn http(&self, service: Service) -> Response {
        let &Self { status, code, retry_after, message } = self;
        let body = match service {
            Service::Gitlab => json!({"message": format!("{status} {message}")}),
            Service::Pubsub
            | Service::Storage
            | Service::Vertex
            | Service::Iam
            | Service::Logging => {
                let mut error = json!({"code": status, "message": message, "status": code});
                if let Some(seconds) = retry_after {
                    let delay = format!("{seconds}s");
                    error["details"] = json!([{"@type": RETRY_INFO, "retryDelay": delay}]);
                }
                json!({ "error": error })
            }
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(body)).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Google's codes: the name, the HTTP status by which a fault asks for it, and gRPC's number.
const CODES: [(&str, u16, Code); 12] = [
    ("INVALID_ARGUMENT", 400, Code::InvalidArgument),
    ("UNAUTHENTICATED", 401, Code::Unauthenticated),
    ("PERMISSION_DENIED", 403, Code::PermissionDenied),
    ("NOT_FOUND", 404, Code::NotFound),
    ("ALREADY_EXISTS", 409, Code::AlreadyExists),
    ("ABORTED", 409, Code::Aborted),
    ("FAILED_PRECONDITION", 412, Code::FailedPrecondition),
    ("RESOURCE_EXHAUSTED", 429, Code::ResourceExhausted),
    ("INTERNAL", 500, Code::Internal),
    ("UNIMPLEMENTED", 501, Code::Unimplemented),
    ("UNAVAILABLE", 503, Code::Unavailable),
    ("DEADLINE_EXCEEDED", 504, Code::DeadlineExceeded),
];

fn code_of(status: u16) -> &'static str {
    let known = CODES.iter().find(|(_, it, _)| *it == status);
    known.map_or("INTERNAL", |(name, ..)| name)
}
