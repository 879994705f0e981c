//! A run as it goes on: read once, and from then on one list for each look.

use std::time::Duration;

use branchline_contract::RunId;
use branchline_gcp::Class;
use branchline_ledger::{Error, History, Store};

/// A run that is looked at again and again.
pub(crate) struct Followed {
    store: Store,
    project_id: u64,
    id: RunId,
    history: Option<History>,
}

impl Followed {
    /// Nothing is read yet.
    pub(crate) const fn new(store: Store, project_id: u64, id: RunId) -> Self {
        Self { store, project_id, id, history: None }
    }

    /// A run that was read already.
    pub(crate) fn known(store: Store, history: History) -> Self {
        let (project_id, id) = (history.run.request.gitlab.project_id, history.run.id.clone());
        Self { store, project_id, id, history: Some(history) }
    }

    /// The run's id.
    pub(crate) const fn id(&self) -> &RunId {
        &self.id
    }

    /// The run as it was last seen; `None` while nothing is requested.
    pub(crate) const fn history(&self) -> Option<&History> {
        self.history.as_ref()
    }

    /// Looks at it anew.
    pub(crate) async fn look(&mut self) -> Result<Option<&History>, Error> {
        match &mut self.history {
            Some(history) => {
                self.store.catch_up(history).await?;
            }
            None => self.history = self.store.load(self.project_id, &self.id).await?,
        }
        Ok(self.history.as_ref())
    }
}

/// Time until the next look at a run of which nothing was new for so long. Each look is a list, which Cloud Storage bills.
pub(crate) const fn pause(quiet: Duration) -> Duration {
    Duration::from_secs(if quiet.as_secs() < 120 { 3 } else { 15 })
}

/// Whether the next look may succeed where this one failed.
pub(crate) fn may_pass(error: &Error) -> bool {
    match error.class() {
        Class::Transient | Class::Quota => true,
        Class::NotFound | Class::Conflict | Class::Refused | Class::Permission => false,
    }
}
