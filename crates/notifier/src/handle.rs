//! One run event: a hint that a run has something new to tell.

use std::hash::{DefaultHasher, Hash, Hasher};

use branchline_contract::{DecodeError, Envelope, RunEvent, RunId};
use branchline_gitlab::{Class as GitlabClass, Client};
use branchline_ledger::Store;
use branchline_service::telemetry::chain;
use branchline_service::{Class, Failure, Health, Message, Reason, Settlement};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tracing::{Span, trace};

use crate::report::report;
use crate::wanted::wanted;

/// Readiness conditions.
const GITLAB: &str = "gitlab";
const LEDGER: &str = "ledger";
/// A run that moves on faster than it is reported has further events under way.
const ROUNDS_MAX: usize = 5;

/// What a handler needs.
pub(crate) struct Notifier {
    pub(crate) store: Store,
    pub(crate) client: Client,
    /// Host that this notifier reports to.
    pub(crate) host: String,
    pub(crate) health: Health,
    /// The user that the token stands for, once it was asked for.
    pub(crate) own: OnceCell<u64>,
    pub(crate) turns: Turns,
}

/// One report at a time for a run name of a project: between reading and
/// writing GitLab nobody else here may write. Names that share a turn by
/// accident only wait. Between pods the events' ordering key does the same.
#[derive(Default)]
pub(crate) struct Turns([Mutex<()>; 32]);

impl Turns {
    async fn take(&self, event: &RunEvent) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        (event.gitlab.project_id, event.run_id.name()).hash(&mut hasher);
        let turn = hasher.finish() % self.0.len() as u64;
        self.0[usize::try_from(turn).expect("less than the number of turns")].lock().await
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("reading the ledger")]
    Ledger(#[from] branchline_ledger::Error),
    /// The event came before the ledger showed the run, or from a stranger.
    #[error("the ledger has no run {0}")]
    Unknown(RunId),
    #[error("the run is of {found}, and this notifier reports to {expected}")]
    Host { found: String, expected: String },
    #[error("reporting {run}")]
    Gitlab { run: RunId, source: branchline_gitlab::Error },
    #[error("the ledger of {0} moved on while it was reported")]
    Moving(RunId),
}

impl Error {
    /// Exhaustive on purpose: a new variant must choose its reason to compile.
    fn reason(&self) -> Reason {
        match self {
            Self::Decode(_) => Reason::DoesNotDecode,
            Self::Ledger(source) => source.class().into(),
            Self::Host { .. } => Reason::OtherHost,
            Self::Unknown(_) => Reason::UnknownRun,
            Self::Moving(_) => Reason::Contention,
            Self::Gitlab { source, .. } => match source.class() {
                // What is hidden from the token looks as if it were not there.
                GitlabClass::Transient | GitlabClass::NotFound => Reason::GitlabUnavailable,
                GitlabClass::Permission => Reason::GitlabDenied,
                GitlabClass::Refused => Reason::GitlabRefused,
            },
        }
    }
}

impl Notifier {
    /// Reports the run that the message hints at.
    pub(crate) async fn handle(&self, message: &Message) -> Settlement {
        let Err(error) = self.tell(message).await else {
            return Settlement::Ack;
        };
        let failure = Failure { reason: error.reason(), detail: chain(&error) };
        match failure.class() {
            Class::Permission => {
                let condition = if let Error::Gitlab { .. } = error { GITLAB } else { LEDGER };
                self.health.broken(condition, failure.detail.clone());
                Settlement::Retry(failure)
            }
            Class::Transient | Class::Bug => Settlement::Retry(failure),
            Class::Undecodable | Class::Refused => Settlement::DeadLetter(failure),
        }
    }

    /// Reports the newest state until it is the one that was reported.
    async fn tell(&self, message: &Message) -> Result<(), Error> {
        let event = Envelope::decode_run_event(&message.data, &message.attributes)?;
        Span::current().record("run.id", event.run_id.as_str());
        let _turn = self.turns.take(&event).await;
        let mut reported = None;
        for _ in 0..ROUNDS_MAX {
            let history = self.store.load(event.gitlab.project_id, &event.run_id).await?;
            let history = history.ok_or_else(|| Error::Unknown(event.run_id.clone()))?;
            let run = &history.run;
            let host = run.request.gitlab.host.as_str();
            if host != self.host {
                let (found, expected) = (host.to_owned(), self.host.clone());
                return Err(Error::Host { found, expected });
            }
            if reported == Some(run.head) {
                self.health.ok(GITLAB);
                self.health.ok(LEDGER);
                return Ok(());
            }
            let wanted = wanted(&history, place_in_line(&event, run));
            let gitlab = |source| Error::Gitlab { run: run.id.clone(), source };
            let own = self.own().await.map_err(gitlab)?;
            let client = self.client.traced(run.trace);
            report(&client, own, run, &wanted).await.map_err(gitlab)?;
            trace!(ledger.sequence = run.head.sequence, "run was reported");
            reported = Some(run.head);
        }
        Err(Error::Moving(event.run_id))
    }

    async fn own(&self) -> Result<u64, branchline_gitlab::Error> {
        let ask = async || self.client.current_user().await.map(|it| it.id);
        self.own.get_or_try_init(ask).await.copied()
    }
}

/// The place in line is no fact: only the event behind the newest one knows it.
fn place_in_line(event: &RunEvent, run: &branchline_ledger::Run) -> Option<u32> {
    event.place_in_line.filter(|_| event.ledger == run.head)
}
