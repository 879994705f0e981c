//! The gate before Google's services: every request is held against the permission that Google
//! documents for it before the service sees it, and one that nobody knows is refused.
//!
//! It stands behind the routing, so that it reads a path exactly as the service does. What a
//! service alone knows, as the name of an uploaded object, it asks about itself: the request
//! carries its [`Caller`].

mod frame;
mod logging;
mod pubsub;
mod storage;
mod vertex;

use std::collections::HashMap;

use axum::RequestExt as _;
use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Path, Query, Request, State as Shared};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::{Router, body::Bytes};

use super::Iam;
use super::caller::Caller;
use super::refusal::Refusal;
use super::resource::Resource;
use crate::faults::Service;

/// Bytes of a body that says what a request needs.
const BODY_MAX: usize = 16 << 20;

/// With what is deleted by these its policy is gone, too: what is made anew has none.
const DELETIONS: [&str; 2] = ["pubsub.topics.delete", "pubsub.subscriptions.delete"];

/// What a request needs.
#[derive(Debug)]
enum Demand {
    /// These permissions, each on its resource.
    All(Vec<(&'static str, Resource)>),
    /// The service asks as soon as it knows on what.
    Inside,
}

/// A request, as far as that depends on it.
struct Asked<'a> {
    method: &'a Method,
    /// The route that it takes, with the names of its parameters.
    route: &'a str,
    /// The parameters, decoded.
    path: &'a HashMap<String, String>,
    query: &'a HashMap<String, String>,
    /// JSON, or the first message over gRPC; nothing where that is not needed.
    body: &'a [u8],
}

/// One service's gate.
#[derive(Clone)]
struct Gate {
    iam: Iam,
    service: Service,
}

impl Iam {
    /// Puts a gate before a service of Google's.
    pub(crate) fn guard(&self, service: Service, router: Router) -> Router {
        let gate = Gate { iam: self.clone(), service };
        router.layer(from_fn_with_state(gate, pass))
    }
}

async fn pass(Shared(gate): Shared<Gate>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|it| it.as_str().to_owned());
    let is_grpc = route.as_ref().is_some_and(|it| is_grpc(it));
    let refuse = |refusal: Refusal| gate.refuse(refusal, is_grpc);
    let caller = match gate.caller(&request) {
        Ok(caller) => caller,
        Err(refusal) => return refuse(refusal),
    };
    let (mut request, demand) = if caller.is_free() {
        (request, Demand::Inside)
    } else {
        match gate.demand(route.as_deref(), request).await {
            Ok(it) => it,
            Err(refusal) => return refuse(refusal),
        }
    };
    request.extensions_mut().insert(caller.clone());
    let Demand::All(needs) = demand else { return next.run(request).await };
    let missing = needs.iter().find_map(|(need, on)| gate.check(&caller, need, on).err());
    if let Some(refusal) = missing {
        return refuse(refusal);
    }
    let response = next.run(request).await;
    if let [(need, on)] = &needs[..]
        && DELETIONS.contains(need)
        && is_done(&response)
    {
        gate.iam.forget_policy(on);
    }
    match storage::hidden(&caller, &needs) {
        Some(refusal) if is_missing(&response) => refuse(refusal),
        Some(_) | None => response,
    }
}

impl Gate {
    const fn api(&self) -> &'static str {
        match self.service {
            Service::Pubsub => "pubsub.googleapis.com",
            Service::Storage => "storage.googleapis.com",
            Service::Vertex => "aiplatform.googleapis.com",
            Service::Logging => "logging.googleapis.com",
            Service::Iam | Service::Gitlab => "iam.googleapis.com",
        }
    }

    /// Whoever it is: Cloud Storage has something for everybody, the others have not.
    fn caller(&self, request: &Request) -> Result<Caller, Refusal> {
        let caller = self.iam.caller(request.headers())?;
        if self.service == Service::Storage { Ok(caller) } else { caller.known() }
    }

    /// A project is no resource of the service, but the service is asked about it.
    fn check(&self, caller: &Caller, permission: &str, on: &Resource) -> Result<(), Refusal> {
        caller.check_in(self.api(), permission, on)
    }

    /// What a request needs, and the request again, of which that may have read the beginning.
    async fn demand(
        &self,
        route: Option<&str>,
        request: Request,
    ) -> Result<(Request, Demand), Refusal> {
        let unknown = Refusal::Unknown(format!("{} {}", request.method(), request.uri().path()));
        let Some(route) = route else { return Err(unknown) };
        let (mut request, body) = self.body(route, request).await?;
        let path = request.extract_parts::<Path<HashMap<String, String>>>().await;
        let query = Query::<HashMap<String, String>>::try_from_uri(request.uri());
        let (Ok(Path(path)), Ok(Query(query))) = (path, query) else { return Err(unknown) };
        let method = request.method();
        let asked = Asked { method, route, path: &path, query: &query, body: &body };
        let demand = match self.service {
            Service::Pubsub => pubsub::demand(&asked),
            Service::Storage => storage::demand(&asked),
            Service::Vertex => vertex::demand(&asked),
            Service::Logging => logging::demand(&asked),
            Service::Iam | Service::Gitlab => None,
        };
        Ok((request, demand.ok_or(unknown)?))
    }

    /// As much of the body as is needed: content of objects is not.
    async fn body(&self, route: &str, request: Request) -> Result<(Request, Bytes), Refusal> {
        if is_grpc(route) {
            let (parts, body) = request.into_parts();
            let (message, body) = frame::first_message(body).await?;
            return Ok((Request::from_parts(parts, body), message));
        }
        let tells = match self.service {
            Service::Pubsub => request.method() == Method::PUT,
            Service::Logging => true,
            Service::Storage | Service::Vertex | Service::Iam | Service::Gitlab => false,
        };
        if !tells {
            return Ok((request, Bytes::new()));
        }
        let (parts, body) = request.into_parts();
        let bytes = to_bytes(body, BODY_MAX).await;
        let bytes = bytes.map_err(|_| Refusal::Invalid("The body is too large.".to_owned()))?;
        Ok((Request::from_parts(parts, Body::from(bytes.clone())), bytes))
    }

    fn refuse(&self, refusal: Refusal, is_grpc: bool) -> Response {
        match self.service {
            _ if is_grpc => refusal.status().into_http(),
            Service::Storage => refusal.into_storage_response(),
            Service::Pubsub
            | Service::Vertex
            | Service::Iam
            | Service::Gitlab
            | Service::Logging => refusal.into_response(),
        }
    }
}

fn is_grpc(route: &str) -> bool {
    route.starts_with("/google.")
}

/// Whether the service has done it: over gRPC, success is told at the end.
fn is_done(response: &Response) -> bool {
    response.status().is_success()
        && response.headers().get("grpc-status").is_none_or(|it| it == "0")
}

/// Whether the service has found nothing.
fn is_missing(response: &Response) -> bool {
    let not_found = (tonic::Code::NotFound as i32).to_string();
    response.status() == StatusCode::NOT_FOUND
        || response.headers().get("grpc-status").is_some_and(|it| it == not_found.as_str())
}

impl Asked<'_> {
    /// A parameter in the path.
    fn path(&self, name: &str) -> Option<&str> {
        self.path.get(name).map(String::as_str)
    }

    /// The message over gRPC.
    fn message<M: prost::Message + Default>(&self) -> Option<M> {
        M::decode(self.body).ok()
    }
}

/// One permission on one resource, if the request names it.
fn one(permission: &'static str, on: Option<Resource>) -> Option<Demand> {
    Some(Demand::All(vec![(permission, on?)]))
}
