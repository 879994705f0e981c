//! A door for the fuzzer to what reads the body of a create call: what is
//! accepted here would be run by a real call.

use super::error::Answer;
use super::kind::Kind;
use super::store::Resource;
use super::{json, validate};

/// Reads a body as the job of a collection. Tells whether it would be run.
pub fn accepts(collection: &str, body: &[u8]) -> bool {
    let kind = Kind::ALL.into_iter().find(|it| it.collection() == collection);
    let body = serde_json::from_slice(body);
    kind.zip(body.ok()).is_some_and(|(kind, body)| read(kind, body).is_ok())
}

fn read(kind: Kind, body: serde_json::Value) -> Answer<Resource> {
    let job = json::canonical(kind.message(), kind.field(), body)?;
    validate::validate(kind, &job)?;
    Ok(job)
}
