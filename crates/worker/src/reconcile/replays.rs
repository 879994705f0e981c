//! Carries out what operators ask for dead letters: replay, edit, discard. A task beside the rounds, so
//! that no round waits; and one task, so that a rate holds over all requests that name it.
//!
//! A letter's act is on record before anything is sent, and names the request. So whoever takes a
//! request up again after a crash sends those of its letters once more, and nobody else does.

mod one;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use branchline_contract::{Ask, LetterId, Request};
use branchline_gcp::Error as GcpError;
use branchline_gcp::pubsub::Publish;
use branchline_ledger::{Answer, Archive, Asked, Clock, RequestName, Requests, Verdict};
use branchline_service::Health;
use branchline_service::telemetry::chain;
use futures::future::join_all;
use futures::{StreamExt as _, stream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use self::one::Became;

/// Readiness condition.
const CONDITION: &str = "replays";
/// Requests under way at once: one begins while another is being answered.
const REQUESTS_AT_ONCE: usize = 2;
/// Letters of one request under way at once.
const AT_ONCE: usize = 100;
/// What they may hold in memory, in KiB.
const KIBIBYTES_MAX: usize = 64 << 10;
/// Before what failed is tried again.
const PAUSE: Duration = Duration::from_secs(2);
/// For so long readiness tells of a refusal: by then it was met again, or is over.
const TOLD_FOR: Duration = Duration::from_mins(1);

/// What the task works with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Post {
    /// Where dead letters lie.
    pub archive: Archive,
    /// Where answers go.
    pub requests: Requests,
    /// Where letters are sent to.
    pub publisher: Arc<dyn Publish>,
    /// The topic of requests.
    pub artifact_topic: String,
    /// The topic of run events.
    pub run_event_topic: String,
    /// What is wrong for everybody.
    pub health: Health,
    /// The time on the wall.
    pub clock: Clock,
}

/// The task, and what it was given to do. It ends with this.
pub(super) struct Replays {
    paced: mpsc::UnboundedSender<Work>,
    others: mpsc::UnboundedSender<Work>,
    given: Given,
    task: JoinHandle<()>,
}

/// Names of the requests that the task has.
type Given = Arc<Mutex<BTreeSet<String>>>;

/// A request whose asker is known.
struct Work {
    asked: Asked,
    name: RequestName,
    request: Request,
    /// Whether the actor was proven.
    proven: bool,
}

impl Replays {
    pub(super) fn start(post: Post) -> Self {
        let ((paced, first), (others, second)) =
            (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let given = Given::default();
        let task = tokio::spawn(post.run([first, second], given.clone()));
        Self { paced, others, given, task }
    }

    /// Whether the task can take nothing more, because it panicked.
    pub(super) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Whether the task has that request and is not through with it. One that panicked has none.
    pub(super) fn has(&self, name: &RequestName) -> bool {
        !self.task.is_finished()
            && self.given.lock().expect("no holder panics").contains(name.as_str())
    }

    /// Gives a request to the task, unless it has it. The task writes the answer.
    pub(super) fn take(&self, asked: &Asked, name: &RequestName, request: &Request, proven: bool) {
        if self.given.lock().expect("no holder panics").insert(name.as_str().to_owned()) {
            let (asked, name, request) = (asked.clone(), name.clone(), request.clone());
            // A task that panicked takes nothing more, and is started again.
            let lane = match &request.ask {
                Ask::Replay { .. } => &self.paced,
                _ => &self.others,
            };
            drop(lane.send(Work { asked, name, request, proven }));
        }
    }
}

impl Drop for Replays {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Post {
    /// Replays are paced, and whatever else is asked for does not wait behind them.
    async fn run(self, lanes: [mpsc::UnboundedReceiver<Work>; 2], given: Given) {
        let limits = Limits { pace: Pace::default(), memory: Semaphore::new(KIBIBYTES_MAX) };
        join_all(lanes.map(|it| self.lane(it, &limits, &given))).await;
    }

    async fn lane(&self, work: mpsc::UnboundedReceiver<Work>, limits: &Limits, given: &Given) {
        let next = |mut work: mpsc::UnboundedReceiver<Work>| async {
            work.recv().await.map(|it| (it, work))
        };
        let each = async |work: Work| {
            let (mut became, mut at_once) = (BTreeMap::new(), AT_ONCE);
            while let Err(error) = self.carry_out(&work, limits, &mut became, at_once).await {
                warn!(
                    request.id = work.name.id(),
                    error = chain(&error),
                    "request about dead letters not finished; tried again"
                );
                self.health.denied(CONDITION, &error, TOLD_FOR);
                // Messages of one call fail together: alone, each fails by its own fault.
                at_once = 1;
                sleep(PAUSE).await;
            }
            self.health.ok(CONDITION);
            given.lock().expect("no holder panics").remove(work.name.as_str());
        };
        stream::unfold(work, next).for_each_concurrent(REQUESTS_AT_ONCE, each).await;
    }

    /// Does what is left of it, and answers once nothing is.
    async fn carry_out(
        &self,
        work: &Work,
        limits: &Limits,
        became: &mut BTreeMap<LetterId, Became>,
        at_once: usize,
    ) -> Result<(), GcpError> {
        let picks = match &work.request.ask {
            Ask::Replay { letters, .. } | Ask::Discard { letters } => letters.as_slice(),
            Ask::Edit { letter, .. } => std::slice::from_ref(letter),
            Ask::Cancel { .. }
            | Ask::Approve { .. }
            | Ask::Retry(_)
            | Ask::Pause(_)
            | Ask::Resume(_) => {
                unreachable!("only what is about dead letters is given here")
            }
        };
        let mut named = BTreeSet::new();
        let left = picks.iter().filter(|it| !became.contains_key(&it.id) && named.insert(&it.id));
        let left: Vec<_> = left.map(|it| self.one(work, it, limits, at_once == 1)).collect();
        let mut done = stream::iter(left).buffer_unordered(at_once);
        let mut first = Ok(());
        while let Some((id, outcome)) = done.next().await {
            match outcome {
                Ok(outcome) => drop(became.insert(id, outcome)),
                Err(error) => first = first.and(Err(error)),
            }
        }
        drop(done);
        first?;
        let answer = self.answer(work, became);
        info!(request.id = work.name.id(), message = answer.message, "request answered");
        self.requests.answer(&work.name, &answer).await?;
        self.requests.remove(&work.asked).await
    }

    fn answer(&self, work: &Work, became: &BTreeMap<LetterId, Became>) -> Answer {
        let mut counts: BTreeMap<Became, u64> = BTreeMap::new();
        for it in became.values() {
            *counts.entry(*it).or_default() += 1;
        }
        let done = counts.keys().any(|it| it.is_done()) || counts.is_empty();
        let told: Vec<_> =
            counts.iter().map(|(it, count)| format!("{count} {}", it.as_str())).collect();
        let message = if told.is_empty() { "nothing to do".to_owned() } else { told.join(", ") };
        Answer {
            request: Some(work.request.clone().for_the_record()),
            verdict: if done { Verdict::Done } else { Verdict::Refused },
            message,
            counts: counts.iter().map(|(it, count)| (it.as_str().to_owned(), *count)).collect(),
            time: (self.clock)(),
        }
    }
}

/// What all requests share.
struct Limits {
    pace: Pace,
    memory: Semaphore,
}

/// When the next letter may be sent, over all requests of one rate.
#[derive(Default)]
struct Pace(Mutex<Option<Instant>>);

impl Pace {
    async fn turn(&self, per_second: NonZeroU32) {
        let every = Duration::from_secs(1) / per_second.get();
        let at = {
            let mut next = self.0.lock().expect("no holder panics");
            let now = Instant::now();
            // What was not sent in time is caught up with, for a second's worth.
            let at =
                next.unwrap_or(now).max(now.checked_sub(Duration::from_secs(1)).unwrap_or(now));
            *next = Some(at + every);
            at
        };
        sleep_until(at).await;
    }
}
