//! CloudEvents 1.0 over Pub/Sub, binary mode: the context in `ce-*` attributes,
//! the event in the data. A bare JSON body is read too, as an artifact.ready.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::artifact::{Artifact, ArtifactName, ObjectUri};
use crate::artifact_ready::ArtifactReady;
use crate::run_event::{Phase, RunEvent};
use crate::run_id::RunId;
use crate::text::{cut, cut_to};
use crate::trace::TraceParent;

/// Data and attributes of one Pub/Sub message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// JSON of the event.
    pub data: Vec<u8>,
    /// CloudEvents context.
    pub attributes: BTreeMap<String, String>,
}

/// Why a message is not one of our events.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The type attribute names something else, or a version that is not known here.
    #[error("the message is {found:?}, and {expected} was expected")]
    Type {
        /// What the attribute said.
        found: String,
        /// What is read here.
        expected: &'static str,
    },
    /// The message claims another CloudEvents version.
    #[error("CloudEvents {0:?} is not 1.0")]
    SpecVersion(String),
    /// Larger than any event.
    #[error("the message has {size} bytes, and an event has at most {DATA_MAX}")]
    Size {
        /// Bytes of data.
        size: usize,
    },
    /// Not JSON, or not the event's shape.
    #[error("the message does not decode: {path}{}", cut_to(200, &source.to_string()))]
    Body {
        /// Field at fault, with a colon and a space behind, where known.
        path: String,
        /// What the decoder met.
        source: serde_json::Error,
    },
    /// Decodes, but breaks a limit.
    #[error(
        "the message names {count} artifacts, and a request has at most {}",
        ArtifactReady::ARTIFACTS_MAX
    )]
    Artifacts {
        /// How many it names.
        count: usize,
    },
    /// Objects of one name that are not the files of one directory.
    #[error("artifact {name}: {uri} is not one object, nor below the directory of that name")]
    Directory {
        /// Its name.
        name: ArtifactName,
        /// The object.
        uri: ObjectUri,
    },
}

/// Pub/Sub itself takes 10 MB; an event with the largest number of artifacts stays below this.
pub const DATA_MAX: usize = 4 << 20;

const RUN: &str = "branchline.run.{held,queued,submitted,running,completed}.v1";

impl Envelope {
    /// The message for a request. The id names run and CI job, so repeats are recognisable.
    pub fn artifact_ready(request: &ArtifactReady, time: Timestamp) -> Self {
        let (run_id, _) = RunId::derive(request);
        let gitlab = &request.gitlab;
        let context = [
            ("ce-id", format!("{run_id}/{}", gitlab.job_id)),
            ("ce-type", ArtifactReady::EVENT_TYPE.to_owned()),
            ("ce-source", format!("https://{}/{}", gitlab.host, gitlab.project_path)),
            ("ce-subject", run_id.to_string()),
            ("ce-time", time.to_string()),
        ];
        Self::binary(serde_json::to_vec(request).expect("plain data"), context)
    }

    /// The message for a run event. The id is run and ledger sequence.
    pub fn run_event(event: &RunEvent) -> Self {
        let vertex = &event.vertex;
        let context = [
            ("ce-id", format!("{}/{}", event.run_id, event.ledger.sequence)),
            ("ce-type", event.phase.event_type().to_owned()),
            ("ce-source", format!("//aiplatform.googleapis.com/{}", vertex.parent())),
            ("ce-subject", event.run_id.to_string()),
            ("ce-time", event.recorded_at.to_string()),
        ];
        let envelope = Self::binary(serde_json::to_vec(event).expect("plain data"), context);
        envelope.traced(event.trace)
    }

    /// The message for an event that is told once more with another place in
    /// line. The place is in the id, so that it is no repeat of the event.
    pub fn place_in_line(event: &RunEvent) -> Self {
        let mut envelope = Self::run_event(event);
        let place = event.place_in_line.unwrap_or_default();
        let id = format!("{}/{}/{place}", event.run_id, event.ledger.sequence);
        envelope.attributes.insert("ce-id".to_owned(), id);
        envelope
    }

    /// Reads a request, from binary mode or from a bare body.
    pub fn decode_artifact_ready(
        data: &[u8],
        attributes: &BTreeMap<String, String>,
    ) -> Result<ArtifactReady, DecodeError> {
        let expected = ArtifactReady::EVENT_TYPE;
        check_context(attributes, expected, |found| found == expected)?;
        let request: ArtifactReady = decode(data)?;
        let count = request.artifacts.len();
        if count > ArtifactReady::ARTIFACTS_MAX {
            return Err(DecodeError::Artifacts { count });
        }
        if let Some(Artifact { name, uri, .. }) = request.stray_object() {
            let (name, uri) = (name.clone(), uri.clone());
            return Err(DecodeError::Directory { name, uri });
        }
        Ok(request)
    }

    /// Reads a run event.
    pub fn decode_run_event(
        data: &[u8],
        attributes: &BTreeMap<String, String>,
    ) -> Result<RunEvent, DecodeError> {
        check_context(attributes, RUN, |found| {
            Phase::ALL.iter().any(|it| found == it.event_type())
        })?;
        Ok(RunEvent { trace: TraceParent::of(attributes), ..decode(data)? })
    }

    /// The message as part of that trace.
    #[must_use]
    pub fn traced(mut self, trace: Option<TraceParent>) -> Self {
        let attribute = trace.map(|it| (TraceParent::ATTRIBUTE.to_owned(), it.to_string()));
        self.attributes.extend(attribute);
        self
    }

    fn binary<const N: usize>(data: Vec<u8>, context: [(&str, String); N]) -> Self {
        let fixed =
            [("ce-specversion", "1.0".to_owned()), ("content-type", "application/json".to_owned())];
        let pairs = fixed.into_iter().chain(context);
        Self { data, attributes: pairs.map(|(k, v)| (k.to_owned(), v)).collect() }
    }
}

/// A message without `ce-type` is a bare body, and its shape decides.
fn check_context(
    attributes: &BTreeMap<String, String>,
    expected: &'static str,
    known: impl Fn(&str) -> bool,
) -> Result<(), DecodeError> {
    match attributes.get("ce-specversion") {
        Some(version) if version != "1.0" => return Err(DecodeError::SpecVersion(cut(version))),
        Some(_) | None => {}
    }
    match attributes.get("ce-type") {
        Some(found) if !known(found) => Err(DecodeError::Type { found: cut(found), expected }),
        Some(_) | None => Ok(()),
    }
}

fn decode<T: DeserializeOwned>(data: &[u8]) -> Result<T, DecodeError> {
    if data.len() > DATA_MAX {
        return Err(DecodeError::Size { size: data.len() });
    }
    let mut deserializer = serde_json::Deserializer::from_slice(data);
    let decoded = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = match error.path().to_string().as_str() {
            "." => String::new(),
            path => format!("{}: ", cut_to(200, path)),
        };
        DecodeError::Body { path, source: error.into_inner() }
    })?;
    deserializer.end().map_err(|source| DecodeError::Body { path: String::new(), source })?;
    Ok(decoded)
}
