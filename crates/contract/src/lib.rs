//! What crosses the wire: events, identifiers, artifacts and origins. Pure.

mod job_kind;

pub use job_kind::JobKind;
