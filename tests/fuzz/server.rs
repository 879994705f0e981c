//! A server that answers everything with the bytes of the case, and a client's
//! runtime: both on the thread of the case, so that their memory counts as its.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

type Next = Arc<Mutex<(u16, Vec<u8>, Vec<(String, String)>)>>;

pub(crate) struct Server {
    /// `http://HOST:PORT`
    pub(crate) address: String,
    runtime: Runtime,
    next: Next,
}

impl Server {
    /// Listens on any free port of loopback.
    pub(crate) fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let next = Next::default();
        let answers = next.clone();
        let router = Router::new().fallback(move || async move { answer(&answers) });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async { axum::serve(listener, router).await });
        Self { address, runtime, next }
    }

    /// What it answers from now on. What no header can hold is left out.
    pub(crate) fn answer(&self, status: u16, body: &[u8], headers: &[(&str, String)]) {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        *self.next.lock().unwrap() = (status, body.to_vec(), headers.collect());
    }

    /// Waits for a call, and serves it meanwhile.
    pub(crate) fn wait<T>(&self, call: impl Future<Output = T>) -> T {
        self.runtime.block_on(call)
    }
}

fn answer(next: &Next) -> Response<Body> {
    let (status, body, headers) = next.lock().unwrap().clone();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().append(HeaderName::try_from(name).unwrap(), value);
        }
    }
    response
}
