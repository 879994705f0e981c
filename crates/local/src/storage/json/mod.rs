//! The JSON API over HTTP: routes and the calls on buckets and objects.

mod call;
mod download;
mod multipart;
mod resource;
mod resumable;
mod upload;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use self::call::{Call, Incoming};
pub(super) use self::resumable::Sessions;
use super::Storage;
use super::copy::Copy;
use super::error::Error;
use super::list::Listing;
use super::object::Attributes;
use super::policy;
use super::replacing::Replacing;
use super::store::Target;

pub(super) fn router() -> Router<Storage> {
    let object = "/storage/v1/b/{bucket}/o/{object}";
    let upload = post(upload::create).put(resumable::append);
    Router::new()
        .route("/storage/v1/b", get(list_buckets).post(create_bucket))
        .route("/storage/v1/b/{bucket}", get(get_bucket))
        .route("/storage/v1/b/{bucket}/iam", get(policy::policy).put(policy::policy))
        .route("/storage/v1/b/{bucket}/iam/testPermissions", get(policy::test))
        .route("/storage/v1/b/{bucket}/o", get(list_objects))
        .route(
            object,
            get(get_object).delete(delete_object).patch(patch_object).put(replace_attributes),
        )
        .route(&format!("{object}/rewriteTo/b/{{to_bucket}}/o/{{to_object}}"), post(rewrite_object))
        .route(&format!("{object}/copyTo/b/{{to_bucket}}/o/{{to_object}}"), post(copy_object))
        .route(&format!("/download{object}"), get(download::media))
        .route("/upload/storage/v1/b/{bucket}/o", upload.clone())
        .route("/resumable/upload/storage/v1/b/{bucket}/o", upload)
}

async fn create_bucket(
    State(storage): State<Storage>,
    call: Call,
    body: Body,
) -> Result<Json<Value>, Error> {
    let body = Incoming::new(body).json().await?;
    let name = body.get("name").and_then(Value::as_str);
    let name = name.ok_or_else(|| Error::invalid("Required"))?;
    let bucket = storage.store().create_bucket(name)?;
    Ok(Json(resource::bucket(&bucket, &call)))
}

async fn get_bucket(
    State(storage): State<Storage>,
    Path(bucket): Path<String>,
    call: Call,
) -> Result<Json<Value>, Error> {
    let bucket = storage.store().bucket(&bucket)?;
    Ok(Json(resource::bucket(&bucket, &call)))
}

/// Every bucket is in every project, and all are on one page.
async fn list_buckets(State(storage): State<Storage>, call: Call) -> Json<Value> {
    let prefix = call.text("prefix").unwrap_or_default();
    let buckets = storage.store().buckets();
    let items: Vec<Value> = buckets
        .iter()
        .filter(|it| it.name.starts_with(prefix))
        .map(|it| resource::bucket(it, &call))
        .collect();
    Json(json!({ "kind": "storage#buckets", "items": items }))
}

async fn list_objects(
    State(storage): State<Storage>,
    Path(bucket): Path<String>,
    call: Call,
) -> Result<Json<Value>, Error> {
    if call.text("matchGlob").is_some() {
        return Err(Error::invalid("matchGlob is not supported here."));
    }
    let text = |name| call.text(name).unwrap_or_default();
    let mut listing = Listing::new(text("prefix"));
    text("delimiter").clone_into(&mut listing.delimiter);
    text("startOffset").clone_into(&mut listing.start);
    text("endOffset").clone_into(&mut listing.end);
    listing.continue_after(text("pageToken"))?;
    let items = call.integer("maxResults")?.unwrap_or(0);
    listing.limit(usize::try_from(items).map_err(|_| Error::invalid("Invalid maxResults."))?);
    let page = storage.store().list(&bucket, &listing)?;

    let items: Vec<Value> = page.objects.iter().map(|it| resource::object(it, &call)).collect();
    let mut answer = json!({ "kind": "storage#objects" });
    if !items.is_empty() {
        answer["items"] = json!(items);
    }
    if !page.prefixes.is_empty() {
        answer["prefixes"] = json!(page.prefixes);
    }
    if let Some(next) = page.next {
        answer["nextPageToken"] = json!(next);
    }
    Ok(Json(answer))
}

async fn get_object(
    State(storage): State<Storage>,
    Path(path): Path<(String, String)>,
    call: Call,
    headers: axum::http::HeaderMap,
) -> Result<Response, Error> {
    if call.text("alt") == Some("media") {
        return Ok(download::media(State(storage), Path(path), call, headers).await);
    }
    let from = call.target(path)?;
    let object = storage.store().stat(&from, &call.preconditions()?)?;
    Ok(Json(resource::object(&object, &call)).into_response())
}

async fn delete_object(
    State(storage): State<Storage>,
    Path(path): Path<(String, String)>,
    call: Call,
) -> Result<StatusCode, Error> {
    let target = call.target(path)?;
    storage.store().delete(&target, &call.preconditions()?)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn patch_object(
    State(storage): State<Storage>,
    Path(path): Path<(String, String)>,
    call: Call,
    body: Body,
) -> Result<Json<Value>, Error> {
    let changes = Incoming::new(body).json().await?;
    let target = call.target(path)?;
    let when = call.preconditions()?;
    let object = storage.store().update(&target, &when, |it| resource::merge(it, &changes))?;
    Ok(Json(resource::object(&object, &call)))
}

/// `objects.update`: what the request does not mention is cleared.
async fn replace_attributes(
    State(storage): State<Storage>,
    Path(path): Path<(String, String)>,
    call: Call,
    body: Body,
) -> Result<Json<Value>, Error> {
    let new = Incoming::new(body).json().await?;
    let target = call.target(path)?;
    let when = call.preconditions()?;
    let object = storage.store().update(&target, &when, |attributes| {
        *attributes = Attributes::default();
        resource::merge(attributes, &new)
    })?;
    Ok(Json(resource::object(&object, &call)))
}

type CopyPath = Path<(String, String, String, String)>;

async fn rewrite_object(
    storage: State<Storage>,
    path: CopyPath,
    call: Call,
    body: Body,
) -> Result<Json<Value>, Error> {
    let (copy, replacing) = copy(path, &call, body).await?;
    let token = call.text("rewriteToken").unwrap_or_default();
    let bytes_max = call.integer("maxBytesRewrittenPerCall")?.unwrap_or(0);
    let rewritten = storage.rewrite(copy, token, bytes_max);
    let rewritten = rewritten.map_err(|error| replacing.explain(error))?;
    let mut answer = json!({
        "kind": "storage#rewriteResponse",
        "totalBytesRewritten": rewritten.bytes.to_string(),
        "objectSize": rewritten.size.to_string(),
        "done": rewritten.object.is_some(),
    });
    match rewritten.object {
        Some(object) => answer["resource"] = resource::object(&object, &call),
        None => answer["rewriteToken"] = json!(rewritten.token),
    }
    Ok(Json(answer))
}

async fn copy_object(
    storage: State<Storage>,
    path: CopyPath,
    call: Call,
    body: Body,
) -> Result<Json<Value>, Error> {
    let (copy, replacing) = copy(path, &call, body).await?;
    let copied = storage.store().copy(copy);
    let object = copied.map_err(|error| replacing.explain(error))?;
    Ok(Json(resource::object(&object, &call)))
}

/// What is asked for. The attributes in the body replace the source's, if there are any.
async fn copy(
    Path((bucket, object, to_bucket, to_object)): CopyPath,
    call: &Call,
    body: Body,
) -> Result<(Copy, Replacing), Error> {
    let body = Incoming::new(body).json().await?;
    let mut attributes = Attributes::default();
    resource::merge(&mut attributes, &body)?;
    let attributes = (attributes != Attributes::default()).then_some(attributes);
    let from =
        Target { generation: call.integer("sourceGeneration")?, ..Target::live(bucket, object) };
    let to = Target::live(to_bucket, to_object);
    let mut when = call.preconditions()?;
    let replacing = call.replacing(&to);
    replacing.add_to(&mut when);
    let only = call.source_preconditions()?;
    Ok((Copy { from, only, to, attributes, when }, replacing))
}
