//! Messages that became dead letters: nobody takes them in any more.

use std::collections::BTreeMap;

use branchline_contract::{ArtifactReady, RunId};
use branchline_gcp::pubsub::Message;

use crate::story::{ARTIFACT_READY, DEAD_LETTERS};

type Published = BTreeMap<String, Vec<Message>>;

/// Whether a message like that is among the dead letters. Their tokens are taken out.
pub(crate) fn is_dead(published: &Published, request: &ArtifactReady) -> bool {
    let same = |it: &ArtifactReady| it.gitlab == request.gitlab && it.run == request.run;
    requests(published, DEAD_LETTERS).any(|it| same(&it))
}

/// Whether every message that asked for a run is, so that it may never have begun.
pub(crate) fn all_dead(published: &Published, run: &RunId) -> bool {
    let mut asked = requests(published, ARTIFACT_READY).filter(|it| RunId::derive(it).0 == *run);
    asked.all(|it| is_dead(published, &it))
}

fn requests<'a>(published: &'a Published, topic: &str) -> impl Iterator<Item = ArtifactReady> + 'a {
    let messages = published.get(topic).into_iter().flatten();
    messages.map(|it| serde_json::from_slice(&it.data).expect("every message is a request"))
}
