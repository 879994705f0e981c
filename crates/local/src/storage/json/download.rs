//! Downloads: `alt=media`, whole or one range, with the headers that clients
//! read an object's description from.

use std::io::SeekFrom;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::call::Call;
use crate::storage::Storage;
use crate::storage::content::Opened;
use crate::storage::error::Error;
use crate::storage::object::Object;

pub(super) async fn media(
    State(storage): State<Storage>,
    Path(path): Path<(String, String)>,
    call: Call,
    headers: HeaderMap,
) -> Response {
    let range = headers.get(header::RANGE).and_then(|it| it.to_str().ok());
    let response = respond(&storage, path, &call, range).await;
    response.unwrap_or_else(Error::into_media_response)
}

async fn respond(
    storage: &Storage,
    path: (String, String),
    call: &Call,
    range: Option<&str>,
) -> Result<Response, Error> {
    let from = call.target(path)?;
    let (object, content) = storage.store().read(&from, &call.preconditions()?)?;
    let size = object.size;
    let part = match range.and_then(|it| parse_range(it, size)) {
        Some(part) if part.first >= size => return Err(Error::RangeNotSatisfiable { size }),
        part => part,
    };
    let (first, length) = part.map_or((0, size), |it| (it.first, it.last - it.first + 1));

    let mut response = Response::new(body(content, first, length).await?);
    let headers = response.headers_mut();
    describe(&object, headers);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(Part { first, last }) = part {
        insert(headers, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

async fn body(content: Opened, first: u64, length: u64) -> Result<Body, Error> {
    match content {
        Opened::Memory(bytes) => {
            let index = |it| usize::try_from(it).expect("what is in memory can be indexed");
            Ok(Body::from(bytes.slice(index(first)..index(first + length))))
        }
        Opened::File(file) => {
            let mut file = File::from_std(file);
            file.seek(SeekFrom::Start(first)).await?;
            Ok(Body::from_stream(ReaderStream::new(file.take(length))))
        }
    }
}

/// The first and the last byte of a range, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    first: u64,
    last: u64,
}

/// One range of bytes. Anything else is ignored, as HTTP allows, and the whole
/// object is sent.
fn parse_range(header: &str, size: u64) -> Option<Part> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let end = size.saturating_sub(1);
    if first.is_empty() {
        let suffix: u64 = last.parse().ok()?;
        // An empty suffix cannot be satisfied: it begins at the object's end.
        let first = size - suffix.min(size);
        return Some(Part { first, last: end });
    }
    let first = first.parse().ok()?;
    let last = if last.is_empty() { end } else { last.parse::<u64>().ok()?.min(end) };
    (first > end || first <= last).then_some(Part { first, last })
}

fn describe(object: &Object, headers: &mut HeaderMap) {
    let attributes = &object.attributes;
    let encoding = attributes.content_encoding.as_deref();
    let hash = format!(
        "crc32c={},md5={}",
        object.checksums.crc32c_base64(),
        object.checksums.md5_base64()
    );
    let modified = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&object.updated)
        .unwrap_or_default();
    let all = [
        ("accept-ranges", "bytes"),
        ("content-type", attributes.content_type()),
        ("etag", &object.etag()),
        ("last-modified", &modified),
        ("x-goog-generation", &object.generation.to_string()),
        ("x-goog-hash", &hash),
        ("x-goog-metageneration", &object.metageneration.to_string()),
        ("x-goog-storage-class", "STANDARD"),
        ("x-goog-stored-content-encoding", encoding.unwrap_or("identity")),
        ("x-goog-stored-content-length", &object.size.to_string()),
    ];
    for (name, value) in all {
        insert(headers, HeaderName::from_static(name), value);
    }
    let optional = [
        (header::CACHE_CONTROL, &attributes.cache_control),
        (header::CONTENT_DISPOSITION, &attributes.content_disposition),
        (header::CONTENT_ENCODING, &attributes.content_encoding),
        (header::CONTENT_LANGUAGE, &attributes.content_language),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            insert(headers, name, value);
        }
    }
    for (key, value) in &attributes.metadata {
        if let Ok(name) = HeaderName::try_from(format!("x-goog-meta-{key}")) {
            insert(headers, name, value);
        }
    }
}

/// A value that no header can hold is left out.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_at_the_objects_end() {
        let part = |first, last| Some(Part { first, last });
        let cases = [
            ("bytes=0-", part(0, 9)),
            ("bytes=2-4", part(2, 4)),
            ("bytes=2-99", part(2, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-99", part(0, 9)),
            ("bytes=10-", part(10, 9)),
            ("bytes=-0", part(10, 9)),
            ("bytes=4-2", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
            ("bytes=", None),
        ];
        for (header, expected) in cases {
            assert_eq!(parse_range(header, 10), expected, "{header}");
        }
    }
}
