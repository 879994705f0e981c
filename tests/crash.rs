//! Real processes, killed and frozen at the named points of the protocol: two
//! workers and a notifier against the local stack, restarted each time. Whatever
//! the point, a run has one job, ends, and is announced.
//!
//! `make crash` takes every point for every kind of job; `CRASH=<point>` one of them.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use branchline_contract::{CommitSha, JobKind, Outcome, RunId};
use branchline_gcp::pubsub::{Message, Publish as _, Publisher};
use branchline_gcp::storage::Storage;
use branchline_gitlab::{Client, StatusState};
use branchline_ledger::Store;
use branchline_local::installation::{LEDGER, PROJECT, QUEUE, topic};
use branchline_tests::installation::Installation;
use branchline_tests::naps::{NAP, request};
use branchline_tests::processes::Role;
use futures::future::join_all;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;

const GRACE: Duration = Duration::from_secs(3);
/// Longer than the lease of the installation's workers.
const FROZEN: Duration = Duration::from_secs(5);
/// The messages of a process that is killed come again a minute later, and may meet another kill.
const WITHIN: Duration = Duration::from_mins(3);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Every point, each with a signal that ends or freezes the process.
const POINTS: [(&str, &str); 42] = [
    ("worker.receive", "KILL"),
    ("ledger.requested.before", "KILL"),
    ("ledger.requested.after", "KILL"),
    ("ledger.duplicate.before", "KILL"),
    ("ledger.duplicate.after", "KILL"),
    ("ledger.verified.before", "KILL"),
    ("ledger.verified.after", "KILL"),
    ("ledger.admitted.before", "KILL"),
    ("ledger.admitted.after", "KILL"),
    ("queue.create.before", "KILL"),
    ("queue.create.after", "KILL"),
    ("queue.update.before", "KILL"),
    ("queue.update.after", "KILL"),
    ("worker.ack", "KILL"),
    ("lease.before", "KILL"),
    ("lease.after", "KILL"),
    ("ledger.intended.before", "KILL"),
    ("ledger.intended.after", "KILL"),
    ("create.before", "KILL"),
    ("create.after", "KILL"),
    ("ledger.submitted.before", "KILL"),
    ("ledger.submitted.after", "KILL"),
    ("ledger.running.before", "KILL"),
    ("ledger.running.after", "KILL"),
    ("ledger.finished.before", "KILL"),
    ("ledger.finished.after", "KILL"),
    ("publish.before", "KILL"),
    ("publish.after", "KILL"),
    ("queue.remove.before", "KILL"),
    ("queue.remove.after", "KILL"),
    ("notifier.receive", "KILL"),
    ("status.before", "KILL"),
    ("status.after", "KILL"),
    ("note.before", "KILL"),
    ("note.after", "KILL"),
    ("notifier.ack", "KILL"),
    // The leader sleeps for longer than its lease, and believes for a moment that it still leads.
    ("ledger.intended.before", "STOP"),
    ("ledger.intended.after", "STOP"),
    ("create.before", "STOP"),
    ("create.after", "STOP"),
    ("ledger.submitted.before", "STOP"),
    ("lease.before", "STOP"),
];

/// Those of `make test`, for custom jobs: none loses a message, which would come again a minute later.
const FEW: [(&str, &str); 4] = [
    ("create.after", "KILL"),
    ("ledger.finished.before", "KILL"),
    ("queue.remove.before", "KILL"),
    ("create.before", "STOP"),
];

/// What became of the runs that met a point.
#[derive(Clone, Copy, Default)]
struct Sums {
    signals: usize,
    duplicates: usize,
    lost: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_has_one_job_and_is_announced_wherever_a_process_is_killed() {
    let asked = std::env::var("CRASH").unwrap_or_default();
    let (kinds, points): (&[JobKind], Vec<_>) = match asked.as_str() {
        "" => (&[JobKind::CustomJob], FEW.to_vec()),
        "all" => (&JobKind::ALL, POINTS.to_vec()),
        one => (&JobKind::ALL, POINTS.into_iter().filter(|it| it.0 == one).collect()),
    };
    assert!(!points.is_empty(), "there is no point {asked}");
    let started = Instant::now();
    let all = join_all(kinds.iter().map(|kind| Box::pin(play(*kind, &points)))).await;
    let mut sums: BTreeMap<(&str, &str), Sums> = BTreeMap::new();
    let (mut hits, mut wrong) = (BTreeMap::<String, usize>::new(), Vec::new());
    for (kind, told) in kinds.iter().zip(all) {
        for (point, count) in told.hits {
            *hits.entry(point).or_default() += count;
        }
        for (point, one) in told.sums {
            let all = sums.entry(point).or_default();
            all.signals += one.signals;
            all.duplicates += one.duplicates;
            all.lost += one.lost;
        }
        wrong.extend(told.wrong.into_iter().map(|it| format!("{kind:?}: {it}")));
    }
    println!(
        "{:<26} {:>6} {:>6} {:>8} {:>10} {:>5}",
        "point", "signal", "hits", "signals", "duplicates", "lost"
    );
    for (point, signal) in &points {
        let Sums { signals, duplicates, lost } =
            sums.get(&(*point, *signal)).copied().unwrap_or_default();
        let hits = hits.get(*point).copied().unwrap_or_default();
        println!("{point:<26} {signal:>6} {hits:>6} {signals:>8} {duplicates:>10} {lost:>5}");
        if signals != kinds.len() {
            wrong.push(format!("{point} was met by {signals} of {} kinds of jobs", kinds.len()));
        }
    }
    println!("{} kinds in {:.0} s", kinds.len(), started.elapsed().as_secs_f64());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What one installation has told.
struct Told {
    hits: BTreeMap<String, usize>,
    sums: BTreeMap<(&'static str, &'static str), Sums>,
    wrong: Vec<String>,
}

/// Plays all points with one kind of job, one run for each.
async fn play(kind: JobKind, points: &[(&'static str, &'static str)]) -> Told {
    let at = Installation::new(GRACE).unwrap();
    let mut told = Told { hits: BTreeMap::new(), sums: BTreeMap::new(), wrong: Vec::new() };
    fs::create_dir(at.failpoints()).unwrap();
    match Scene::start(&at, kind).await {
        Err(error) => told.wrong.push(format!("{error:#}\n{}", at.logs())),
        Ok(mut scene) => {
            let mut runs = Vec::new();
            for (number, (point, signal)) in points.iter().enumerate() {
                match scene.meet(number, point, signal).await {
                    Ok(run) => runs.push((point, signal, run)),
                    Err(error) => told.wrong.push(format!("{point} {signal}: {error:#}")),
                }
            }
            // Only now, so that the runs of all points are in each other's way.
            for (point, signal, run) in &runs {
                let sums = told.sums.entry((point, signal)).or_default();
                sums.signals += 1;
                if let Err(error) = scene.end(run).await {
                    sums.lost += 1;
                    let again = format!("CRASH={point} make crash");
                    told.wrong.push(format!("{point} {signal}: {error:#} ({again})"));
                }
            }
            let creates = at.creates().unwrap();
            for (point, signal, run) in &runs {
                let jobs = creates.get(run.as_str()).copied().unwrap_or_default();
                let sums = told.sums.entry((point, signal)).or_default();
                sums.duplicates += jobs.saturating_sub(1);
                if jobs != 1 {
                    told.wrong.push(format!("{point} {signal}: {run} has {jobs} jobs"));
                }
            }
            if !told.wrong.is_empty() {
                told.wrong.push(at.logs());
            }
        }
    }
    let hits = fs::read_to_string(at.failpoints().join("hits")).unwrap_or_default();
    for line in hits.lines() {
        let point = line.split(' ').next().unwrap_or_default();
        *told.hits.entry(point.to_owned()).or_default() += 1;
    }
    told
}

/// The processes of one installation, and the clients that look at it.
struct Scene<'a> {
    at: &'a Installation,
    kind: JobKind,
    /// Two workers and the notifier.
    roles: Vec<Role>,
    store: Store,
    publisher: Publisher,
    gitlab: Client,
    token: String,
    // Last, so that it outlives the roles.
    _stack: Role,
}

impl<'a> Scene<'a> {
    async fn start(at: &'a Installation, kind: JobKind) -> Result<Self> {
        let (stack, token) = at.stack().await?;
        let google = at.google();
        let storage = Arc::new(Storage::connect(&google).await?);
        let roles = vec![at.worker().await?.0, at.worker().await?.0];
        let mut scene = Self {
            at,
            kind,
            roles,
            store: Store::new(storage, LEDGER.to_owned(), Timestamp::now),
            publisher: Publisher::connect(&google).await?,
            gitlab: Client::new(&at.gitlab(), SecretString::from(token.clone()))?,
            token,
            _stack: stack,
        };
        scene.roles.push(at.notifier(scene.token.clone()).await?.0);
        Ok(scene)
    }

    /// Publishes a request, and has a process killed or frozen at the point, and started or thawed.
    async fn meet(&mut self, number: usize, point: &str, signal: &str) -> Result<RunId> {
        let directory = self.at.failpoints();
        fs::write(directory.join(format!("{point}.armed")), signal)?;
        fs::rename(directory.join(format!("{point}.armed")), directory.join(point))?;
        let (request, run) = request(self.at, self.kind, NAP, number)?;
        // Twice, and a third time by another CI job.
        for ci_job in [self.at.job().id, self.at.job().id, 1_000_000] {
            let mut request = request.clone();
            request["gitlab"]["job_id"] = ci_job.into();
            let data = request.to_string().into_bytes().into();
            let message = Message { data, ..Message::default() };
            self.publisher.publish(&topic(PROJECT, "artifact-ready"), message).await?;
        }
        let met = self.met(point).await?;
        let role = self.roles.iter().position(|it| it.id() == met).context("it is one of ours")?;
        if signal == "KILL" {
            self.roles.remove(role).dies(WITHIN).await?;
            let started = if role == 2 {
                self.at.notifier(self.token.clone()).await?
            } else {
                self.at.worker().await?
            };
            self.roles.insert(role, started.0);
        } else {
            tokio::time::sleep(FROZEN).await;
            self.roles[role].thaw()?;
        }
        Ok(run)
    }

    /// The process that took the point.
    async fn met(&self, point: &str) -> Result<i32> {
        let since = Instant::now();
        loop {
            for entry in fs::read_dir(self.at.failpoints())? {
                let name = entry?.file_name().into_string().unwrap();
                let rest = name.strip_prefix(point).and_then(|it| it.strip_prefix('.'));
                if let Some(id) = rest.and_then(|it| it.parse().ok()) {
                    fs::remove_file(self.at.failpoints().join(name))?;
                    return Ok(id);
                }
            }
            ensure!(since.elapsed() < WITHIN, "nobody came to {point}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The run has ended in success, its commit and its merge request say so, and nothing is left to do.
    async fn end(&self, run: &RunId) -> Result<()> {
        let since = Instant::now();
        loop {
            let missing = match self.missing(run).await {
                Ok(None) => return Ok(()),
                Ok(Some(missing)) => missing,
                Err(error) => format!("{error:#}"),
            };
            if since.elapsed() > WITHIN {
                bail!("{run}: {missing}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn missing(&self, run: &RunId) -> Result<Option<String>> {
        let project = self.at.project_id();
        // Loading folds it, and that checks the chain.
        let Some(history) = self.store.load(project, run).await? else {
            return Ok(Some("it is not on record".to_owned()));
        };
        let Some(ending) = history.run.ending() else {
            return Ok(Some(format!("it is {:?}", history.run.state)));
        };
        if ending.outcome != Outcome::Succeeded {
            return Ok(Some(format!("it ended as {ending:?}")));
        }
        let sha = CommitSha::parse(self.at.job().sha.as_str())?;
        let name = format!("branchline/{}", run.name());
        let statuses = self.gitlab.commit_statuses(project, &sha, &name).await?;
        let states: Vec<_> = statuses.iter().map(|it| it.status).collect();
        if states != [StatusState::Success] {
            return Ok(Some(format!("the commit says {states:?}")));
        }
        let notes = self.notes(run.as_str()).await?;
        if notes != 1 {
            return Ok(Some(format!("{notes} notes tell of it")));
        }
        let queued = self.at.objects(QUEUE)?.into_keys().find(|it| it.starts_with("queue/"));
        Ok(queued.map(|it| format!("{it} is still there")))
    }

    async fn notes(&self, text: &str) -> Result<usize> {
        let (project, iid) = (self.at.project_id(), self.at.merge_request());
        let path = format!("api/v4/projects/{project}/merge_requests/{iid}/notes");
        let url = format!("{}/{path}?per_page=100", self.at.gitlab());
        let notes = reqwest::Client::new().get(url).bearer_auth(&self.token).send().await?;
        let notes: Value = notes.error_for_status()?.json().await?;
        let bodies = notes.as_array().into_iter().flatten().filter_map(|it| it["body"].as_str());
        Ok(bodies.filter(|it| it.contains(text)).count())
    }
}
