//! What ends or holds back a run beside its training, over sockets.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "control/approvals.rs"]
mod approvals;
#[path = "control/merge_request.rs"]
mod merge_request;
#[path = "control/requests.rs"]
mod requests;
#[path = "control/retry.rs"]
mod retry;
#[path = "control/supersede.rs"]
mod supersede;
#[path = "control/surplus.rs"]
mod surplus;

use branchline_ledger::{History, State};
use branchline_tests::eventually::eventually;
use branchline_tests::world::World;
use serde_json::Value;
use tempfile::TempDir;

/// Training that ends when it is let go, or when it is told to.
pub(crate) struct Training(TempDir);

impl Training {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn script(&self) -> String {
        let go = self.0.path().join("go");
        format!("trap 'exit 143' TERM; until test -e {}; do sleep 0.05; done", go.display())
    }

    pub(crate) fn let_go(&self) {
        std::fs::write(self.0.path().join("go"), "").unwrap();
    }
}

/// The run, once its state is the one.
pub(crate) async fn reaches(
    world: &World,
    request: &Value,
    what: &str,
    is: impl Fn(&State) -> bool,
) -> History {
    eventually(what, async || {
        let history = world.history(request).await?;
        is(&history.run.state).then_some(history)
    })
    .await
}

/// How many facts of a kind there are.
pub(crate) fn count(history: &History, kind: &str) -> usize {
    history.entries.iter().filter(|it| it.fact.body.kind() == kind).count()
}
