//! Resumable uploads: sessions that take the content in pieces.
//!
//! Sessions live as long as the process: after a restart the client is told to
//! begin again, as it is by the real service when a session has expired.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as SyncMutex};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::call::{Call, Incoming};
use super::resource;
use super::upload::Plan;
use crate::storage::Storage;
use crate::storage::content::Draft;
use crate::storage::error::Error;
use crate::storage::object::Object;

/// More sessions than this push the oldest out.
const SESSIONS_MAX: usize = 10_000;
/// All pieces but the last have a multiple of this size.
const PIECE_QUANTUM: u64 = 256 * 1024;

/// The sessions by upload id; ids sort by age.
#[derive(Default)]
pub(in crate::storage) struct Sessions(SyncMutex<BTreeMap<String, Arc<Mutex<Session>>>>);

enum Session {
    Open(Box<Plan>, Draft),
    /// Asking again gives the same answer, so that a lost answer costs nothing.
    Finished(Box<Object>),
    Failed,
}

impl Sessions {
    fn insert(&self, session: Session) -> String {
        let now = Timestamp::now().as_microsecond();
        let id = format!("{now:016x}{:016x}", fastrand::u64(..));
        let mut sessions = self.0.lock().expect("nothing panics under this lock");
        if sessions.len() == SESSIONS_MAX {
            sessions.pop_first();
        }
        sessions.insert(id.clone(), Arc::new(Mutex::new(session)));
        id
    }

    fn get(&self, id: &str) -> Option<Arc<Mutex<Session>>> {
        let sessions = self.0.lock().expect("nothing panics under this lock");
        sessions.get(id).cloned()
    }
}

/// Opens a session and says where its content goes.
pub(super) async fn start(
    storage: &Storage,
    bucket: String,
    call: &Call,
    headers: &HeaderMap,
    incoming: &mut Incoming,
) -> Result<Response, Error> {
    let metadata = incoming.json().await?;
    let path = format!("{}/upload/storage/v1/b/{bucket}/o", call.base);
    let mut plan = Plan::new(storage, bucket, call, &metadata)?;
    plan.default_content_type(headers, "x-upload-content-type");
    plan.declare_from(headers)?;
    let session = Session::Open(Box::new(plan), storage.store().draft()?);
    let id = storage.shared.sessions.insert(session);
    let location = format!("{path}?uploadType=resumable&upload_id={id}");
    Ok([(header::LOCATION, location)].into_response())
}

/// Takes a piece of the content, or says how much of it has arrived.
pub(super) async fn append(
    State(storage): State<Storage>,
    call: Call,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let mut incoming = Incoming::new(body);
    let object = append_piece(&storage, &call, &headers, &mut incoming).await;
    incoming.drain().await;
    Ok(match object? {
        Appended::Incomplete { persisted } => incomplete(persisted),
        Appended::Finished(object) => Json(resource::object(&object, &call)).into_response(),
    })
}

enum Appended {
    Incomplete { persisted: u64 },
    Finished(Box<Object>),
}

async fn append_piece(
    storage: &Storage,
    call: &Call,
    headers: &HeaderMap,
    incoming: &mut Incoming,
) -> Result<Appended, Error> {
    let piece = match headers.get(header::CONTENT_RANGE) {
        Some(value) => Piece::parse(value.to_str().unwrap_or_default())?,
        None => Piece::ALL,
    };
    let id = call.text("upload_id").unwrap_or_default();
    let session = storage.shared.sessions.get(id).ok_or(Error::NoSuchUpload)?;
    let mut session = session.lock().await;

    if let Session::Open(_, draft) = &mut *session {
        match take(draft, &piece, incoming).await {
            Ok(true) => {}
            Ok(false) => {
                let persisted = draft.size();
                return Ok(Appended::Incomplete { persisted });
            }
            Err(error) => {
                if matches!(error, Error::Io(_)) {
                    // The file may hold more than was counted.
                    *session = Session::Failed;
                }
                return Err(error);
            }
        }
    }
    let object = match std::mem::replace(&mut *session, Session::Failed) {
        Session::Open(mut plan, draft) => {
            plan.declare_from(headers)?;
            Box::new(plan.finish(storage, draft)?)
        }
        Session::Finished(object) => object,
        Session::Failed => return Err(Error::NoSuchUpload),
    };
    *session = Session::Finished(object.clone());
    Ok(Appended::Finished(object))
}

fn incomplete(persisted: u64) -> Response {
    let status = StatusCode::PERMANENT_REDIRECT;
    match persisted.checked_sub(1) {
        Some(last) => (status, [(header::RANGE, format!("bytes=0-{last}"))]).into_response(),
        None => status.into_response(),
    }
}

/// Appends what is new of a piece; true when the content is complete.
async fn take(draft: &mut Draft, piece: &Piece, incoming: &mut Incoming) -> Result<bool, Error> {
    let Some(first) = piece.first else {
        return Ok(piece.total == Some(draft.size()));
    };
    if first > draft.size() {
        let gap = format!("Bytes {} to {first} are missing.", draft.size());
        return Err(Error::invalid(gap));
    }
    let mut known = draft.size() - first;
    let mut received = 0;
    while let Some(mut chunk) = incoming.next().await? {
        received += chunk.len() as u64;
        if piece.length().is_some_and(|it| received > it) {
            return Err(Error::invalid("The body is longer than its Content-Range."));
        }
        let repeated = known.min(chunk.len() as u64);
        known -= repeated;
        draft
            .write(&chunk.split_off(usize::try_from(repeated).expect("it is within the chunk")))?;
    }
    if piece.length().is_some_and(|it| received < it) {
        return Err(Error::invalid("The body is shorter than its Content-Range."));
    }
    Ok(piece.is_last())
}

/// A `Content-Range`: `bytes FIRST-LAST/TOTAL`, where `*` is what the client
/// does not know, or `bytes */TOTAL` for a question without content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    first: Option<u64>,
    last: Option<u64>,
    total: Option<u64>,
}

impl Piece {
    /// The whole content at once.
    const ALL: Self = Self { first: Some(0), last: None, total: None };

    fn parse(header: &str) -> Result<Self, Error> {
        let piece = Self::parse_numbers(header);
        let piece = piece.filter(|it| {
            it.is_last() || it.length().is_some_and(|length| length % PIECE_QUANTUM == 0)
        });
        piece.ok_or_else(|| Error::invalid(format!("Invalid Content-Range: {header}.")))
    }

    fn parse_numbers(header: &str) -> Option<Self> {
        let number = |text: &str| match text {
            "*" => Some(None),
            // The largest number is left out: a length is one more than it.
            text => text.parse().ok().filter(|it| *it < u64::MAX).map(Some),
        };
        let (range, total) = header.strip_prefix("bytes ")?.split_once('/')?;
        let total: Option<u64> = number(total)?;
        if range == "*" {
            return Some(Self { first: None, last: None, total });
        }
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number(first)??, number(last)?);
        let ordered = last.is_none_or(|last| first <= last && total.is_none_or(|it| last < it));
        ordered.then_some(Self { first: Some(first), last, total })
    }

    fn length(&self) -> Option<u64> {
        Some(self.last? - self.first? + 1)
    }

    /// A piece whose end is not known goes to the content's end.
    fn is_last(&self) -> bool {
        self.last.is_none_or(|last| self.total == Some(last + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_says_which_piece_it_is() {
        let piece = |first, last, total| Some(Piece { first, last, total });
        let cases = [
            ("bytes */*", piece(None, None, None)),
            ("bytes */0", piece(None, None, Some(0))),
            ("bytes 0-9/10", piece(Some(0), Some(9), Some(10))),
            ("bytes 0-*/*", piece(Some(0), None, None)),
            ("bytes 0-262143/*", piece(Some(0), Some(262_143), None)),
            ("bytes 0-9/*", None),
            ("bytes 0-9/20", None),
            ("bytes 9-0/10", None),
            ("bytes 0-10/10", None),
            ("bytes 0-9", None),
            ("0-9/10", None),
        ];
        for (header, expected) in cases {
            assert_eq!(Piece::parse(header).ok(), expected, "{header}");
        }
    }
}
