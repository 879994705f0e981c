//! Messages that became dead letters: nobody takes them in any more.

use std::collections::BTreeMap;

use branchline_contract::{ArtifactReady, RunId};
use branchline_gcp::pubsub::Message;
use branchline_ledger::Letter;

use crate::story::ARTIFACT_READY;

/// The request that became a dead letter.
pub(crate) fn request_in(letter: &[u8]) -> ArtifactReady {
    let letter: Letter = serde_json::from_slice(letter).expect("nobody replays one here");
    serde_json::from_slice(&letter.data.0).expect("every message is a request")
}

/// Whether a message like that is among the dead letters. Their tokens are taken out.
pub(crate) fn is_dead(buried: &[ArtifactReady], request: &ArtifactReady) -> bool {
    buried.iter().any(|it| it.gitlab == request.gitlab && it.run == request.run)
}

/// Whether every message that asked for a run is, so that it may never have begun.
pub(crate) fn all_dead(
    published: &BTreeMap<String, Vec<Message>>,
    buried: &[ArtifactReady],
    run: &RunId,
) -> bool {
    let messages = published.get(ARTIFACT_READY).into_iter().flatten();
    let requests = messages.map(|it| -> ArtifactReady {
        serde_json::from_slice(&it.data).expect("every message is a request")
    });
    requests.filter(|it| RunId::derive(it).0 == *run).all(|it| is_dead(buried, &it))
}
