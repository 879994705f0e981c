//! What crosses the wire: events, identifiers, artifacts and origins. Pure.

mod artifact;
mod artifact_ready;
mod envelope;
mod job_kind;
mod origin;
pub mod placeholder;
mod request;
mod run_event;
mod run_id;
mod schema;
mod text;
mod trace;
mod training;
pub mod vertex_fields;

pub use artifact::{Artifact, ArtifactName, Crc32c, DirectoryUri, ObjectUri, Sha256};
pub use artifact_ready::{ArtifactReady, AttemptsMax, IdToken};
pub use envelope::{DATA_MAX, DecodeError, Envelope};
pub use job_kind::JobKind;
pub use origin::{
    CloudProject, CommitSha, Gitlab, GitlabHost, Installation, MergeRequest, ProjectPath, RefName,
    Region, Vertex,
};
pub use request::{Actor, Ask, LetterId, Pick, Reason, Request, RequestId, Retry};
pub use run_event::{LedgerHead, Outcome, Phase, RunEvent, VertexJob};
pub use run_id::{RunId, RunName};
pub use schema::schemas;
pub use text::Invalid;
pub use trace::TraceParent;
pub use training::Training;
