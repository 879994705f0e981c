//! The one HTTP door. Every answer is bounded in size and time; redirects are
//! not followed, so the token goes to the configured host only.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use branchline_contract::TraceParent;
use reqwest::header::{HeaderMap, RANGE};
use reqwest::{Method, StatusCode, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use tracing::instrument;

use crate::error::{Class, Error, message};
use crate::retry;

/// A page of the longest notes that GitLab stores may be larger; such a page is refused.
const ANSWER_MAX: usize = 32 << 20;
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// GitLab itself waits up to ten seconds for the lock of a commit's statuses.
const CALL_TIME_MAX: Duration = Duration::from_secs(30);
/// W3C Trace Context's header.
const TRACEPARENT: &str = "traceparent";
/// Public documents are small, and a message waits for them.
const PUBLIC_TIME_MAX: Duration = Duration::from_secs(10);

/// One GitLab, as one user. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    api: Arc<dyn Api>,
    host: String,
    observer: Observer,
    trace: Option<TraceParent>,
}

/// Told of every call that has ended. A client without one tells nobody.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<dyn Fn(Observed) + Send + Sync>>);

/// A call that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    /// What was asked: one of the few sentences that this crate knows.
    pub call: &'static str,
    /// How it failed, if it did.
    pub failure: Option<Class>,
    /// How long it took, repeats included.
    pub took: Duration,
}

impl Observer {
    /// Tells `this`.
    pub fn new(this: impl Fn(Observed) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(this)))
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observer").field(&self.0.is_some()).finish()
    }
}

/// What answers calls to the API: a GitLab over HTTP, or a simulated world.
pub trait Api: fmt::Debug + Send + Sync {
    /// Asks until there is an answer or the retries are used up.
    fn call<'a>(&'a self, call: Call<'a>) -> Answering<'a>;
}

/// A call under way.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send + 'a>>;

/// One call to the API.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What it asks, for errors and spans.
    pub name: &'static str,
    /// The HTTP method.
    pub method: &'a Method,
    /// Below `/api/v4/`.
    pub path: &'a str,
    /// Behind the question mark.
    pub query: &'a [(&'a str, String)],
    /// Sent as JSON.
    pub body: Option<&'a Value>,
    /// Ask for so much behind so many bytes only. Whoever is sent more keeps the beginning.
    pub part: Option<Part>,
    /// The trace that it is part of: the client fills its own in.
    pub trace: Option<TraceParent>,
}

/// A part of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The byte that it begins at.
    pub from: u64,
    /// Bytes of it, at most.
    pub len: u64,
}

/// The body and headers of a success.
#[derive(Debug)]
pub struct Answer {
    /// What was asked.
    pub call: &'static str,
    /// As received.
    pub headers: HeaderMap,
    /// As received.
    pub body: Vec<u8>,
    /// The body is the beginning of what was sent: a part was asked for, and more came than is taken.
    pub cut: bool,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let call = self.call;
        serde_json::from_slice(&self.body).map_err(|source| Error::Decode { call, source })
    }
}

/// A GitLab over HTTP.
#[derive(Debug)]
struct Http {
    client: reqwest::Client,
    api: Url,
    token: SecretString,
}

impl Client {
    /// A client of the GitLab at `address` (`https://HOST`, with a path where it
    /// is installed under one), as the user that the token stands for.
    pub fn new(address: &str, token: SecretString) -> Result<Self, Error> {
        if address.contains('@') {
            return Err(Error::User);
        }
        let refused = || Error::Address(address.to_owned());
        let api = Url::parse(&format!("{}/api/v4/", address.trim_end_matches('/')))
            .ok()
            .filter(|it| matches!(it.scheme(), "http" | "https") && it.has_host())
            .ok_or_else(refused)?;
        let client = client()?;
        let host = api.host_str().unwrap_or_default();
        let host = api.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Ok(Self::over(Arc::new(Http { client, api, token }), host))
    }

    /// A client of whatever answers, under the name of that host.
    pub fn over(api: Arc<dyn Api>, host: String) -> Self {
        Self { api, host, observer: Observer::default(), trace: None }
    }

    /// The same, with somebody who is told of its calls.
    #[must_use]
    pub fn observed(self, observer: Observer) -> Self {
        Self { observer, ..self }
    }

    /// The same, with calls that are part of that trace.
    #[must_use]
    pub fn traced(&self, trace: Option<TraceParent>) -> Self {
        Self { trace, ..self.clone() }
    }

    /// What answers its calls.
    pub fn api(&self) -> Arc<dyn Api> {
        self.api.clone()
    }

    /// Host of the instance, with its port where it is not the usual one.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(crate) async fn get(
        &self,
        name: &'static str,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Answer, Error> {
        let method = &Method::GET;
        let call = Call { name, method, path, query, body: None, part: None, trace: None };
        self.call(call).await
    }

    #[instrument(name = "gitlab.call", skip_all, fields(call = call.name))]
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Answer, Error> {
        let started = Instant::now();
        let answer = self.api.call(Call { trace: self.trace, ..call }).await;
        if let Observer(Some(tell)) = &self.observer {
            let failure = answer.as_ref().err().map(Error::class);
            tell(Observed { call: call.name, failure, took: started.elapsed() });
        }
        answer
    }
}

impl Api for Http {
    fn call<'a>(&'a self, call: Call<'a>) -> Answering<'a> {
        Box::pin(retry::bounded(call.method, move || self.call_once(call)))
    }
}

impl Http {
    async fn call_once(&self, call: Call<'_>) -> Result<Answer, retry::Failure> {
        let Call { name, method, path, query, body, part, trace } = call;
        let url = self.api.join(path).map_err(|_| Error::Address(path.to_owned()))?;
        let mut request = self
            .client
            .request(method.clone(), url)
            .query(query)
            .bearer_auth(self.token.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(Part { from, len }) = part {
            let last = from.saturating_add(len.saturating_sub(1));
            request = request.header(RANGE, format!("bytes={from}-{last}"));
        }
        if let Some(trace) = trace {
            request = request.header(TRACEPARENT, trace.to_string());
        }
        let response = request.send().await.map_err(|source| retry::Failure {
            sent: !source.is_connect(),
            error: unanswered(name, source),
            retry_after: None,
        })?;

        let (status, headers) = (response.status(), response.headers().clone());
        let (body, cut) = read_up_to(name, response, ANSWER_MAX).await?;
        if cut && part.is_none() {
            return Err(Error::TooLarge { call: name, max: ANSWER_MAX }.into());
        }
        if status.is_success() {
            return Ok(Answer { call: name, headers, body, cut });
        }
        Err(retry::Failure {
            // Both are answered before anything is done.
            sent: !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT),
            error: Error::Status { call: name, status: status.as_u16(), message: message(&body) },
            retry_after: retry::wanted_wait(&headers, SystemTime::now()),
        })
    }
}

/// A client that follows no redirects, repeats nothing and waits no longer than a call may take.
pub(crate) fn client() -> Result<reqwest::Client, Error> {
    reqwest::Client::builder()
        .user_agent(concat!("branchline/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIME_MAX)
        .timeout(CALL_TIME_MAX)
        .build()
        .map_err(Error::Client)
}

/// Reads a document that is for everybody: once, and without the token.
pub(crate) async fn read_public(
    client: &reqwest::Client,
    name: &'static str,
    url: Url,
    max: usize,
) -> Result<Vec<u8>, Error> {
    let request = client.get(url).timeout(PUBLIC_TIME_MAX);
    let response = request.send().await.map_err(|source| unanswered(name, source))?;
    let status = response.status();
    let body = read(name, response, max).await?;
    if status.is_success() {
        return Ok(body);
    }
    Err(Error::Status { call: name, status: status.as_u16(), message: message(&body) })
}

async fn read(
    call: &'static str,
    response: reqwest::Response,
    max: usize,
) -> Result<Vec<u8>, Error> {
    match read_up_to(call, response, max).await? {
        (body, false) => Ok(body),
        (_, true) => Err(Error::TooLarge { call, max }),
    }
}

/// The body up to so many bytes, and whether there were more.
async fn read_up_to(
    call: &'static str,
    mut response: reqwest::Response,
    max: usize,
) -> Result<(Vec<u8>, bool), Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|source| unanswered(call, source))? {
        let room = max - body.len();
        if chunk.len() > room {
            body.extend_from_slice(&chunk[..room]);
            return Ok((body, true));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, false))
}

fn unanswered(call: &'static str, source: reqwest::Error) -> Error {
    Error::Unanswered { call, source: source.without_url() }
}
