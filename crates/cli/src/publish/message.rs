//! The message that asks for a run.

use branchline_contract::{
    Artifact, ArtifactReady, DATA_MAX, Envelope, IdToken, RunId, TraceParent, Training,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::config::Run;
use super::gitlab_ci::Job;

/// A request that is too large for one message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Too many objects.
    #[error(
        "run {run} has {count} objects in all its artifacts, and a request has at most {}; \
         pack them into fewer files",
        ArtifactReady::ARTIFACTS_MAX
    )]
    Objects {
        /// The run.
        run: String,
        /// How many there are.
        count: usize,
    },
    /// Too many bytes.
    #[error("the request for run {run} has {size} bytes, and a message has at most {DATA_MAX}")]
    Size {
        /// The run.
        run: String,
        /// How many there are.
        size: usize,
    },
}

/// What is asked for, and under which id.
pub(crate) struct Request {
    /// The run.
    pub(crate) id: RunId,
    /// What goes over the wire.
    pub(crate) envelope: Envelope,
}

/// Puts the request together.
pub(crate) fn request(
    run: &Run,
    training: Training,
    artifacts: Vec<Artifact>,
    job: &Job,
    (time, trace): (Timestamp, TraceParent),
) -> Result<Request, Error> {
    let count = artifacts.len();
    if count > ArtifactReady::ARTIFACTS_MAX {
        return Err(Error::Objects { run: run.name.to_string(), count });
    }
    let ready = ArtifactReady {
        run: run.name.clone(),
        artifacts,
        training,
        vertex: run.vertex.clone(),
        gitlab: job.origin.clone(),
        per_pipeline: run.per_pipeline,
        supersede: run.supersede,
        attempts_max: run.attempts_max,
        id_token: job.id_token.clone(),
    };
    let envelope = Envelope::artifact_ready(&ready, time).traced(Some(trace));
    match envelope.data.len() {
        size if size > DATA_MAX => Err(Error::Size { run: run.name.to_string(), size }),
        _ => Ok(Request { id: RunId::derive(&ready).0, envelope }),
    }
}

/// The job as a log may show it.
pub(crate) fn redacted(job: Job) -> Job {
    Job { id_token: job.id_token.map(|_| IdToken("REDACTED".to_owned())), ..job }
}

/// The message for a person to read.
pub(crate) fn shown(request: &Request) -> String {
    let data: Value = serde_json::from_slice(&request.envelope.data).expect("encoded just now");
    let message = json!({ "attributes": request.envelope.attributes, "data": data });
    serde_json::to_string_pretty(&message).expect("plain data")
}
