//! What crosses the wire, told from outside.

#![expect(clippy::unwrap_used, reason = "a test fails where it fails")]

mod envelopes;
mod events;
mod placeholders;
mod run_ids;
mod texts;

use branchline_contract::ArtifactReady;
use serde_json::Value;

/// The golden request.
fn request_data() -> Value {
    events::Golden::read(ArtifactReady::EVENT_TYPE).data
}

/// The golden request after a change of its data.
fn request(change: impl FnOnce(&mut Value)) -> ArtifactReady {
    let mut data = request_data();
    change(&mut data);
    serde_json::from_value(data).unwrap()
}
