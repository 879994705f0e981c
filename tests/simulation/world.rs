//! The simulated world: one seed, one clock, processes that are killed and
//! frozen, and calls that go wrong. Nothing here knows the protocol.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::pending;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use branchline_gcp::Error;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::gitlab::Gitlab;
use crate::law::Law;
use crate::pubsub::Topics;
use crate::storage::Buckets;
use crate::vertex::Jobs;

/// What can happen to a call, or to the process that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The caller is killed before the request leaves.
    KilledBefore,
    /// The caller is killed when the request was carried out, before it knows.
    KilledAfter,
    /// The request is lost.
    RequestLost,
    /// The request is carried out, and the answer is lost.
    AnswerLost,
    /// The answer is lost, and the client repeats the request by itself.
    Repeated,
    /// The server is unavailable and says so.
    Unavailable,
    /// The server has had enough and says so.
    Throttled,
    /// The way there takes longer than any patience.
    Slow,
    /// The caller is stopped (SIGSTOP) for longer than its lease.
    Frozen,
}

impl Fault {
    pub(crate) const ALL: [Self; 9] = [
        Self::KilledBefore,
        Self::KilledAfter,
        Self::RequestLost,
        Self::AnswerLost,
        Self::Repeated,
        Self::Unavailable,
        Self::Throttled,
        Self::Slow,
        Self::Frozen,
    ];
}

/// One seed's world. Cheap to clone.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>);

/// Everything there is, but for the processes themselves.
pub(crate) struct State {
    pub(crate) rng: fastrand::Rng,
    start: Instant,
    /// Nothing goes wrong any more from then on.
    pub(crate) calm_from: Duration,
    /// One call in so many goes wrong before.
    pub(crate) rarity: u32,
    /// How many times as long as usual a call is on its way.
    pub(crate) slowness: u32,
    /// While it lasts, calls for the lease fail, and no others do for that.
    pub(crate) lease_out: Range<Duration>,
    processes: Vec<Process>,
    pub(crate) buckets: Buckets,
    /// A message becomes a dead letter behind so many.
    pub(crate) deliveries_max: u32,
    /// Whether workers stage inputs.
    pub(crate) staging: bool,
    pub(crate) topics: Topics,
    pub(crate) jobs: Jobs,
    pub(crate) gitlab: Gitlab,
    pub(crate) law: Law,
    /// Which faults met a run in which state.
    pub(crate) seen: BTreeSet<(&'static str, Fault)>,
    pub(crate) trace: Vec<String>,
}

struct Process {
    name: String,
    /// Rises with every start, so that what belonged to an earlier life is told apart.
    life: u32,
    frozen_until: Duration,
    killed: Arc<Notify>,
}

thread_local! {
    static EPOCH: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// When every world begins, by its wall clock.
pub(crate) const BEGINNING: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// The wall clock of the world that this thread simulates.
pub(crate) fn wall_clock() -> Timestamp {
    let start = EPOCH.get().expect("a world was made on this thread");
    let elapsed = jiff::SignedDuration::try_from(start.elapsed()).expect("a world is young");
    BEGINNING + elapsed
}

impl World {
    /// An empty world. Call it in a runtime whose clock is paused.
    pub(crate) fn new(seed: u64, processes: &[&str]) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        // What the product draws (nonces, jitter) comes from the seed as well.
        fastrand::seed(rng.u64(..));
        let start = Instant::now();
        EPOCH.set(Some(start));
        let process = |name: &&str| Process {
            name: (*name).to_owned(),
            life: 0,
            frozen_until: Duration::ZERO,
            killed: Arc::default(),
        };
        Self(Arc::new(Mutex::new(State {
            calm_from: Duration::ZERO,
            rarity: 20,
            slowness: 1,
            lease_out: Duration::ZERO..Duration::ZERO,
            processes: processes.iter().map(process).collect(),
            buckets: Buckets::default(),
            deliveries_max: 100,
            staging: false,
            topics: Topics::default(),
            jobs: Jobs::new(),
            gitlab: Gitlab::default(),
            law: Law::default(),
            seen: BTreeSet::new(),
            trace: Vec::new(),
            rng,
            start,
        })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder panics")
    }

    /// Begins a life of a process: its door, and what tells that it was killed.
    pub(crate) fn begin(&self, process: usize) -> (Door, Arc<Notify>) {
        let mut state = self.state();
        let killed = Arc::new(Notify::new());
        let it = &mut state.processes[process];
        it.life += 1;
        it.frozen_until = Duration::ZERO;
        it.killed = killed.clone();
        let (name, life) = (it.name.clone(), it.life);
        state.note(format_args!("{name} begins life {life}"));
        (Door { world: self.clone(), process, life }, killed)
    }
}

impl State {
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn note(&mut self, line: fmt::Arguments<'_>) {
        let line = format!("{:>9.3} {line}", self.now().as_secs_f64());
        self.trace.push(line);
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.now() >= self.calm_from
    }

    pub(crate) fn chance(&mut self, one_in: u32) -> bool {
        !self.is_calm() && self.rng.u32(..one_in) == 0
    }

    pub(crate) fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }

    /// Whether that life of a process is still going on.
    pub(crate) fn lives(&self, process: usize, life: u32) -> bool {
        self.processes[process].life == life
    }

    fn end_life(&mut self, process: usize) {
        self.processes[process].life += 1;
    }

    /// That life of a process is over: nobody extends its leases any more.
    pub(crate) fn end(&mut self, process: usize, life: u32) {
        if self.lives(process, life) {
            self.end_life(process);
        }
        self.release(process, life);
        let name = self.processes[process].name.clone();
        self.note(format_args!("{name} ends life {life}"));
    }

    /// Counts a fault for the run that a call was about.
    fn count(&mut self, what: &str, fault: Fault) {
        if let Some(state) = self.law.state_in(what) {
            self.seen.insert((state, fault));
        }
    }

    /// What goes wrong with a call.
    fn fault(&mut self, what: &str) -> Option<Fault> {
        let rarity = self.rarity;
        let fault = if what.ends_with("/lease") && self.lease_out.contains(&self.now()) {
            [Fault::RequestLost, Fault::AnswerLost, Fault::Unavailable][self.rng.usize(..3)]
        } else if self.chance(rarity) {
            Fault::ALL[self.rng.usize(..Fault::ALL.len())]
        } else {
            return None;
        };
        self.count(what, fault);
        Some(fault)
    }
}

/// The way of one life of a process to the world.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) world: World,
    pub(crate) process: usize,
    pub(crate) life: u32,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Door({}, {})", self.process, self.life)
    }
}

impl Door {
    /// One call: it takes its time, and before the calm it may go wrong in
    /// every way that a call can.
    pub(crate) async fn call<T>(
        &self,
        what: &str,
        mut carry_out: impl FnMut(&mut State) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (fault, there, back) = {
            let mut state = self.world.state();
            let fault = state.fault(what);
            let slowness = state.slowness;
            let mut way = || state.millis(1..40) * slowness;
            let (there, back) = (way(), way());
            (fault, there, back)
        };
        let there = if fault == Some(Fault::Slow) { there * 1_000 } else { there };
        self.pass(there).await;
        match fault {
            Some(Fault::KilledBefore) => self.die(what, "before").await,
            Some(Fault::RequestLost) => return Err(self.unanswered(what, "request").await),
            Some(Fault::Unavailable) => return Err(self.refused(what, 14)),
            Some(Fault::Throttled) => return Err(self.refused(what, 8)),
            Some(
                Fault::KilledAfter
                | Fault::AnswerLost
                | Fault::Repeated
                | Fault::Slow
                | Fault::Frozen,
            )
            | None => {}
        }
        let mut result = self.carry_out(what, &mut carry_out);
        match fault {
            Some(Fault::KilledAfter) => self.die(what, "after").await,
            Some(Fault::AnswerLost) => return Err(self.unanswered(what, "answer").await),
            Some(Fault::Repeated) => {
                self.pass(back).await;
                result = self.carry_out(what, &mut carry_out);
            }
            Some(Fault::Frozen) => self.freeze(what),
            Some(
                Fault::KilledBefore
                | Fault::RequestLost
                | Fault::Unavailable
                | Fault::Throttled
                | Fault::Slow,
            )
            | None => {}
        }
        self.pass(back).await;
        result
    }

    fn carry_out<T>(
        &self,
        what: &str,
        carry_out: &mut impl FnMut(&mut State) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut state = self.world.state();
        let result = carry_out(&mut state);
        let outcome =
            result.as_ref().map_or_else(|it| format!("{:?}", it.class()), |_| "ok".to_owned());
        let name = state.processes[self.process].name.clone();
        state.note(format_args!("{name}: {what}: {outcome}"));
        result
    }

    /// Lets time pass; a frozen process sees nothing of it until it is thawed.
    async fn pass(&self, time: Duration) {
        sleep(time).await;
        loop {
            let thaw = {
                let state = self.world.state();
                state.start + state.processes[self.process].frozen_until
            };
            if thaw <= Instant::now() {
                return;
            }
            sleep_until(thaw).await;
        }
    }

    fn freeze(&self, what: &str) {
        let mut state = self.world.state();
        let until = state.now() + state.millis(5_000..60_000);
        let it = &mut state.processes[self.process];
        it.frozen_until = until;
        let name = it.name.clone();
        state.note(format_args!("{name}: {what}: frozen until {:.3}", until.as_secs_f64()));
    }

    /// The process ends here; its next life knows nothing of this one.
    async fn die<T>(&self, what: &str, when: &str) -> T {
        {
            let mut state = self.world.state();
            let it = &state.processes[self.process];
            let (name, killed) = (it.name.clone(), it.killed.clone());
            if state.lives(self.process, self.life) {
                state.end_life(self.process);
                killed.notify_one();
            }
            state.note(format_args!("{name}: {what}: killed {when}"));
        }
        pending().await
    }

    async fn unanswered(&self, what: &str, lost: &str) -> Error {
        let patience = {
            let mut state = self.world.state();
            state.note(format_args!("{what}: {lost} lost"));
            state.millis(1_000..20_000)
        };
        self.pass(patience).await;
        Error::late(what, patience)
    }

    fn refused(&self, what: &str, code: i32) -> Error {
        self.world.state().note(format_args!("{what}: refused with {code}"));
        Error::answered(what, code, "the server has had enough")
    }
}

/// `google.rpc` codes that the simulated services answer with.
pub(crate) const NOT_FOUND: i32 = 5;
pub(crate) const ALREADY_EXISTS: i32 = 6;
pub(crate) const PERMISSION_DENIED: i32 = 7;
pub(crate) const RESOURCE_EXHAUSTED: i32 = 8;
pub(crate) const FAILED_PRECONDITION: i32 = 9;

/// Text by name.
pub(crate) type Texts = BTreeMap<String, String>;
