//! Thousands of dead letters, replayed by processes that are killed.
//!
//! `make dlq` takes 5,000 (`LETTERS=…`) of optimised code and holds it to its figures.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use branchline_contract::{JobKind, RunId, Sha256};
use branchline_gcp::storage::Storage;
use branchline_ledger::{About, Archive, Base64, Letter, Origin, Proven, Role as Of};
use branchline_local::faults::Faults;
use branchline_local::installation::{
    DEAD_LETTERS, LEDGER, PROJECT, REQUESTS, subscription, topic,
};
use branchline_local::pubsub::Subscription;
use branchline_local::stack::Stack;
use branchline_tests::eventually::eventually;
use branchline_tests::identity::claims;
use branchline_tests::installation::Installation;
use branchline_tests::naps::{number, request};
use branchline_tests::processes::{Role, executable};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::Mutex;

const GRACE: Duration = Duration::from_secs(3);
/// As many letters ask for one run, each by a CI job of its own.
const OF_A_RUN: usize = 25;
/// Letters of two requests: what may be sent twice when they are cut short.
const WINDOW: usize = 400;
const KEPT: &str = "artifact-ready-kept";
/// What a killed process had comes again a minute later.
const HANDLED_WITHIN: Duration = Duration::from_mins(4);
/// They measure time, so one runs at a time.
static ALONE: Mutex<()> = Mutex::const_new(());
const REASONS: [(&str, &str); 4] = [
    ("permission-denied", "permission"),
    ("unavailable", "transient"),
    ("deliveries-exhausted", "transient"),
    ("panic", "bug"),
];
/// Where a leader dies, and behind how many hits of that point.
const DEATHS: [(&str, usize); 8] = [
    ("letter.act.after", 40),
    ("publish.after", 60),
    ("answer.before", 0),
    ("letter.act.before", 0),
    ("publish.before", 30),
    ("answer.after", 0),
    ("request.remove.before", 0),
    ("request.remove.after", 1),
];

struct Desk {
    at: Installation,
    stack: Stack,
    archive: Archive,
    runs: BTreeSet<RunId>,
}

impl Desk {
    /// An archive full of letters of mixed reasons, and nobody at work.
    async fn open(letters: usize, faults: Faults) -> Self {
        let at = Installation::new(GRACE).unwrap();
        let stack = at.embedded(faults).await.unwrap();
        let kept = Subscription {
            name: format!("projects/{PROJECT}/subscriptions/{KEPT}"),
            topic: topic(PROJECT, "artifact-ready"),
            ack_deadline_seconds: 600,
            ..Subscription::default()
        };
        stack.pubsub.create_subscription(kept).unwrap();
        let storage = Arc::new(Storage::connect(&at.google()).await.unwrap());
        let archive = Archive::new(storage, DEAD_LETTERS.to_owned());
        let mut desk = Self { at, stack, archive, runs: BTreeSet::new() };
        let filed: Vec<_> = (0..letters).map(|it| desk.letter(it)).collect();
        let filed = filed.iter().map(|it| desk.archive.file(it));
        let filed: Vec<_> = stream::iter(filed).buffer_unordered(32).collect().await;
        for it in filed {
            it.unwrap();
        }
        desk
    }

    fn letter(&mut self, number: usize) -> Letter {
        let (mut request, run) =
            request(&self.at, JobKind::CustomJob, "true", number / OF_A_RUN).unwrap();
        request["gitlab"]["job_id"] = json!(1_000_000 + number);
        request["gitlab"]["merge_request"] = Value::Null;
        self.runs.insert(run.clone());
        let (reason, class) = REASONS[number % REASONS.len()];
        let proven = claims(&request, "", Timestamp::now());
        let proven: BTreeMap<String, String> =
            serde_json::from_value::<BTreeMap<String, Value>>(proven)
                .unwrap()
                .into_iter()
                .filter_map(|(name, it)| Some((name, it.as_str()?.to_owned())))
                .collect();
        let data = request.to_string();
        let published = 1_790_000_000 + i64::try_from(number).unwrap();
        let published = Timestamp::from_second(published).unwrap();
        Letter {
            id: Letter::id(published, "", &number.to_string()),
            reason: reason.to_owned(),
            class: class.to_owned(),
            detail: "it did not work".to_owned(),
            role: Of::Worker,
            subscription: None,
            topic: topic(PROJECT, "artifact-ready"),
            attempts: Some(100),
            first_published: published,
            about: About { run: Some(run), ..About::default() },
            origin: Origin::Proven {
                proven: Proven { claims: proven, groups_direct: None },
                token: Sha256::of(data.as_bytes()),
            },
            replays: 0,
            replay_of: None,
            sha256: Sha256::of(data.as_bytes()),
            data: Base64(data.into_bytes().into()),
            attributes: BTreeMap::new(),
            ordering_key: String::new(),
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let storage = self.at.google().storage_endpoint.unwrap();
        let mut command = Command::new(executable());
        command
            .args(args)
            .env_clear()
            .env("BRANCHLINE_CREDENTIALS", "anonymous")
            .env("BRANCHLINE_STORAGE_ENDPOINT", storage)
            .env("BRANCHLINE_DEAD_LETTER_BUCKET", DEAD_LETTERS)
            .env("BRANCHLINE_LEDGER_BUCKET", LEDGER)
            .env("BRANCHLINE_REQUEST_BUCKET", REQUESTS)
            .env("USER", "ada")
            .kill_on_drop(true);
        command
    }

    async fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().await.unwrap()
    }

    /// What a command prints that does what it should.
    async fn says(&self, args: &[&str]) -> String {
        let output = self.run(args).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?} ended with {}: {said}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// How often each letter was sent, by a subscription of its own.
    async fn sent(&self) -> BTreeMap<String, usize> {
        let mut sent = BTreeMap::new();
        loop {
            let messages = self.at.pull(KEPT).await.unwrap();
            if messages.is_empty() {
                return sent;
            }
            for it in &messages {
                let replay = it["message"]["attributes"]["branchline-replay"].as_str().unwrap();
                let letter = replay.split('/').next().unwrap().to_owned();
                *sent.entry(letter).or_default() += 1;
            }
            self.at.acknowledge(KEPT, &messages).await.unwrap();
        }
    }

    fn hits(&self, point: &str) -> usize {
        let hits = fs::read_to_string(self.at.failpoints().join("hits")).unwrap_or_default();
        hits.lines().filter(|it| it.split(' ').next() == Some(point)).count()
    }

    /// One job for each run, whatever was sent.
    async fn trained_once(&self) {
        let began = Instant::now();
        while self.at.creates().unwrap().len() < self.runs.len() {
            assert!(began.elapsed() < HANDLED_WITHIN, "not every run has its job");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let name = "artifact-ready-worker";
        while self.stack.pubsub.unacknowledged(&subscription(PROJECT, name)).unwrap() > 0 {
            assert!(began.elapsed() < HANDLED_WITHIN, "not every message is handled");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let extra: Vec<_> = self.at.creates().unwrap().into_iter().filter(|it| it.1 != 1).collect();
        assert!(extra.is_empty(), "{extra:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_is_quick_and_a_dry_run_sends_nothing() {
    let _alone = ALONE.lock().await;
    let letters = usize::try_from(number("LETTERS", 400)).unwrap();
    let slow = json!({"rules": [{"service": "storage", "fault": {"delay_ms": 40}}]});
    let desk = Desk::open(letters, Faults::default()).await;
    desk.stack.dice.set(serde_json::from_value(slow).unwrap());
    let mut times = Vec::new();
    for (reason, _) in REASONS {
        let began = Instant::now();
        let listed = desk.says(&["dlq", "list", "--reason", reason, "--json"]).await;
        times.push(began.elapsed());
        assert_eq!(listed.lines().count(), letters / REASONS.len());
    }
    println!("{letters} letters at 40 ms a call, listed by reason in {times:?}");
    let slowest = times.iter().max().unwrap();
    assert!(*slowest < Duration::from_secs(1), "{slowest:?}");
    let plan = desk.says(&["dlq", "replay", "--all", "-m", "why"]).await;
    for (reason, _) in REASONS {
        let row = format!("{}  {reason}", letters / REASONS.len());
        assert!(plan.contains(&row), "{row}: {plan}");
    }
    assert!(desk.sent().await.is_empty());
    assert!(desk.stack.storage.list(REQUESTS, "").is_empty());
    desk.stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_is_held_and_without_one_it_goes_as_fast_as_it_can() {
    let _alone = ALONE.lock().await;
    let letters = usize::try_from(number("LETTERS", 600)).unwrap();
    let desk = Desk::open(letters, Faults::default()).await;
    let _worker = desk.at.worker().await.unwrap();
    let paced = letters.div_ceil(2).min(1_000);
    let some = paced.to_string();
    let began = Instant::now();
    let args = ["dlq", "replay", "--all", "--limit", &some, "-m", "why", "--yes"];
    desk.says(&[&args[..], &["--rate", "50", "--timeout", "10m"]].concat()).await;
    let times = desk.at.published(KEPT).await.unwrap();
    assert_eq!(times.len(), paced);
    let took = times.last().unwrap().duration_since(times[0]).as_secs_f64();
    let rate = f64::from(u32::try_from(times.len()).unwrap() - 1) / took;
    println!(
        "{} letters at {rate:.2} a second, {:.1} s in all",
        times.len(),
        began.elapsed().as_secs_f64()
    );
    assert!((47.5..=52.5).contains(&rate), "{rate}");

    let began = Instant::now();
    desk.says(&["dlq", "replay", "--all", "-m", "why", "--yes", "--timeout", "10m"]).await;
    let all = began.elapsed().as_secs_f64();
    let times = desk.at.published(KEPT).await.unwrap();
    let took = times.last().unwrap().duration_since(times[0]).as_secs_f64();
    let rate = f64::from(u32::try_from(times.len()).unwrap()) / took;
    println!(
        "{} letters at {rate:.0} a second without a rate, {all:.1} s with the command",
        times.len()
    );
    if number("LETTERS", 0) > 0 {
        assert!(rate >= 1_300.0, "{rate}");
    }
    desk.stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_every_letter_is_sent_and_each_run_trains_once() {
    let _alone = ALONE.lock().await;
    let letters = usize::try_from(number("LETTERS", 900)).unwrap();
    // All of them take as many letters; fewer are still less than would be sent if all came twice.
    let planned = if letters < 2_000 { &DEATHS[..2] } else { &DEATHS[..] };
    let desk = Desk::open(letters, Faults::default()).await;
    fs::create_dir(desk.at.failpoints()).unwrap();
    let mut worker: Role = desk.at.worker().await.unwrap().0;
    let replay = ["dlq", "replay", "--all", "-m", "why", "--yes", "--timeout", "10m"];

    // Whoever asks is killed, too: when some requests are written, and while it waits.
    for asked in [1, 3] {
        let mut operator = desk.command(&replay).spawn().unwrap();
        let before = desk.hits("answer.after");
        eventually("requests are written", async || {
            let written = desk.stack.storage.list(REQUESTS, "").len() + desk.hits("answer.after");
            (written >= before + asked).then_some(())
        })
        .await;
        operator.kill().await.unwrap();
    }
    let mut deaths = 0;
    let operator = tokio::spawn(desk.command(&replay).output());
    for &(point, behind) in planned {
        let seen = desk.hits(point);
        let reached = tokio::time::timeout(Duration::from_mins(1), async {
            while desk.hits(point) < seen + behind {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let (armed, whole) =
                (desk.at.failpoints().join(point), desk.at.failpoints().join("new"));
            // Nobody must read half of it.
            fs::write(&whole, "KILL").unwrap();
            fs::rename(&whole, &armed).unwrap();
            while armed.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        if reached.await.is_err() {
            break;
        }
        worker.dies(GRACE).await.unwrap();
        deaths += 1;
        worker = desk.at.worker().await.unwrap().0;
    }
    assert_eq!(deaths, planned.len(), "there were too few letters for so many deaths");
    assert!(
        operator.await.unwrap().unwrap().status.success(),
        "others have asked for some of them"
    );
    // Whatever was cut short: asking again asks for what is left, and then nothing is.
    assert!(desk.run(&replay).await.status.success());
    eventually("no request is left", async || {
        desk.stack.storage.list(REQUESTS, "").is_empty().then_some(())
    })
    .await;
    let unresolved = desk.says(&["dlq", "list", "--json"]).await;
    assert_eq!(unresolved, "", "each is on record as replayed");
    let sent = desk.sent().await;
    let extra: usize = sent.values().map(|it| it - 1).sum();
    println!("{letters} letters, {deaths} leaders and 2 commands killed, {extra} sent twice");
    assert_eq!(sent.len(), letters, "none is lost");
    assert!(extra <= deaths * WINDOW, "{extra}");
    desk.trained_once().await;
    desk.stack.shutdown().await;
}
