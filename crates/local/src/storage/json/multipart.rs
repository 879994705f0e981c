//! `multipart/related` bodies, read as they arrive.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::{Buf as _, Bytes, BytesMut};

use super::call::Incoming;
use crate::storage::error::Error;

const BOUNDARY_BYTES_MAX: usize = 70;
const HEADERS_BYTES_MAX: usize = 16 * 1024;

/// The boundary that a content type names. Some clients quote it, some with
/// the wrong marks.
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/related") {
        return None;
    }
    let mut parameters = parameters.split(';').map(str::trim);
    let boundary = parameters.find_map(|it| it.strip_prefix("boundary="))?;
    let boundary = boundary.trim_matches(['"', '\'']);
    (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len()).then_some(boundary)
}

/// Reads one part after the other; each has to be read to its end.
pub(super) struct Multipart<'a> {
    incoming: &'a mut Incoming,
    buffer: BytesMut,
    /// `CRLF`, or the bare `LF` that Python's e-mail library writes.
    line_end: &'static str,
    /// Line end, two dashes, boundary: what ends a part.
    delimiter: String,
}

impl<'a> Multipart<'a> {
    pub(super) async fn new(incoming: &'a mut Incoming, boundary: &str) -> Result<Self, Error> {
        let mut it =
            Self { incoming, buffer: BytesMut::new(), line_end: "\r\n", delimiter: String::new() };
        let opening = format!("--{boundary}");
        while it.buffer.len() < opening.len() + 2 {
            it.fill().await?;
        }
        if !it.buffer.starts_with(opening.as_bytes()) {
            return Err(malformed("it does not begin with its boundary"));
        }
        it.buffer.advance(opening.len());
        if !it.buffer.starts_with(b"\r\n") {
            it.line_end = "\n";
        }
        it.delimiter = format!("{}{opening}", it.line_end);
        Ok(it)
    }

    /// Begins the next part and returns its headers; `None` after the last.
    pub(super) async fn next_part(&mut self) -> Result<Option<HeaderMap>, Error> {
        while self.buffer.len() < 2 {
            self.fill().await?;
        }
        if self.buffer.starts_with(b"--") {
            return Ok(None);
        }
        // The first line end belongs to the delimiter, so that a part without
        // headers has its empty line too.
        let end = format!("{0}{0}", self.line_end);
        let length = loop {
            if let Some(found) = find(&self.buffer, end.as_bytes()) {
                break found;
            }
            if self.buffer.len() > HEADERS_BYTES_MAX {
                return Err(malformed("a part's headers are too long"));
            }
            self.fill().await?;
        };
        let head = self.buffer.split_to(length);
        self.buffer.advance(end.len());
        parse_headers(&head).map(Some)
    }

    /// More of the current part; `None` at its end.
    pub(super) async fn next_chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(found) = find(&self.buffer, self.delimiter.as_bytes()) {
                if found > 0 {
                    return Ok(Some(self.buffer.split_to(found).freeze()));
                }
                self.buffer.advance(self.delimiter.len());
                return Ok(None);
            }
            // The last bytes may be the beginning of the delimiter.
            let certain = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
            if certain > 0 {
                return Ok(Some(self.buffer.split_to(certain).freeze()));
            }
            self.fill().await?;
        }
    }

    /// The rest of the current part, which must be small.
    pub(super) async fn read_part(&mut self, bytes_max: usize) -> Result<BytesMut, Error> {
        let mut part = BytesMut::new();
        while let Some(chunk) = self.next_chunk().await? {
            if part.len() + chunk.len() > bytes_max {
                return Err(Error::TooLarge { max: bytes_max as u64 });
            }
            part.extend_from_slice(&chunk);
        }
        Ok(part)
    }

    async fn fill(&mut self) -> Result<(), Error> {
        let chunk = self.incoming.next().await?;
        let chunk = chunk.ok_or_else(|| malformed("it ends within a part"))?;
        self.buffer.extend_from_slice(&chunk);
        Ok(())
    }
}

fn parse_headers(head: &[u8]) -> Result<HeaderMap, Error> {
    let lines = head.split(|it| *it == b'\n').map(<[u8]>::trim_ascii);
    let mut headers = HeaderMap::new();
    for line in lines.filter(|it| !it.is_empty()) {
        let colon = line.iter().position(|it| *it == b':');
        let (name, value) = colon
            .and_then(|at| Some((line.get(..at)?, line.get(at + 1..)?)))
            .ok_or_else(|| malformed("a part's header has no colon"))?;
        let name = HeaderName::try_from(name).map_err(|_| malformed("a part's header is bad"))?;
        let value = HeaderValue::try_from(value.trim_ascii())
            .map_err(|_| malformed("a part's header is bad"))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

fn malformed(why: &str) -> Error {
    Error::invalid(format!("Malformed multipart body: {why}."))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = needle.first()?;
    let mut at = 0;
    while let Some(found) = haystack.get(at..)?.iter().position(|it| it == first) {
        at += found;
        if haystack[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests;
