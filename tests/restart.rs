//! Whoever is stopped, and whenever: it stops in time, leaves no process behind,
//! and the run goes on where it was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use branchline_contract::{CommitSha, Outcome, RunId};
use branchline_gcp::storage::Storage;
use branchline_gitlab::{Client, StatusState};
use branchline_ledger::{History, Store};
use branchline_local::installation::{LEDGER, PROJECT};
use branchline_tests::installation::{Installation, REGION, RUN};
use branchline_tests::processes::Role;
use futures::future::try_join_all;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// What the roles get to stop, by their configuration.
const GRACE: Duration = Duration::from_secs(3);
/// What the system may need to start a process's end and to tell of it.
const MARGIN: Duration = Duration::from_millis(500);
const HAPPENS_WITHIN: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Stacks that run side by side.
const AT_ONCE: usize = 4;

/// When everything is stopped.
#[derive(Clone, Copy)]
enum Moment {
    /// Once a fact of this kind is on record.
    Fact(&'static str),
    /// While the training process is halfway.
    Training,
    /// While intake and the leader wait for a stack that answers nothing any more.
    Frozen,
}

const MOMENTS: [Moment; 9] = [
    Moment::Frozen,
    Moment::Fact("requested"),
    Moment::Fact("verified"),
    Moment::Fact("admitted"),
    Moment::Fact("intended"),
    Moment::Fact("submitted"),
    Moment::Fact("running"),
    Moment::Training,
    Moment::Fact("finished"),
];

impl Moment {
    const fn name(self) -> &'static str {
        match self {
            Self::Fact(kind) => kind,
            Self::Training => "training",
            Self::Frozen => "frozen",
        }
    }

    fn has_come(self, at: &Installation) -> Result<bool> {
        match self {
            Self::Fact(kind) => Ok(at.facts()?.contains(&kind)),
            Self::Frozen => Ok(at.facts()?.contains(&"requested")),
            Self::Training => Ok(at.progress()?.iter().any(|(step, _)| step == "halfway")),
        }
    }
}

/// The processes of an installation with one worker.
struct Processes {
    stack: Role,
    worker: Role,
    notifier: Role,
    /// Connections to the health ports.
    connections: [TcpStream; 2],
}

impl Processes {
    async fn start(at: &Installation) -> Result<(Self, String)> {
        let (stack, token) = at.stack().await?;
        let (worker, notifier) = tokio::join!(at.worker(), at.notifier(token.clone()));
        let ((worker, to_worker), (notifier, to_notifier)) = (worker?, notifier?);
        let connections = [to_worker, to_notifier];
        Ok((Self { stack, worker, notifier, connections }, token))
    }

    /// Stops all of them, and tells how long stack, worker and notifier took.
    async fn stop(self, moment: Moment) -> Result<[Duration; 3]> {
        let Self { stack, worker, notifier, mut connections } = self;
        match moment {
            Moment::Frozen => {
                stack.freeze()?;
                for connection in &mut connections {
                    connection.write_all(b"GET /livez HT").await?;
                }
                let [worker, notifier] = stop([worker, notifier]).await?;
                stack.thaw()?;
                let [stack] = stop([stack]).await?;
                Ok([stack, worker, notifier])
            }
            Moment::Fact(_) | Moment::Training => stop([stack, worker, notifier]).await,
        }
    }
}

/// Stops processes at once, and tells how long each of them took.
async fn stop<const N: usize>(roles: [Role; N]) -> Result<[Duration; N]> {
    for role in &roles {
        role.terminate()?;
    }
    let stopped = Instant::now();
    let ends = roles.map(async |it| {
        it.ends(GRACE + MARGIN).await?;
        anyhow::Ok(stopped.elapsed())
    });
    let times = try_join_all(ends).await?;
    Ok(times.try_into().expect("one of each"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stopped_after_any_fact_stops_in_time_and_finishes_the_run_when_started_again() {
    let stops = MOMENTS.map(|moment| {
        Box::pin(async move {
            let at = Installation::new(GRACE).expect("an installation");
            let row = stop_and_start(moment, &at).await;
            row.map_err(|error| format!("stopped at {}: {error:#}\n{}", moment.name(), at.logs()))
        })
    });
    let rows: Vec<_> = stream::iter(stops).buffered(AT_ONCE).collect().await;
    println!("stopped at  last fact    stack s  worker s  notifier s  finished after s");
    let mut failures = Vec::new();
    for row in rows {
        match row {
            Ok(row) => println!("{row}"),
            Err(error) => failures.push(error),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

async fn stop_and_start(moment: Moment, at: &Installation) -> Result<String> {
    let (processes, _) = Processes::start(at).await?;
    let run = at.publish().await?;
    until(moment.name(), || moment.has_come(at)).await?;
    let times = processes.stop(moment).await?;
    let facts = at.facts()?;
    ensure!(at.trains_nothing()?, "a training process outlived the stack");
    if matches!(moment, Moment::Training) {
        ensure!(!has(at, "ended")?, "the training had ended before it was stopped");
    }

    let started = Instant::now();
    let (processes, token) = Processes::start(at).await?;
    until("finished", || Ok(at.facts()?.contains(&"finished"))).await?;
    check_end(at, &run, token).await?;
    let finished = started.elapsed();
    processes.stop(Moment::Fact("finished")).await?;
    ensure!(at.trains_nothing()?, "a training process outlived the stack");
    let [stack, worker, notifier] = times.map(|it| it.as_secs_f64());
    Ok(format!(
        "{:<11} {:<12} {stack:>7.2}  {worker:>8.2}  {notifier:>10.2}  {:>16.2}",
        moment.name(),
        facts.last().context("the moment has come")?,
        finished.as_secs_f64()
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_stopped_hands_the_lease_over_within_a_second() {
    let at = Installation::new(GRACE).expect("an installation");
    match roll(&at).await {
        Ok(handed_over) => println!("lease handed over after {handed_over:.2?}"),
        Err(error) => panic!("{error:#}\n{}", at.logs()),
    }
}

async fn roll(at: &Installation) -> Result<Duration> {
    let (stack, token) = at.stack().await?;
    let (notifier, _) = at.notifier(token.clone()).await?;
    let ((old, _), (new, _)) = (at.worker().await?, at.worker().await?);
    until("a leader", || Ok(at.leader()?.is_some())).await?;
    let (old, new) = if at.leader()? == Some(old.id()) { (old, new) } else { (new, old) };
    let run = at.publish().await?;
    until("training", || Moment::Training.has_come(at)).await?;

    let stopped = Instant::now();
    old.terminate()?;
    until("the other leader", || Ok(at.leader()? == Some(new.id()))).await?;
    let handed_over = stopped.elapsed();
    old.ends(GRACE + MARGIN).await?;
    ensure!(handed_over < Duration::from_secs(1), "the lease was handed over in {handed_over:?}");
    until("finished", || Ok(at.facts()?.contains(&"finished"))).await?;
    check_end(at, &run, token).await?;
    ensure!(at.progress()?.iter().filter(|(step, _)| step == "began").count() == 1, "it ran twice");
    stop([stack, new, notifier]).await?;
    Ok(handed_over)
}

/// The run succeeded, as one job, and the commit says so.
async fn check_end(at: &Installation, run: &RunId, token: String) -> Result<()> {
    let storage = Arc::new(Storage::connect(&at.google()).await?);
    let store = Store::new(storage, LEDGER.to_owned(), Timestamp::now);
    let History { run: folded, entries, .. } =
        store.load(at.project_id(), run).await?.context("the run is on record")?;
    let ending = folded.ending().context("it has ended")?;
    ensure!(ending.outcome == Outcome::Succeeded, "it ended as {ending:?}");
    ensure!(ending.metrics.get("naps") == Some(&1.0), "its metrics are {:?}", ending.metrics);
    let kinds: Vec<_> = entries.iter().map(|it| it.fact.body.kind()).collect();
    let submitted = kinds.iter().filter(|it| **it == "submitted").count();
    ensure!(submitted == 1, "it was submitted {submitted} times: {kinds:?}");

    let jobs = format!("{}/v1/projects/{PROJECT}/locations/{REGION}/customJobs", at.vertex());
    let filter = format!("labels.branchline-run=\"{run}\"");
    let jobs = reqwest::Client::new().get(jobs).query(&[("filter", filter)]).send().await?;
    let jobs: Value = jobs.error_for_status()?.json().await?;
    let count = jobs["customJobs"].as_array().map_or(0, Vec::len);
    ensure!(count == 1, "it has {count} jobs: {jobs}");
    ensure!(has(at, "ended")?, "its training did not come to its end");

    let gitlab = Client::new(&at.gitlab(), SecretString::from(token))?;
    let (sha, name) = (CommitSha::parse(at.job().sha.as_str())?, format!("branchline/{RUN}"));
    let told = Instant::now();
    loop {
        let statuses = gitlab.commit_statuses(at.project_id(), &sha, &name).await?;
        let states: Vec<_> = statuses.iter().map(|it| it.status).collect();
        if states.iter().any(|it| it.is_terminal()) {
            ensure!(states == [StatusState::Success], "the commit says {states:?}");
            return Ok(());
        }
        ensure!(told.elapsed() < HAPPENS_WITHIN, "the commit says {states:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn has(at: &Installation, step: &str) -> Result<bool> {
    Ok(at.progress()?.iter().any(|it| it.0 == step))
}

async fn until(what: &str, condition: impl Fn() -> Result<bool>) -> Result<()> {
    let since = Instant::now();
    while !condition()? {
        ensure!(since.elapsed() < HAPPENS_WITHIN, "{what} did not come within {HAPPENS_WITHIN:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
