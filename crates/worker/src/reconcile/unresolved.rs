//! How many dead letters wait for an operator, for the alert that tells one.

use std::collections::BTreeMap;
use std::time::Duration;

use branchline_gcp::Error as GcpError;
use branchline_ledger::Filed;
use branchline_service::Reason;
use branchline_service::telemetry::chain;
use tokio::task::JoinSet;
use tracing::warn;

use super::leader::Leader;

/// Between two looks at the archive.
const EVERY: Duration = Duration::from_secs(30);

/// Looks at the archive: none or one is under way.
#[derive(Default)]
pub(super) struct Unresolved {
    looks: JoinSet<Result<BTreeMap<Reason, usize>, GcpError>>,
    began: Duration,
    next: Duration,
}

impl Leader {
    /// Tells what the last look found, and looks again now and then. No round waits for it.
    pub(super) fn count_dead_letters(&mut self) {
        let now = self.started.elapsed();
        while let Some(looked) = self.unresolved.looks.try_join_next() {
            // A large archive takes its time, and is left alone for as long again.
            self.unresolved.next = now + EVERY.max(now.saturating_sub(self.unresolved.began));
            match looked {
                Ok(Ok(counts)) => {
                    for reason in Reason::ALL {
                        let count = counts.get(&reason).copied().unwrap_or_default();
                        self.metrics.unresolved_dead_letters(reason, count);
                    }
                }
                Ok(Err(error)) => warn!(error = chain(&error), "dead letters not counted"),
                Err(error) => warn!(%error, "dead letters not counted"),
            }
        }
        if self.unresolved.looks.is_empty() && now >= self.unresolved.next {
            self.unresolved.began = now;
            let archive = self.post.archive.clone();
            self.unresolved.looks.spawn(async move {
                let mut counts = BTreeMap::new();
                let each = |letter: Filed| {
                    // One whose reason is of a newer version is told of as what nobody explained.
                    let reason =
                        Reason::named(&letter.reason).unwrap_or(Reason::DeliveriesExhausted);
                    *counts.entry(reason).or_default() += usize::from(letter.is_unresolved());
                };
                archive.each(None, each).await?;
                Ok(counts)
            });
        }
    }
}
