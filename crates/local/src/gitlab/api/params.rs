//! A request's parameters: from the query, a form or a JSON body, all the same.

use axum::body::Bytes;
use axum::extract::{FromRequest, OriginalUri, Request};
use axum::http::{Uri, header};
use serde_json::{Map, Value};

use crate::gitlab::GitLab;
use crate::gitlab::error::Error;

/// Parameters by name; those of the body win over those of the query.
pub(super) struct Params {
    values: Map<String, Value>,
    /// The address as the client wrote it, for links to other pages.
    pub(super) uri: Uri,
}

impl FromRequest<GitLab> for Params {
    type Rejection = Error;

    async fn from_request(request: Request, gitlab: &GitLab) -> Result<Self, Error> {
        let mut all = Map::new();
        let original = request.extensions().get::<OriginalUri>();
        let uri = original.map_or_else(|| request.uri().clone(), |it| it.0.clone());
        read_form(uri.query().unwrap_or_default().as_bytes(), &mut all);
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|it| it.to_str().ok()).unwrap_or_default();
        let is = |name: &str| content_type.split(';').next().unwrap_or_default().trim() == name;
        let (json, form) = (is("application/json"), is("application/x-www-form-urlencoded"));
        let body = Bytes::from_request(request, gitlab).await.map_err(|_| Error::TooLarge)?;
        if json && !body.is_empty() {
            let invalid = |_| Error::Parameter("Problems parsing JSON".to_owned());
            all.extend(serde_json::from_slice::<Map<_, _>>(&body).map_err(invalid)?);
        } else if form {
            read_form(&body, &mut all);
        }
        Ok(Self { values: all, uri })
    }
}

impl Params {
    /// A text; numbers and booleans are taken as written. Empty is absent.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Error> {
        match self.values.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|it| !it.is_empty())),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
            Some(Value::Array(_) | Value::Object(_)) => Err(invalid(name)),
        }
    }

    pub(super) fn required(&self, name: &str) -> Result<String, Error> {
        self.text(name)?.ok_or_else(|| Error::Parameter(format!("{name} is missing")))
    }

    pub(super) fn parsed<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Error> {
        let parse = |it: String| it.parse().map_err(|_| invalid(name));
        self.text(name)?.map(parse).transpose()
    }

    /// A truth value, false when absent.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Error> {
        Ok(matches!(self.text(name)?.as_deref(), Some("true" | "1" | "t" | "yes" | "on")))
    }

    /// A value out of a closed list; the first one is the default.
    pub(super) fn one_of<'a>(&self, name: &str, values: &[&'a str]) -> Result<&'a str, Error> {
        let Some(text) = self.text(name)? else {
            return Ok(values[0]);
        };
        let found = values.iter().find(|it| **it == text);
        let unknown = || Error::Parameter(format!("{name} does not have a valid value"));
        found.copied().ok_or_else(unknown)
    }

    /// A list: `name=value`, `name[]=value` repeated, or a JSON array.
    pub(super) fn list(&self, name: &str) -> Vec<Value> {
        match self.values.get(name) {
            Some(Value::Array(values)) => values.clone(),
            Some(value) => vec![value.clone()],
            None => Vec::new(),
        }
    }
}

fn invalid(name: &str) -> Error {
    Error::Parameter(format!("{name} is invalid"))
}

fn read_form(text: &[u8], all: &mut Map<String, Value>) {
    for pair in text.split(|it| *it == b'&').filter(|it| !it.is_empty()) {
        let middle = pair.iter().position(|it| *it == b'=').unwrap_or(pair.len());
        let name = percent_decode(&pair[..middle]);
        let value = Value::String(percent_decode(pair.get(middle + 1..).unwrap_or_default()));
        match name.strip_suffix("[]") {
            Some(name) => match all.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
                Value::Array(values) => values.push(value),
                other => *other = value,
            },
            None => drop(all.insert(name, value)),
        }
    }
}

fn percent_decode(text: &[u8]) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text);
    let digit = |it: u8| (it as char).to_digit(16).and_then(|it| u8::try_from(it).ok());
    while let Some((&first, tail)) = rest.split_first() {
        let escape = match (first, tail) {
            (b'%', &[high, low, ..]) => digit(high).zip(digit(low)),
            _ => None,
        };
        let (byte, next) = match escape {
            Some((high, low)) => (high << 4 | low, &tail[2..]),
            None if first == b'+' => (b' ', tail),
            None => (first, tail),
        };
        bytes.push(byte);
        rest = next;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
