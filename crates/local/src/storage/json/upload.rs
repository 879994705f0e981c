//! Uploads in one request: `uploadType=media` and `uploadType=multipart`.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::call::{Call, Incoming, JSON_BYTES_MAX, parse_json};
use super::multipart::{Multipart, boundary};
use super::{resource, resumable};
use crate::storage::Storage;
use crate::storage::checksum::Declared;
use crate::storage::content::Draft;
use crate::storage::error::Error;
use crate::storage::object::{Attributes, Object};
use crate::storage::precondition::Preconditions;
use crate::storage::replacing::Replacing;
use crate::storage::store::Target;

pub(super) async fn create(
    State(storage): State<Storage>,
    Path(bucket): Path<String>,
    call: Call,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let mut incoming = Incoming::new(body);
    let answer = dispatch(&storage, bucket, &call, &headers, &mut incoming).await;
    incoming.drain().await;
    answer
}

async fn dispatch(
    storage: &Storage,
    bucket: String,
    call: &Call,
    headers: &HeaderMap,
    incoming: &mut Incoming,
) -> Result<Response, Error> {
    let object = match call.text("uploadType") {
        Some("media") => media(storage, bucket, call, headers, incoming).await?,
        Some("multipart") => multipart(storage, bucket, call, headers, incoming).await?,
        Some("resumable") => {
            return resumable::start(storage, bucket, call, headers, incoming).await;
        }
        _ => return Err(Error::invalid("Invalid or missing uploadType.")),
    };
    Ok(Json(resource::object(&object, call)).into_response())
}

/// What an upload says about the object that it will become.
pub(super) struct Plan {
    to: Target,
    attributes: Attributes,
    pub(super) declared: Declared,
    when: Preconditions,
    replacing: Replacing,
}

impl Plan {
    /// Fails early when the object could not be written now.
    pub(super) fn new(
        storage: &Storage,
        bucket: String,
        call: &Call,
        metadata: &Map<String, Value>,
    ) -> Result<Self, Error> {
        let name = call.text("name");
        let name = name.or_else(|| metadata.get("name").and_then(Value::as_str));
        let name = name.ok_or_else(|| Error::invalid("Required"))?;
        let to = Target::live(bucket, name);
        call.check_create(&to)?;
        let mut plan = Self {
            replacing: call.replacing(&to),
            to,
            attributes: Attributes::default(),
            declared: Declared::default(),
            when: call.preconditions()?,
        };
        plan.replacing.add_to(&mut plan.when);
        resource::merge(&mut plan.attributes, metadata)?;
        resource::declare(&mut plan.declared, metadata)?;
        match storage.store().check_write(&plan.to, &plan.when) {
            Ok(()) => Ok(plan),
            Err(error) => Err(plan.replacing.explain(error)),
        }
    }

    /// The metadata's content type comes before a header's.
    pub(super) fn default_content_type(&mut self, headers: &HeaderMap, name: &str) {
        let value = headers.get(name).and_then(|it| it.to_str().ok());
        let content_type = &mut self.attributes.content_type;
        *content_type = content_type.take().or(value.map(str::to_owned));
    }

    pub(super) fn declare_from(&mut self, headers: &HeaderMap) -> Result<(), Error> {
        for value in headers.get_all("x-goog-hash") {
            let value = value.to_str().unwrap_or_default();
            self.declared.set_from_header(value)?;
        }
        Ok(())
    }

    pub(super) fn finish(self, storage: &Storage, draft: Draft) -> Result<Object, Error> {
        self.declared.check(&draft.checksums())?;
        let written = storage.store().write(&self.to, self.attributes, draft, &self.when);
        written.map_err(|error| self.replacing.explain(error))
    }
}

async fn media(
    storage: &Storage,
    bucket: String,
    call: &Call,
    headers: &HeaderMap,
    incoming: &mut Incoming,
) -> Result<Object, Error> {
    let mut plan = Plan::new(storage, bucket, call, &Map::new())?;
    plan.default_content_type(headers, header::CONTENT_TYPE.as_str());
    plan.declare_from(headers)?;
    let mut draft = storage.store().draft()?;
    while let Some(chunk) = incoming.next().await? {
        draft.write(&chunk)?;
    }
    plan.finish(storage, draft)
}

/// Metadata, content, and sometimes a third part: checksums that were computed
/// while the content was on its way.
async fn multipart(
    storage: &Storage,
    bucket: String,
    call: &Call,
    headers: &HeaderMap,
    incoming: &mut Incoming,
) -> Result<Object, Error> {
    let content_type = headers.get(header::CONTENT_TYPE);
    let boundary = content_type
        .and_then(|it| it.to_str().ok())
        .and_then(boundary)
        .ok_or_else(|| Error::invalid("The content type names no multipart boundary."))?;
    let mut body = Multipart::new(incoming, boundary).await?;

    part(&mut body, "metadata").await?;
    let metadata = parse_json(&body.read_part(JSON_BYTES_MAX).await?)?;
    let mut plan = Plan::new(storage, bucket, call, &metadata)?;
    plan.declare_from(headers)?;

    let media = part(&mut body, "content").await?;
    plan.default_content_type(&media, header::CONTENT_TYPE.as_str());
    let mut draft = storage.store().draft()?;
    while let Some(chunk) = body.next_chunk().await? {
        draft.write(&chunk)?;
    }

    if body.next_part().await?.is_some() {
        let checksums = parse_json(&body.read_part(JSON_BYTES_MAX).await?)?;
        resource::declare(&mut plan.declared, &checksums)?;
        if body.next_part().await?.is_some() {
            return Err(Error::invalid("A multipart upload has at most three parts."));
        }
    }
    plan.finish(storage, draft)
}

async fn part(body: &mut Multipart<'_>, what: &str) -> Result<HeaderMap, Error> {
    let part = body.next_part().await?;
    part.ok_or_else(|| Error::invalid(format!("The multipart body has no {what}.")))
}
