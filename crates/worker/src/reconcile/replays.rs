//! Carries out what operators ask for dead letters: replay, edit, discard. A task beside the rounds, so
//! that no round waits; and one task, so that a rate holds over all requests that name it.
//!
//! A letter's act is on record before anything is sent, and names the request. So whoever takes a
//! request up again after a crash sends those of its letters once more, and nobody else does.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use branchline_contract::{Ask, LetterId, Pick, Request, Sha256};
use branchline_gcp::pubsub::{Message, Publish};
use branchline_gcp::{Class, Error as GcpError};
use branchline_ledger::{
    Act, Acted, Answer, Archive, Asked, Base64, Clock, Deed, LETTER_BYTES_MAX, Letter, Origin,
    RequestName, Requests, Role, Sent, Verdict,
};
use branchline_service::redact;
use branchline_service::telemetry::chain;
use futures::{StreamExt as _, stream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use crate::provenance::REPLAY;

/// Requests under way at once: one begins while another is being answered.
const REQUESTS_AT_ONCE: usize = 2;
/// Letters of one request under way at once.
const AT_ONCE: usize = 100;
/// What they may hold in memory, in KiB.
const KIBIBYTES_MAX: usize = 64 << 10;
/// Replays of one message before it takes force.
const REPLAYS_MAX: u32 = 3;
/// Pub/Sub's own limit.
const ATTRIBUTES_MAX: usize = 100;
/// Before what failed is tried again.
const PAUSE: Duration = Duration::from_secs(2);

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
    /// The time on the wall.
    pub clock: Clock,
}

/// The task, and what it was given to do. It ends with this.
pub(super) struct Replays {
    work: mpsc::UnboundedSender<Work>,
    given: Arc<Mutex<BTreeSet<String>>>,
    task: JoinHandle<()>,
}

/// A request whose asker is known.
struct Work {
    asked: Asked,
    name: RequestName,
    request: Request,
    /// Whether the actor was proven.
    proven: bool,
}

/// What became of one letter, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Became {
    Replayed,
    Discarded,
    Edited,
    /// Something else happened to it since it was seen.
    Changed,
    /// The archive has none.
    Absent,
    /// Nothing proved where it comes from.
    Unproven,
    /// It came back too often.
    Looping,
    /// It has no room for the name of the replay.
    Full,
}

impl Became {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
            Self::Edited => "edited",
            Self::Changed => "changed since it was looked at",
            Self::Absent => "not in the archive",
            Self::Unproven => "without a proven origin (edit it, or retry its CI job)",
            Self::Looping => "replayed three times and back (--force sends it again)",
            Self::Full => "without room for one more attribute (export it)",
        }
    }

    const fn is_done(self) -> bool {
        match self {
            Self::Replayed | Self::Discarded | Self::Edited => true,
            Self::Changed | Self::Absent | Self::Unproven | Self::Looping | Self::Full => false,
        }
    }
}

impl Replays {
    pub(super) fn start(post: Post) -> Self {
        let (work, receiver) = mpsc::unbounded_channel();
        let given = Arc::new(Mutex::new(BTreeSet::new()));
        let task = tokio::spawn(post.run(receiver, given.clone()));
        Self { work, given, task }
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
            drop(self.work.send(Work { asked, name, request, proven }));
        }
    }
}

impl Drop for Replays {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Post {
    async fn run(self, work: mpsc::UnboundedReceiver<Work>, given: Arc<Mutex<BTreeSet<String>>>) {
        let limits = Limits { pace: Pace::default(), memory: Semaphore::new(KIBIBYTES_MAX) };
        let next = |mut work: mpsc::UnboundedReceiver<Work>| async {
            work.recv().await.map(|it| (it, work))
        };
        let each = async |work: Work| {
            let mut became = BTreeMap::new();
            while let Err(error) = self.carry_out(&work, &limits, &mut became).await {
                warn!(
                    request.id = work.name.id(),
                    error = chain(&error),
                    "request about dead letters not finished; tried again"
                );
                sleep(PAUSE).await;
            }
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
    ) -> Result<(), GcpError> {
        let (picks, per_second) = match &work.request.ask {
            Ask::Replay { letters, per_second, .. } => (letters.as_slice(), *per_second),
            Ask::Discard { letters } => (letters.as_slice(), None),
            Ask::Edit { letter, .. } => (std::slice::from_ref(letter), None),
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
        let left: Vec<_> = left.map(|it| self.one(work, it, per_second, limits)).collect();
        let mut done = stream::iter(left).buffer_unordered(AT_ONCE);
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

    async fn one(
        &self,
        work: &Work,
        pick: &Pick,
        per_second: Option<NonZeroU32>,
        limits: &Limits,
    ) -> (LetterId, Result<Became, GcpError>) {
        let kibibytes = (pick.size >> 10).clamp(1, LETTER_BYTES_MAX >> 10);
        let kibibytes = u32::try_from(kibibytes).expect("that of a letter");
        let _held = limits.memory.acquire_many(kibibytes).await.expect("never closed");
        if let Some(rate) = per_second {
            limits.pace.turn(rate).await;
        }
        let outcome = match &work.request.ask {
            Ask::Replay { force, .. } => self.replay(work, pick, *force).await,
            Ask::Edit { data, .. } => self.edit(work, pick, data).await,
            _ => self.act(work, pick, Deed::Discarded {}, Became::Discarded).await,
        };
        (pick.id.clone(), outcome)
    }

    async fn replay(&self, work: &Work, pick: &Pick, force: bool) -> Result<Became, GcpError> {
        let Some(letter) = self.letter(pick).await? else { return Ok(Became::Absent) };
        // Each replay of this letter, and those that brought it here.
        let replays = letter.replays + 1 + self.replays_before(pick).await?;
        if replays > REPLAYS_MAX && !force {
            return Ok(Became::Looping);
        }
        if letter.role == Role::Worker && !letter.origin.is_proven() {
            return Ok(Became::Unproven);
        }
        if letter.attributes.len() >= ATTRIBUTES_MAX {
            return Ok(Became::Full);
        }
        let topic = match letter.role {
            Role::Worker => &self.artifact_topic,
            Role::Notifier => &self.run_event_topic,
        };
        let deed = Deed::Replayed {
            topic: topic.clone(),
            sha256: letter.sha256,
            origin: letter.origin.clone(),
            first_published: letter.first_published,
            replays,
        };
        let outcome = self.act(work, pick, deed, Became::Replayed).await?;
        if outcome == Became::Replayed {
            self.publisher.publish(topic, outgoing(letter, pick)).await?;
        }
        Ok(outcome)
    }

    /// The letter with the body that is meant, if it is no larger than it was seen.
    async fn letter(&self, pick: &Pick) -> Result<Option<Letter>, GcpError> {
        let letter = as_seen(self.archive.letter(&pick.id, pick.size).await)?;
        let Some(mut letter) = letter else { return Ok(None) };
        if pick.body == 0 {
            return Ok(Some(letter));
        }
        let edit = as_seen(self.archive.acted(&pick.id, pick.body, pick.size).await)?;
        let Some(Deed::Edited { sha256, editor, data }) = edit.map(|it| it.deed) else {
            return Ok(None);
        };
        (letter.sha256, letter.data) = (sha256, data);
        letter.origin = Origin::Operator { email: editor };
        Ok(Some(letter))
    }

    /// A letter that nothing happened to was not replayed either.
    async fn replays_before(&self, pick: &Pick) -> Result<u32, GcpError> {
        if pick.seen == 0 {
            return Ok(0);
        }
        let filed = self.archive.find(&pick.id).await?;
        let acts = filed.map(|it| it.acts).unwrap_or_default();
        let replays = acts.iter().filter(|it| it.position <= pick.seen && it.kind == "replayed");
        Ok(u32::try_from(replays.count()).unwrap_or(u32::MAX))
    }

    /// An edit is believed on the word of whoever wrote it, so that has to be proven.
    async fn edit(&self, work: &Work, pick: &Pick, data: &str) -> Result<Became, GcpError> {
        let data = Base64::try_from(data.to_owned()).expect("it was looked at before");
        let data = Base64(redact(&data.0).into());
        let sha256 = Sha256::of(&data.0);
        let editor = work.request.actor.to_string();
        if !work.proven || self.archive.find(&pick.id).await?.is_none() {
            return Ok(Became::Absent);
        }
        self.act(work, pick, Deed::Edited { sha256, editor, data }, Became::Edited).await
    }

    /// Puts a deed on record behind what was seen.
    async fn act(
        &self,
        work: &Work,
        pick: &Pick,
        deed: Deed,
        became: Became,
    ) -> Result<Became, GcpError> {
        let act = Act {
            request: work.name.as_str().to_owned(),
            actor: work.request.actor.to_string(),
            reason: work.request.reason.to_string(),
            time: (self.clock)(),
            deed,
        };
        Ok(match self.archive.act(&pick.id, pick.seen.saturating_add(1), &act).await? {
            Acted::Recorded => became,
            Acted::Taken(_) => Became::Changed,
        })
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
        let mut request = work.request.clone();
        // The ledger's bucket is for ever, and a dead letter may be anything.
        if let Ask::Edit { data, .. } = &mut request.ask {
            data.clear();
        }
        Answer {
            request: Some(request),
            verdict: if done { Verdict::Done } else { Verdict::Refused },
            message,
            counts: counts.iter().map(|(it, count)| (it.as_str().to_owned(), *count)).collect(),
            time: (self.clock)(),
        }
    }
}

/// What is larger than it was seen is none.
fn as_seen<T>(read: Result<Option<T>, GcpError>) -> Result<Option<T>, GcpError> {
    match read {
        Err(error) if error.class() == Class::Refused => Ok(None),
        read => read,
    }
}

/// What is sent: the message as it came first, and the name of the replay.
fn outgoing(letter: Letter, pick: &Pick) -> Message {
    let sent = Sent { letter: pick.id.clone(), position: pick.seen.saturating_add(1) };
    let mut attributes = letter.attributes;
    attributes.insert(REPLAY.to_owned(), sent.to_string());
    let ordering_key = Some(letter.ordering_key).filter(|it| !it.is_empty());
    Message { data: letter.data.0, attributes, ordering_key }
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
