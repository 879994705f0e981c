//! The whole protocol in a simulated world: two workers and a notifier, the
//! shipped code, behind doors that lose, delay, repeat and refuse, in processes
//! that are killed, frozen and rolled over. A seed decides everything; it is
//! printed when something does not hold, and tells the same story again.
//!
//! `SEEDS=10000` simulates so many (`make sim`); `SEED=7` tells one with its trace.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "simulation/dead.rs"]
mod dead;
#[path = "simulation/gitlab.rs"]
mod gitlab;
#[path = "simulation/identity.rs"]
mod identity;
#[path = "simulation/law.rs"]
mod law;
#[path = "simulation/pubsub.rs"]
mod pubsub;
#[path = "simulation/roles.rs"]
mod roles;
#[path = "simulation/storage.rs"]
mod storage;
#[path = "simulation/story.rs"]
mod story;
#[path = "simulation/take_over.rs"]
mod take_over;
#[path = "simulation/vertex.rs"]
mod vertex;
#[path = "simulation/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use story::{tell, tell_of_copies, tell_of_dead_letters};
use take_over::take_over;
use world::Fault;

/// Enough for every fault to meet a run in every state.
const ALL_PAIRS: u64 = 300;
/// Enough for messages to die in every state of intake, and for others to come behind them.
const DYING: u64 = 300;
/// Enough for copies to be lost, repeated and interrupted.
const COPYING: u64 = 60;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().filter(|it| !it.is_empty()).map(|it| it.parse().unwrap())
}

#[test]
fn every_run_has_one_job_and_is_announced_whatever_goes_wrong() {
    if let Some(seed) = number("SEED") {
        let told = tell(seed);
        told.trace.iter().for_each(|it| println!("{it}"));
        let broken = told.broken.map(|it| format!("seed {seed}: {it}")).unwrap_or_default();
        assert!(broken.is_empty(), "{broken}");
        return;
    }
    let seeds = number("SEEDS").unwrap_or(ALL_PAIRS);
    let next = AtomicU64::new(0);
    let broken_seeds = Mutex::new(Vec::new());
    let sums = Mutex::new((BTreeSet::new(), 0, 0, 0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let told = tell(seed);
                    if let Some(broken) = &told.broken {
                        next.store(u64::MAX / 2, Ordering::Relaxed);
                        broken_seeds.lock().unwrap().push(format!("seed {seed}: {broken}"));
                        return;
                    }
                    let mut sums = sums.lock().unwrap();
                    sums.0.extend(told.seen);
                    sums.1 += told.runs;
                    sums.2 += told.trace.len();
                    sums.3 += told.repeats;
                }
            });
        }
    });
    let broken_seeds = broken_seeds.into_inner().unwrap().join("\n");
    assert!(broken_seeds.is_empty(), "{broken_seeds}\nmake sim SEED=… tells the whole story");
    let (seen, runs, calls, repeats) = sums.into_inner().unwrap();
    println!("{seeds} seeds, {runs} runs, {calls} calls, {repeats} events published again");
    let states =
        ["requested", "verified", "admitted", "intended", "submitted", "running", "finished"];
    let pairs = states.iter().flat_map(|state| Fault::ALL.map(|fault| (*state, fault)));
    let missing: Vec<_> = pairs.filter(|it| !seen.contains(it)).collect();
    assert!(
        seeds < ALL_PAIRS || missing.is_empty(),
        "faults that met no run in a state: {missing:?}"
    );
}

#[test]
fn a_run_trains_on_one_copy_of_its_inputs_whatever_goes_wrong() {
    for seed in 0..COPYING {
        let told = tell_of_copies(seed);
        let broken = told.broken.map(|it| format!("seed {seed}: {it}")).unwrap_or_default();
        assert!(broken.is_empty(), "{}\n{broken}", told.trace.join("\n"));
    }
}

#[test]
fn a_run_whose_message_dies_goes_on_as_another_ci_job_s_or_expires() {
    let mut taken_over = 0;
    for seed in 0..DYING {
        let told = tell_of_dead_letters(seed);
        let broken = told.broken.map(|it| format!("seed {seed}: {it}")).unwrap_or_default();
        assert!(broken.is_empty(), "{}\n{broken}", told.trace.join("\n"));
        taken_over += told.taken_over;
    }
    println!("{taken_over} attempts were taken over");
    assert!(taken_over > 0);
}

/// Facts are read one by one over a slow wire, and a lease that is not renewed meanwhile is lost.
#[test]
fn a_take_over_of_many_live_jobs_goes_on_in_minutes() {
    let waited = take_over(1_000, Duration::from_mins(10)).expect("a new run gets its job");
    println!("a new run waited {} s", waited.as_secs());
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in 0..3 {
        assert_eq!(tell(seed).trace, tell(seed).trace, "seed {seed}");
    }
}
