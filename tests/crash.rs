//! Real processes, killed and frozen at the named points of the protocol: two
//! workers and a notifier against the local stack, restarted each time. Whatever
//! the point, a run has one job, ends, and is announced.
//!
//! `make crash` takes every point for every kind of job; `CRASH=<point>` one of them.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

#[path = "crash/points.rs"]
mod points;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use branchline_contract::{
    Actor, Ask, CommitSha, Crc32c, Envelope, JobKind, Reason, Request, RequestId, RunId, Vertex,
};
use branchline_gcp::pubsub::{Message, Publish as _, Publisher};
use branchline_gcp::storage::{Objects as _, Storage};
use branchline_gitlab::Client;
use branchline_ledger::{RequestName, Requests, Run, State, Store};
use branchline_local::installation::{ARTIFACTS, LEDGER, PROJECT, QUEUE, REQUESTS, topic};
use branchline_tests::identity::signed;
use branchline_tests::installation::{Installation, REGION};
use branchline_tests::naps::{NAP, request};
use branchline_tests::processes::Role;
use futures::future::join_all;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};

use points::{BY_CHANCE, Course, FEW, POINTS};

const GRACE: Duration = Duration::from_secs(3);
/// Twice as long as another worker takes to lead, and to settle what the frozen one was about to send.
const FROZEN: Duration = Duration::from_secs(10);
/// The messages of a process that is killed come again a minute later, and may meet another kill.
const WITHIN: Duration = Duration::from_mins(3);
const LOOK_EVERY: Duration = Duration::from_millis(20);

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
    let named = |it: &str| {
        let point = it.trim_end_matches(".before").trim_end_matches(".after");
        POINTS.iter().any(|(name, _)| *name == it) || BY_CHANCE.contains(&point)
    };
    wrong.extend(hits.keys().filter(|it| !named(it)).map(|it| format!("{it} is on no list")));
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
    fs::write(at.faults(), points::faults(points).to_string()).unwrap();
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
                if let Err(error) = scene.end(run, Course::to(point)).await {
                    sums.lost += 1;
                    let again = format!("CRASH={point} make crash");
                    told.wrong.push(format!("{point} {signal}: {error:#} ({again})"));
                }
            }
            let (creates, announced) = (at.creates().unwrap(), at.announced().await.unwrap());
            for (point, signal, run) in &runs {
                let asked_for = scene.events(run).await.unwrap_or_default();
                let heard = announced.get(run.as_str()).cloned().unwrap_or_default();
                if heard != asked_for {
                    told.wrong.push(format!(
                        "{point} {signal}: {run} asks for {asked_for:?}; told {heard:?}"
                    ));
                }
                let jobs = creates.get(run.as_str()).copied().unwrap_or_default();
                let sums = told.sums.entry((point, signal)).or_default();
                let (_, _, expected) = Course::to(point).end();
                sums.duplicates += jobs.saturating_sub(expected);
                if jobs != expected {
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

/// Where all runs train.
fn domain() -> Result<Vertex> {
    Ok(serde_json::from_value(json!({"project": PROJECT, "region": REGION}))?)
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
        at.keep_events().await?;
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
        let course = Course::to(point);
        let script = match course {
            // Long enough to be seen running, however busy the machine is.
            Course::Succeeds if point.contains("running") => format!("sleep 5; {NAP}"),
            Course::Succeeds | Course::Rejected | Course::Paused => NAP.to_owned(),
            Course::Refused => format!(": {}; {NAP}", points::refused(number)),
            Course::Cancelled => "exec sleep 600".to_owned(),
            Course::Retried => {
                let flag = directory.join(format!("again-{number}"));
                let flag = flag.display();
                format!("test -e {flag} || {{ touch {flag}; exit 1; }}; {NAP}")
            }
        };
        let (mut request, _) = request(self.at, self.kind, &script, number)?;
        if course == Course::Rejected {
            request["artifacts"] = json!([{
                "name": "data", "uri": format!("gs://{ARTIFACTS}/none"),
                "generation": 1, "size": 1, "crc32c": "AAAAAA==",
            }]);
        }
        if point.starts_with("stage.") {
            request["artifacts"] = json!([self.input(number).await?]);
        }
        let run = RunId::derive(&serde_json::from_value(request.clone())?).0;
        if course == Course::Paused {
            self.ask(Ask::Pause(domain()?)).await?;
        }
        // Twice, and a third time by another CI job.
        for ci_job in [self.at.job().id, self.at.job().id, 1_000_000] {
            self.publish(&request, ci_job).await?;
        }
        match course {
            Course::Succeeds | Course::Rejected | Course::Refused => {}
            Course::Retried => {
                self.reaches(&run, |it| it.ending().is_some()).await?;
                self.publish(&request, 2_000_000).await?;
            }
            Course::Cancelled => {
                self.reaches(&run, |it| it.state == State::Running).await?;
                self.ask(Ask::Cancel { run: run.clone(), attempt: None }).await?;
            }
            Course::Paused => {
                self.reaches(&run, |it| it.blocked.is_some()).await?;
                self.ask(Ask::Resume(domain()?)).await?;
            }
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

    /// An artifact to be copied.
    async fn input(&self, number: usize) -> Result<Value> {
        let storage = Storage::connect(&self.at.google()).await?;
        let name = format!("input-{number}");
        let made = storage.create(ARTIFACTS, &name, "1,2".into(), BTreeMap::new()).await?;
        let crc32c = Crc32c(made.crc32c.context("it has one")?);
        Ok(json!({
            "name": "data", "uri": format!("gs://{ARTIFACTS}/{name}"),
            "generation": made.generation, "size": made.size, "crc32c": crc32c,
        }))
    }

    async fn publish(&self, request: &Value, ci_job: u64) -> Result<()> {
        let mut request = request.clone();
        request["gitlab"]["job_id"] = ci_job.into();
        let data = signed(self.at.signer(), request).to_string().into_bytes().into();
        let message = Message { data, ..Message::default() };
        self.publisher.publish(&topic(PROJECT, "artifact-ready"), message).await?;
        Ok(())
    }

    async fn reaches(&self, run: &RunId, there: impl Fn(&Run) -> bool) -> Result<()> {
        let since = Instant::now();
        loop {
            let history = self.store.load(self.at.project_id(), run).await?;
            if history.is_some_and(|it| there(&it.run)) {
                return Ok(());
            }
            ensure!(since.elapsed() < WITHIN, "{run} does not come there");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// As an operator does.
    async fn ask(&self, ask: Ask) -> Result<()> {
        let id = RequestId::parse(format!("{:032x}", fastrand::u128(..)))?;
        let name = RequestName::new(Timestamp::now(), &id);
        let (actor, reason) = (Actor::parse("anna")?, Reason::parse("enough")?);
        let storage = Arc::new(Storage::connect(&self.at.google()).await?);
        let requests = Requests::new(storage, REQUESTS.to_owned(), LEDGER.to_owned());
        requests.ask(&name, &Request { id, actor, id_token: None, reason, ask }).await?;
        Ok(())
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
            if since.elapsed() > WITHIN {
                // Nobody is to come to it later.
                fs::remove_file(self.at.failpoints().join(point)).ok();
                bail!("nobody came to {point}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The run has ended as it should, its commit and its merge request say so, and nothing is left to do.
    async fn end(&self, run: &RunId, course: Course) -> Result<()> {
        let since = Instant::now();
        loop {
            let missing = match self.missing(run, course).await {
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

    /// Ids of the events that the facts ask for, in order.
    async fn events(&self, run: &RunId) -> Result<Vec<String>> {
        let history = self.store.load(self.at.project_id(), run).await?.context("it is there")?;
        let ids =
            history.events.iter().map(|it| Envelope::run_event(it).attributes["ce-id"].clone());
        Ok(ids.collect())
    }

    async fn missing(&self, run: &RunId, course: Course) -> Result<Option<String>> {
        let (outcome, state, _) = course.end();
        let project = self.at.project_id();
        // Loading folds it, and that checks the chain.
        let Some(history) = self.store.load(project, run).await? else {
            return Ok(Some("it is not on record".to_owned()));
        };
        let Some(ending) = history.run.ending() else {
            return Ok(Some(format!("it is {:?}", history.run.state)));
        };
        if ending.outcome != outcome {
            return Ok(Some(format!("it ended as {ending:?}")));
        }
        let sha = CommitSha::parse(self.at.job().sha.as_str())?;
        let name = format!("branchline/{}", run.name());
        let statuses = self.gitlab.commit_statuses(project, &sha, &name).await?;
        let states: Vec<_> = statuses.iter().map(|it| it.status).collect();
        if states != [state] {
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
