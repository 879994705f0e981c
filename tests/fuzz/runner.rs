//! Plays cases: counts, seeds, limits, and the report.

use std::any::Any;
use std::env;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::abort;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::time::{ClockId, clock_gettime};

/// Cases where nobody says how many: those of `make test`.
const CASES: u64 = 200_000;
/// What a decoder may hold at once: this, and so many bytes for each that it reads.
const MEMORY_BASE: u64 = 1 << 20;
/// Processor time that one case may take, also without optimisation.
const TIME_MAX: Duration = Duration::from_secs(3);
/// A case that takes longer on the wall never ends.
const SILENCE_MAX: Duration = Duration::from_mins(2);
/// Cases that a thread takes at once.
const CHUNK: u64 = 500;
/// Room for one case in the file that outlives a crash of the whole process.
const NOTE_BYTES: usize = 80;

/// One decoder and what has to hold for it.
pub(crate) struct Target {
    /// Its name, as `FUZZ_TARGET` takes it.
    pub(crate) name: &'static str,
    /// Its share of all cases: cheap decoders get more.
    pub(crate) weight: u64,
    /// Bytes that it may hold at once for each byte that it reads.
    pub(crate) memory: u64,
    /// Makes an input.
    pub(crate) make: fn(&mut Rng) -> Vec<u8>,
    /// Decodes it, panics where something does not hold, and tells whether it was accepted.
    pub(crate) check: fn(&[u8], &mut Rng) -> bool,
}

#[derive(Clone, Copy, Default)]
struct Sums {
    cases: u64,
    accepted: u64,
    /// Hundredths of the memory limit.
    memory: u64,
    slowest: Duration,
    time: Duration,
}

/// Plays one case or many, as the environment says.
pub(crate) fn run(targets: &[&Target]) {
    let only = env::var("FUZZ_TARGET").ok().filter(|it| !it.is_empty());
    let wanted = |it: &&&Target| only.as_ref().is_none_or(|only| only == it.name);
    let targets: Vec<&Target> = targets.iter().filter(wanted).copied().collect();
    assert!(!targets.is_empty(), "there is no target {only:?}");
    let (cases, seed) = (number("FUZZ_CASES"), number("FUZZ_SEED"));
    if let (Some(_), Some(seed)) = (&only, seed) {
        warm_up(targets[0]);
        case(targets[0], seed).map_or_else(|it| panic!("{it}"), drop);
        return;
    }
    // `make test` is the same every time; others look where nobody has looked yet.
    let seed = seed.unwrap_or_else(|| cases.map_or(0, |_| fastrand::u64(..)));
    many(&targets, cases.unwrap_or(CASES), seed);
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().filter(|it| !it.is_empty()).map(|it| it.parse().unwrap())
}

/// What all threads of a run share.
struct Run<'a> {
    targets: &'a [&'a Target],
    seed: u64,
    /// Target and the numbers of its cases.
    chunks: Vec<(usize, u64, u64)>,
    next: AtomicU64,
    sums: Mutex<Vec<Sums>>,
    broken: Mutex<Vec<String>>,
    /// Cases played so far, by thread: one that stands still hangs.
    played: Vec<AtomicU64>,
    /// What each thread plays, for who comes after a crash.
    notes: File,
}

fn many(targets: &[&Target], cases: u64, seed: u64) {
    let weights: u64 = targets.iter().map(|it| it.weight).sum();
    let chunks = targets.iter().enumerate().flat_map(|(target, it)| {
        let cases = (cases * it.weight).div_ceil(weights);
        (0..cases.div_ceil(CHUNK)).map(move |it| (target, it * CHUNK, cases.min((it + 1) * CHUNK)))
    });
    let threads = thread::available_parallelism().map_or(1, |it| it.get().min(8));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-cases");
    let run = Run {
        targets,
        seed,
        chunks: chunks.collect(),
        next: AtomicU64::new(0),
        sums: Mutex::new(vec![Sums::default(); targets.len()]),
        broken: Mutex::default(),
        played: (0..threads).map(|_| AtomicU64::new(0)).collect(),
        notes: File::create(path).unwrap(),
    };
    println!("FUZZ_SEED={seed} {cases} cases, {} targets", targets.len());
    let start = Instant::now();
    thread::scope(|scope| {
        let run = &run;
        let workers: Vec<_> = (0..threads).map(|it| scope.spawn(move || run.work(it))).collect();
        let mut before = (Vec::new(), Instant::now());
        while workers.iter().any(|it| !it.is_finished()) {
            thread::park_timeout(Duration::from_millis(50));
            let played = run.played.iter().map(|it| it.load(Ordering::Relaxed)).collect();
            if before.0 != played {
                before = (played, Instant::now());
            } else if before.1.elapsed() > SILENCE_MAX {
                eprintln!("a case does not end; fuzz-cases in the target directory names it");
                abort();
            }
        }
    });
    run.report(start.elapsed());
}

impl Run<'_> {
    fn work(&self, thread: usize) {
        let mut warm = vec![false; self.targets.len()];
        while let Ok(chunk) = usize::try_from(self.next.fetch_add(1, Ordering::Relaxed)) {
            let Some(&(index, from, to)) = self.chunks.get(chunk) else { return };
            let target = self.targets[index];
            if !std::mem::replace(&mut warm[index], true) {
                warm_up(target);
            }
            let mut sums = Sums::default();
            let start = Instant::now();
            for number in from..to {
                let seed = seed_of(self.seed, target.name, number);
                self.note(thread, target, seed);
                self.played[thread].fetch_add(1, Ordering::Relaxed);
                match case(target, seed) {
                    Ok(one) => sums.add(one),
                    Err(broken) => {
                        let broken = format!("case {} of {}: {broken}", number + 1, target.name);
                        self.broken.lock().unwrap().push(broken);
                    }
                }
            }
            sums.time = start.elapsed();
            self.sums.lock().unwrap()[index].add(sums);
            if self.broken.lock().unwrap().len() > 20 {
                return;
            }
        }
    }

    fn note(&self, thread: usize, target: &Target, seed: u64) {
        let case = format!("FUZZ_TARGET={} FUZZ_SEED={seed}", target.name);
        let line = format!("{case:<width$}\n", width = NOTE_BYTES - 1);
        self.notes.write_all_at(line.as_bytes(), (thread * NOTE_BYTES) as u64).unwrap();
    }

    fn report(self, time: Duration) {
        let sums = self.sums.into_inner().unwrap();
        println!(
            "{:<20} {:>9} {:>9} {:>9} {:>8} {:>10}",
            "target", "cases", "accepted", "cases/s", "memory", "slowest"
        );
        for (target, it) in self.targets.iter().zip(&sums) {
            let speed = it.cases * 1_000 / u64::try_from(it.time.as_millis()).unwrap().max(1);
            println!(
                "{:<20} {:>9} {:>8}% {speed:>9} {:>7}% {:>7} ms",
                target.name,
                it.cases,
                it.accepted * 100 / it.cases.max(1),
                it.memory,
                it.slowest.as_millis()
            );
        }
        let cases: u64 = sums.iter().map(|it| it.cases).sum();
        let seconds = time.as_secs_f64();
        println!(
            "{cases} cases in {seconds:.1} s; memory is the most that was held of what may be"
        );
        let broken = self.broken.into_inner().unwrap();
        assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
        for (target, it) in self.targets.iter().zip(&sums).filter(|(_, it)| it.cases > 1_000) {
            let sense = it.accepted > 0 && it.accepted < it.cases;
            assert!(sense, "{}: everything is accepted, or nothing", target.name);
        }
    }
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.accepted += other.accepted;
        self.memory = self.memory.max(other.memory);
        self.slowest = self.slowest.max(other.slowest);
        self.time += other.time;
    }
}

/// Tables, patterns and servers are made once, and belong to no case.
fn warm_up(target: &Target) {
    for seed in 0..20 {
        let mut rng = Rng::with_seed(seed);
        let input = (target.make)(&mut rng);
        drop(catch_unwind(AssertUnwindSafe(|| (target.check)(&input, &mut rng))));
    }
}

/// Plays one case. What is wrong comes with the line that plays it again.
fn case(target: &Target, seed: u64) -> Result<Sums, String> {
    let mut rng = Rng::with_seed(seed);
    let input = (target.make)(&mut rng);
    let (mut result, before) = (Ok(false), processor_time());
    let held = allocation_counter::measure(|| {
        result = catch_unwind(AssertUnwindSafe(|| (target.check)(&input, &mut rng)));
    });
    let slowest = processor_time().saturating_sub(before);
    let memory_max = MEMORY_BASE + target.memory * input.len() as u64;
    let again = format!("FUZZ_TARGET={} FUZZ_SEED={seed} make fuzz", target.name);
    let shown = || input[..input.len().min(300)].escape_ascii().to_string();
    let wrong = |what: &str| Err(format!("{again}: {what}\n    {}", shown()));
    match result {
        Err(panic) => wrong(&said(panic.as_ref())),
        Ok(_) if held.bytes_max > memory_max => wrong(&format!(
            "{} bytes were held at once for {} bytes of input, and {memory_max} may be",
            held.bytes_max,
            input.len()
        )),
        Ok(_) if slowest > TIME_MAX => {
            wrong(&format!("it took {slowest:?} for {} bytes of input", input.len()))
        }
        Ok(accepted) => {
            let (accepted, memory) = (accepted.into(), held.bytes_max * 100 / memory_max);
            Ok(Sums { cases: 1, accepted, memory, slowest, time: Duration::ZERO })
        }
    }
}

fn seed_of(run: u64, target: &str, number: u64) -> u64 {
    let name = target.bytes().fold(run, |it, byte| it.rotate_left(8) ^ u64::from(byte));
    Rng::with_seed(name.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number)).u64(..)
}

/// Of this thread, so that a busy machine makes nothing slow.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}
