//! The doors against a server that says and does what real ones rarely do:
//! gateways' pages, resets, silence, wrong checksums.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

mod storage;
mod vertex;

use branchline_gcp::{Config, Credentials};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with one request.
#[derive(Clone)]
enum Answer {
    /// Status line, headers and body as they are.
    Http { status: u16, headers: String, body: String },
    /// The connection is closed without an answer.
    Hangup,
    /// Nothing is answered and the connection stays.
    Silence,
}

/// A request as it came in.
#[derive(Clone, Debug)]
struct Request {
    line: String,
    body: String,
}

/// A server of one answer per request; the last one is repeated.
struct Server {
    endpoint: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

fn json(status: u16, body: &serde_json::Value) -> Answer {
    let headers = "content-type: application/json\r\n".to_owned();
    Answer::Http { status, headers, body: body.to_string() }
}

fn page(status: u16, body: &str) -> Answer {
    Answer::Http {
        status,
        headers: "content-type: text/html\r\n".to_owned(),
        body: body.to_owned(),
    }
}

impl Server {
    async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let (answers, seen) = (Arc::new(Mutex::new(VecDeque::from(answers))), requests.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answers.clone(), seen.clone()));
            }
        });
        Self { endpoint, requests }
    }

    fn config(&self) -> Config {
        Config {
            credentials: Credentials::Anonymous,
            pubsub_endpoint: None,
            storage_endpoint: Some(self.endpoint.clone()),
            vertex_endpoint: Some(self.endpoint.clone()),
            ..Config::default()
        }
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    seen: Arc<Mutex<Vec<Request>>>,
) {
    let Some(request) = receive(&mut stream).await else { return };
    seen.lock().unwrap().push(request);
    let answer = {
        let mut answers = answers.lock().unwrap();
        if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
    };
    match answer.expect("a server has an answer") {
        Answer::Http { status, headers, body } => {
            let length = body.len();
            let text = format!(
                "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
            );
            stream.write_all(text.as_bytes()).await.unwrap();
        }
        Answer::Hangup => {}
        Answer::Silence => std::future::pending().await,
    }
}

async fn receive(stream: &mut TcpStream) -> Option<Request> {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|it| it.strip_prefix("content-length: "));
            let complete = match length {
                Some(length) => body.len() >= length.parse().unwrap(),
                None if head.contains("chunked") => body.ends_with("\r\n0\r\n\r\n"),
                None => true,
            };
            if complete {
                let line = text.lines().next().unwrap().to_owned();
                return Some(Request { line, body: body.to_owned() });
            }
        }
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.ok().filter(|it| *it > 0)?;
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
}
