//! What every call of the JSON API reads from its request: parameters,
//! preconditions, and a body that is bounded in size and in patience.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{FromRequestParts, Query};
use axum::http::{header, request::Parts};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::iam::{self, Caller, Resource};
use crate::storage::Storage;
use crate::storage::content::OBJECT_BYTES_MAX;
use crate::storage::error::Error;
use crate::storage::precondition::Preconditions;
use crate::storage::replacing::Replacing;
use crate::storage::store::Target;

/// The largest JSON body that is taken.
pub(super) const JSON_BYTES_MAX: usize = 1 << 20;
/// How long a body may stay silent.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// The parameters of a call, and where the client reached this service.
pub(super) struct Call {
    query: HashMap<String, String>,
    /// `http://host:port`, for the links in answers.
    pub(super) base: String,
    /// Who calls, where that is asked.
    caller: Option<Caller>,
}

impl FromRequestParts<Storage> for Call {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, storage: &Storage) -> Result<Self, Infallible> {
        let query = Query::try_from_uri(&parts.uri).map_or_else(|_| HashMap::new(), |it| it.0);
        let external_url = storage.shared.external_url.get().cloned();
        let base = external_url.unwrap_or_else(|| named_url(parts));
        let caller = parts.extensions.get().cloned();
        Ok(Self { query, base, caller })
    }
}

/// The address that the client used, as far as the request tells.
fn named_url(parts: &Parts) -> String {
    let host = parts.headers.get(header::HOST).and_then(|it| it.to_str().ok());
    // HTTP/2 has the host in the target instead.
    let host = host.or(parts.uri.authority().map(axum::http::uri::Authority::as_str));
    format!("http://{}", host.unwrap_or("localhost"))
}

impl Call {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, Error> {
        let parse = |text: &str| {
            text.parse().map_err(|_| Error::invalid(format!("Invalid value for {name}: {text}.")))
        };
        self.text(name).map(parse).transpose()
    }

    /// The object in the path, in the generation that the call asks for.
    pub(super) fn target(&self, (bucket, name): (String, String)) -> Result<Target, Error> {
        let generation = self.integer("generation")?;
        Ok(Target { bucket, name, generation })
    }

    /// Refuses an upload of somebody who may not make this object.
    pub(super) fn check_create(&self, to: &Target) -> Result<(), Error> {
        let Some(caller) = &self.caller else { return Ok(()) };
        let on = Resource::Object { bucket: to.bucket.clone(), name: to.name.clone() };
        Ok(caller.check("storage.objects.create", &on).map_err(iam::Error::from)?)
    }

    /// Whether the caller may replace this object.
    pub(super) fn replacing(&self, to: &Target) -> Replacing {
        Replacing::of(self.caller.as_ref(), &to.bucket, &to.name)
    }

    pub(super) fn preconditions(&self) -> Result<Preconditions, Error> {
        self.preconditions_on("")
    }

    /// What has to hold for the source of a copy.
    pub(super) fn source_preconditions(&self) -> Result<Preconditions, Error> {
        self.preconditions_on("Source")
    }

    fn preconditions_on(&self, side: &str) -> Result<Preconditions, Error> {
        let number = |what: &str| self.integer(&format!("if{side}{what}"));
        Ok(Preconditions {
            generation_is: number("GenerationMatch")?,
            generation_is_not: number("GenerationNotMatch")?,
            metageneration_is: number("MetagenerationMatch")?,
            metageneration_is_not: number("MetagenerationNotMatch")?,
            is_new: false,
        })
    }
}

/// A request's body as it arrives.
pub(super) struct Incoming(BodyDataStream);

impl Incoming {
    pub(super) fn new(body: Body) -> Self {
        Self(body.into_data_stream())
    }

    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let next = timeout(SILENCE_MAX, self.0.next());
        let chunk = next.await.map_err(|_| Error::TimedOut)?.transpose();
        chunk.map_err(|error| Error::invalid(format!("The request's body broke off: {error}.")))
    }

    /// Reads the rest: a client that is still sending might not see an answer
    /// that comes before.
    pub(super) async fn drain(&mut self) {
        let mut read = 0;
        while let Ok(Some(chunk)) = self.next().await
            && read < OBJECT_BYTES_MAX
        {
            read += chunk.len() as u64;
        }
    }

    /// The whole body as a JSON object; an empty body is an empty object.
    pub(super) async fn json(&mut self) -> Result<Map<String, Value>, Error> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.next().await? {
            if body.len() + chunk.len() > JSON_BYTES_MAX {
                return Err(Error::TooLarge { max: JSON_BYTES_MAX as u64 });
            }
            body.extend_from_slice(&chunk);
        }
        parse_json(&body)
    }
}

pub(super) fn parse_json(body: &[u8]) -> Result<Map<String, Value>, Error> {
    if body.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(body).map_err(|error| Error::invalid(format!("Parse Error: {error}.")))
}
