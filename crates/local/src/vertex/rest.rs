//! The REST API: routes, requests, answers.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{Method, Uri};
use axum::routing::{any, get, post};
use axum::{Extension, Json, Router};
use serde_json::{Value, json};

use super::error::{Answer, Code, Refusal};
use super::kind::Kind;
use super::place::{Place, new_id};
use super::{Vertex, json, list};
use crate::iam::Caller;

/// Bytes of a request, and how long it may take to arrive.
const BODY_MAX: usize = 8 << 20;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Parameters that every method of Google's APIs takes.
const SYSTEM_PARAMETERS: [&str; 7] =
    ["alt", "key", "fields", "prettyPrint", "quotaUser", "access_token", "callback"];

type Parameters = Query<HashMap<String, String>>;

pub(super) fn router(vertex: Vertex) -> Router {
    let mut router = Router::new();
    for kind in Kind::ALL {
        let collection =
            format!("/v1/projects/{{project}}/locations/{{location}}/{}", kind.collection());
        let creates = move |vertex, path, query, caller, body| {
            create(kind, vertex, path, query, caller, body)
        };
        let lists = async move |vertex, path, query| list(kind, vertex, path, query);
        let gets = async move |vertex, path, query| read(kind, vertex, path, query);
        let deletes = async move |vertex, path, query| delete(kind, vertex, path, query);
        let acts = move |vertex, path, query, body| act(kind, vertex, path, query, body);
        router = router.route(&collection, post(creates).get(lists).fallback(not_found)).route(
            &format!("{collection}/{{id}}"),
            get(gets).delete(deletes).post(acts).fallback(not_found),
        );
    }
    router.fallback(any(not_found)).with_state(vertex)
}

async fn create(
    kind: Kind,
    State(vertex): State<Vertex>,
    Path((project, location)): Path<(String, String)>,
    Query(query): Parameters,
    caller: Option<Extension<Caller>>,
    body: Body,
) -> Answer<Json<Value>> {
    let id_parameter: &[&str] = if kind == Kind::PipelineJob { &["pipelineJobId"] } else { &[] };
    check_parameters(&query, id_parameter)?;
    let place = Place::new(&project, &location)?;
    let given = query.get("pipelineJobId").filter(|id| !id.is_empty());
    let id = given.map_or_else(|| Ok(new_id()), |id| check_id(id))?;
    let job = json::canonical(kind.message(), kind.field(), read_json(body).await?)?;
    let name = place.name(kind.collection(), &id);
    let job = vertex.create(kind, &name, job, caller.as_deref())?;
    Ok(Json(Value::Object(job)))
}

fn list(
    kind: Kind,
    State(vertex): State<Vertex>,
    Path((project, location)): Path<(String, String)>,
    Query(query): Parameters,
) -> Answer<Json<Value>> {
    let known: &[&str] = match kind {
        Kind::PipelineJob => &["pageSize", "pageToken", "filter", "readMask", "orderBy"],
        Kind::CustomJob | Kind::HyperparameterTuningJob | Kind::TrainingPipeline => {
            &["pageSize", "pageToken", "filter", "readMask"]
        }
    };
    check_parameters(&query, known)?;
    let place = Place::new(&project, &location)?;
    let jobs = vertex.listed(&place.prefix(kind));
    Ok(Json(list::Query::parse(kind, &query)?.page(kind, jobs)))
}

fn read(
    kind: Kind,
    State(vertex): State<Vertex>,
    Path((project, location, id)): Path<(String, String, String)>,
    Query(query): Parameters,
) -> Answer<Json<Value>> {
    check_parameters(&query, &[])?;
    let name = Place::new(&project, &location)?.name(kind.collection(), &id);
    let job = vertex.0.store.get(&name).ok_or_else(|| missing(&name))?;
    Ok(Json(Value::Object(job)))
}

/// Answers a long-running operation that is done already.
fn delete(
    kind: Kind,
    State(vertex): State<Vertex>,
    Path((project, location, id)): Path<(String, String, String)>,
    Query(query): Parameters,
) -> Answer<Json<Value>> {
    check_parameters(&query, &[])?;
    let place = Place::new(&project, &location)?;
    let name = place.name(kind.collection(), &id);
    vertex.0.store.remove(&name)?.ok_or_else(|| missing(&name))?;
    vertex.0.logs.remove(&name);
    let now = super::store::now();
    Ok(Json(json!({
        "name": place.name("operations", &new_id()),
        "metadata": {
            "@type": "type.googleapis.com/google.cloud.aiplatform.v1.DeleteOperationMetadata",
            "genericMetadata": {"createTime": now, "updateTime": now},
        },
        "done": true,
        "response": {"@type": "type.googleapis.com/google.protobuf.Empty"},
    })))
}

/// `POST …/{id}:cancel`.
async fn act(
    kind: Kind,
    State(vertex): State<Vertex>,
    Path((project, location, id)): Path<(String, String, String)>,
    Query(query): Parameters,
    body: Body,
) -> Answer<Json<Value>> {
    check_parameters(&query, &[])?;
    read_bytes(body).await?;
    let Some((id, "cancel")) = id.split_once(':') else {
        return Err(Refusal::new(Code::NotFound, "Method not found."));
    };
    let name = Place::new(&project, &location)?.name(kind.collection(), id);
    if vertex.0.store.get(&name).is_none() {
        return Err(missing(&name));
    }
    vertex.cancel(kind, &name)?;
    Ok(Json(json!({})))
}

async fn not_found(method: Method, uri: Uri) -> Refusal {
    let message = format!("Method not found: {method} {}", uri.path());
    Refusal::new(Code::NotFound, message)
}

fn missing(name: &str) -> Refusal {
    Refusal::new(Code::NotFound, format!("The resource '{name}' was not found."))
}

fn check_parameters(query: &HashMap<String, String>, known: &[&str]) -> Answer<()> {
    let unknown = query.keys().find(|name| {
        let name = name.as_str();
        !name.starts_with('$') && !known.contains(&name) && !SYSTEM_PARAMETERS.contains(&name)
    });
    let Some(name) = unknown else { return Ok(()) };
    let text = format!(
        "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter. \
         Field '{name}' could not be found in request message."
    );
    Err(Refusal::malformed(&[(name.clone(), text)]))
}

/// A pipeline job's id as its client chose it.
fn check_id(id: &str) -> Answer<String> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = id.len() <= 127 && id.starts_with(|first: char| first.is_ascii_lowercase());
    if fits && id.bytes().all(letter) {
        return Ok(id.to_owned());
    }
    Err(Refusal::invalid(format!("pipeline_job_id '{id}' has to match [a-z][-a-z0-9]{{0,126}}.")))
}

async fn read_json(body: Body) -> Answer<Value> {
    let bytes = read_bytes(body).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Refusal::invalid(format!("Invalid JSON payload received. {error}")))
}

/// A whole body, as far as the service takes one.
pub(crate) async fn read_bytes(body: Body) -> Answer<axum::body::Bytes> {
    let read = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_MAX)).await;
    let read = read
        .map_err(|_| Refusal::new(Code::DeadlineExceeded, "The request did not arrive in time."))?;
    read.map_err(|_| {
        Refusal::invalid(format!("Request payload size exceeds the limit: {BODY_MAX} bytes."))
    })
}
