//! Runs of a merge request that was closed are cancelled: GitLab is asked about
//! the merge requests of active runs now and then, and the leader is asked to
//! end what nobody wants any more. A merge request that was merged ends nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use branchline_contract::{Actor, Ask, IdToken, Reason, Request, RequestId, RunId};
use branchline_gcp::Class as GoogleClass;
use branchline_gcp::identity::IdTokens;
use branchline_gitlab::Class;
use branchline_ledger::{Queue, RequestName, Requests, Run};
use branchline_service::telemetry::chain;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::handle::Notifier;

const ACTOR: &str = "branchline-notifier";
/// Readiness condition.
const CONDITION: &str = "merge-requests";

/// Looks after closed merge requests.
pub(crate) struct Closed {
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) queue: Queue,
    pub(crate) requests: Requests,
    /// Where it proves who it is.
    pub(crate) id_tokens: Option<IdTokens>,
    pub(crate) pause: Duration,
    /// What active runs say of their merge requests, which never changes.
    pub(crate) known: BTreeMap<RunId, Option<MergeRequest>>,
}

/// A merge request as a run claims it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MergeRequest {
    project_id: u64,
    iid: u64,
    branch: String,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("listing active runs")]
    Google(#[from] branchline_gcp::Error),
    #[error("reading the ledger")]
    Ledger(#[from] branchline_ledger::Error),
    #[error("reading merge request !{iid} of project {project_id}")]
    Gitlab { project_id: u64, iid: u64, source: branchline_gitlab::Error },
}

impl Error {
    /// Whether a right is missing, which somebody has to give.
    fn is_denied(&self) -> bool {
        match self {
            Self::Google(source) => source.class() == GoogleClass::Permission,
            Self::Ledger(source) => source.class() == GoogleClass::Permission,
            Self::Gitlab { source, .. } => source.class() == Class::Permission,
        }
    }
}

impl Closed {
    /// Looks again and again, until `stop`.
    pub(crate) async fn watch(mut self, stop: CancellationToken) {
        while let Some(looked) = stop.run_until_cancelled(self.look()).await {
            let health = &self.notifier.health;
            match looked {
                Ok(()) => health.ok(CONDITION),
                Err(error) => {
                    warn!(error = chain(&error), "merge requests of active runs not looked at");
                    if error.is_denied() {
                        health.broken(CONDITION, chain(&error));
                    }
                }
            }
            stop.run_until_cancelled(tokio::time::sleep(self.pause)).await;
        }
    }

    async fn look(&mut self) -> Result<(), Error> {
        let (entries, _) = self.queue.list().await?;
        let active: BTreeMap<RunId, u64> =
            entries.into_iter().map(|it| (it.ticket.run, it.project_id)).collect();
        self.known.retain(|run, _| active.contains_key(run));
        for (run, project_id) in active {
            if self.known.contains_key(&run) {
                continue;
            }
            // One run that cannot be read keeps nobody from the others.
            match self.notifier.store.load(project_id, &run).await {
                Ok(Some(history)) => {
                    let named = self.claimed(&history.run);
                    self.known.insert(run, named);
                }
                Ok(None) => {}
                Err(error) => warn!(run.id = %run, error = chain(&error), "run not read"),
            }
        }
        let claimed: BTreeSet<MergeRequest> = self.known.values().flatten().cloned().collect();
        for merge_request in claimed {
            if self.is_closed(&merge_request).await? {
                self.cancel_runs(&merge_request).await?;
            }
        }
        Ok(())
    }

    fn claimed(&self, run: &Run) -> Option<MergeRequest> {
        let gitlab = &run.request.gitlab;
        let named = gitlab.merge_request.as_ref()?;
        (gitlab.host.as_str() == self.notifier.host).then(|| MergeRequest {
            project_id: gitlab.project_id,
            iid: named.iid,
            branch: gitlab.git_ref.to_string(),
        })
    }

    /// A number is only a claim: another branch's merge request says nothing about a run.
    async fn is_closed(&self, it: &MergeRequest) -> Result<bool, Error> {
        match self.notifier.client.merge_request(it.project_id, it.iid).await {
            Ok(found) => Ok(found.state == "closed" && found.source_branch == it.branch),
            Err(error) if error.class() == Class::NotFound => Ok(false),
            Err(source) => Err(Error::Gitlab { project_id: it.project_id, iid: it.iid, source }),
        }
    }

    async fn cancel_runs(&self, closed: &MergeRequest) -> Result<(), Error> {
        let runs = self.known.iter().filter(|(_, it)| it.as_ref() == Some(closed));
        for (run, _) in runs {
            let history = self.notifier.store.load(closed.project_id, run).await?;
            let Some(run) = history.map(|it| it.run) else { continue };
            if run.ending().is_some() || run.cancel.is_some() {
                continue;
            }
            let mut request = cancel(&run, closed.iid);
            // Every notifier gives it this name, so that one request is asked once.
            let name = RequestName::new(run.asked_at, &request.id);
            if self.requests.answered(&name).await?.is_none() {
                if let Some(id_tokens) = &self.id_tokens {
                    request.id_token = Some(IdToken(id_tokens.token().await?));
                }
                self.requests.ask(&name, &request).await?;
                info!(run.id = %run.id, merge_request.iid = closed.iid, "merge request closed; run to be cancelled");
            }
        }
        Ok(())
    }
}

fn cancel(run: &Run, iid: u64) -> Request {
    let id = format!("merge-request-closed-{}-{}", run.id, run.attempt);
    let (run, attempt) = (run.id.clone(), Some(run.attempt));
    Request {
        id: RequestId::parse(id).expect("a run id and a number fit"),
        actor: Actor::parse(ACTOR).expect("a short word"),
        id_token: None,
        reason: Reason::parse(format!("merge request !{iid} was closed")).expect("a short line"),
        ask: Ask::Cancel { run, attempt },
    }
}
