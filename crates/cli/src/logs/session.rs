//! One run of the command: looks at every source, again and again with `--follow`, and tells what is ripe.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use branchline_gcp::logging::LogEntry;
use branchline_gcp::{Class, Config};
use branchline_ledger::Trail;
use branchline_service::telemetry::chain;
use jiff::{SignedDuration, Timestamp, Unit};
use tokio::time::Instant;

use super::clocks::Clocks;
use super::line::{Form, Line, Source, Told, clean};
use super::merge::{Bounds, Merge, Order, StreamId};
use super::story::{CiJob, Job, Story};
use super::trace::Stamp;
use super::{Args, gitlab, vertex};
use crate::env::Environment;
use crate::terminal::plain;

/// How long entries may take into Cloud Logging behind the end of a run, beside the window.
const SETTLE: Duration = Duration::from_secs(5);
/// A correction that nobody would see is not told.
const TOLD_FROM: SignedDuration = SignedDuration::from_secs(1);

/// Everything that is known of a run's logs.
pub(super) struct Session<'a> {
    args: &'a Args,
    environment: &'a Environment,
    google: Config,
    trail: Trail,
    project_id: u64,
    form: Form,
    story: Story,
    merge: Merge,
    ci_jobs: Vec<Log<gitlab::Reading, StreamId>>,
    jobs: Vec<Log<vertex::Reading, Clocks>>,
    cloud: Option<vertex::Doors>,
    /// What was said on stderr.
    said: BTreeSet<String>,
    started: Instant,
    ended: Option<Instant>,
}

/// The log of one job of either kind, and how far it has been read.
struct Log<T, S> {
    /// The stream of the merge that its lines are in, or several.
    streams: S,
    reading: T,
    /// It cannot be read.
    lost: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        args: &'a Args,
        environment: &'a Environment,
        google: Config,
        trail: Trail,
        project_id: u64,
    ) -> Self {
        Self {
            args,
            environment,
            google,
            trail,
            project_id,
            form: args.form(environment),
            story: Story::default(),
            merge: Merge::default(),
            ci_jobs: Vec::new(),
            jobs: Vec::new(),
            cloud: None,
            said: BTreeSet::new(),
            started: Instant::now(),
            ended: None,
        }
    }

    /// Whether there is no such run.
    pub(super) const fn is_empty(&self) -> bool {
        self.story.facts == 0
    }

    /// Whether nothing more is waited for.
    pub(super) fn is_over(&mut self) -> bool {
        let ended = match self.args.attempt {
            Some(attempt) if attempt != self.story.attempt => attempt < self.story.attempt,
            Some(_) | None => self.story.ended,
        };
        let since = ended.then(|| *self.ended.get_or_insert_with(Instant::now));
        self.ended = since;
        since.is_some_and(|it| it.elapsed() >= SETTLE + self.args.window.get())
    }

    /// Looks at every source: the ledger first, for it says where the others are.
    pub(super) async fn look(&mut self) -> anyhow::Result<()> {
        let (project_id, position) = (self.project_id, self.story.facts);
        let facts = self.trail.run_from(project_id, &self.args.run, position).await;
        let facts = match facts {
            Ok(facts) => facts,
            Err(error) if position > 0 && passes(error.class()) => {
                self.note(&format!(
                    "the ledger does not answer, and is asked again: {}",
                    chain(&error)
                ));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        for fact in &facts {
            let (time, line) = self.story.tell(fact);
            let ripe = self.ripe(time, position == 0);
            self.merge.fact(time, line, ripe);
        }
        self.look_at_gitlab(position == 0).await;
        self.look_at_vertex(position == 0).await;
        Ok(())
    }

    /// Prints what is ripe.
    pub(super) fn tell(&mut self) -> anyhow::Result<()> {
        let told = self.merge.take(self.started.elapsed());
        self.print(&told)
    }

    /// Prints everything that waits.
    pub(super) fn tell_all(&mut self) -> anyhow::Result<()> {
        let told = self.merge.take(Duration::MAX);
        self.print(&told)
    }

    fn print(&self, told: &[Told]) -> anyhow::Result<()> {
        let Args { since, grep, .. } = self.args;
        let mut out = std::io::stdout().lock();
        for it in told {
            let wanted = self.args.wants(it.line.source)
                && self.args.wants_attempt(it.line.attempt)
                && since.is_none_or(|since| it.time >= since)
                && grep.as_ref().is_none_or(|grep| grep.is_match(&it.line.text));
            if wanted {
                writeln!(out, "{}", it.show(self.form)).context("writing to stdout")?;
            }
        }
        out.flush().context("writing to stdout")
    }

    /// When a line of that time may be told: what is old at the first look has no earlier ones.
    fn ripe(&self, time: Timestamp, first: bool) -> Duration {
        let window = self.args.window.get();
        let old = first && Timestamp::now().duration_since(time) >= signed(window);
        if !self.args.follow || old { Duration::ZERO } else { self.started.elapsed() + window }
    }

    /// Says it on stderr, once.
    fn note(&mut self, text: &str) {
        if self.said.insert(text.to_owned()) {
            eprintln!("note: {}", plain(text));
        }
    }

    async fn look_at_gitlab(&mut self, first: bool) {
        for at in 0..self.story.ci_jobs.len() {
            if at == self.ci_jobs.len() {
                let stream = self.merge.stream(Order::AsTold);
                self.ci_jobs.push(Log::new(stream));
            }
            let of = self.story.ci_jobs[at].clone();
            let log = &mut self.ci_jobs[at];
            let wanted = self.args.wants(Source::Gitlab) && self.args.wants_attempt(of.attempt);
            if !wanted || log.lost || log.reading.ended {
                continue;
            }
            let client = match log.reading.client(self.environment, &of) {
                Ok(client) => client,
                Err(why) => {
                    log.lost = true;
                    self.note(&format!("gitlab is missing: {why}"));
                    continue;
                }
            };
            loop {
                match self.ci_jobs[at].reading.look(&client, &of, &self.args.run).await {
                    Ok(news) => {
                        self.take_trace(at, &of, &news, first);
                        if news.goes_on {
                            continue;
                        }
                    }
                    Err(error) => {
                        let passes = error.class() == branchline_gitlab::Class::Transient;
                        self.ci_jobs[at].lost = !(passes && self.args.follow);
                        let job = of.gitlab.job_id;
                        self.note(&format!("gitlab is missing: CI job {job}: {}", chain(&error)));
                    }
                }
                break;
            }
            if self.ci_jobs[at].reading.cut {
                let job = of.gitlab.job_id;
                self.note(&format!(
                    "the log of CI job {job} is cut: it is longer than what is read"
                ));
            }
        }
    }

    /// Takes in what is new of a CI job's log. Lines before the publish come before its answer.
    fn take_trace(&mut self, at: usize, of: &CiJob, news: &gitlab::News, first: bool) {
        let stream = self.ci_jobs[at].streams;
        let published = news.published;
        if let (Some(finished), Some(_)) = (news.finished_at, published) {
            self.merge.at_least(stream, finished, of.asked_at);
        }
        let mut first_after = published.is_some();
        for (number, it) in news.lines.iter().enumerate() {
            let bounds = match published {
                Some(published) if number < published => {
                    self.merge.at_most(stream, it.time, of.asked_at);
                    Bounds { before: Some(of.fact), ..Bounds::default() }
                }
                Some(_) => {
                    let least = match it.stamp {
                        Stamp::Own => Some(it.time),
                        Stamp::Second => Some(it.time + SignedDuration::from_secs(1)),
                        Stamp::Inherited => None,
                    };
                    // The lines behind it are later anyhow.
                    if let (true, Some(least)) = (first_after, least) {
                        self.merge.at_least(stream, least, of.asked_at);
                        first_after = false;
                    }
                    Bounds { not_before: Some(of.asked_at), ..Bounds::default() }
                }
                None => Bounds::default(),
            };
            let line = Line {
                source: Source::Gitlab,
                attempt: of.attempt,
                time: it.time,
                from: format!("CI job {}", of.gitlab.job_id),
                severity: String::new(),
                text: it.text.clone(),
            };
            let ripe = self.ripe(it.time, first);
            self.merge.line(stream, line, bounds, ripe);
        }
        self.tell_correction(stream, &format!("CI job {}", of.gitlab.job_id));
    }

    async fn look_at_vertex(&mut self, first: bool) {
        for at in 0..self.story.jobs.len() {
            if at == self.jobs.len() {
                self.jobs.push(Log::new(Clocks::default()));
            }
            let of = self.story.jobs[at].clone();
            let log = &mut self.jobs[at];
            if let Some((fact, time)) = of.finished {
                log.streams.end(&mut self.merge, fact, time);
            }
            let wanted = self.args.wants(Source::Vertex) && self.args.wants_attempt(of.attempt);
            if !wanted || log.lost {
                continue;
            }
            let looked = match vertex::doors(&mut self.cloud, &self.google).await {
                Ok(doors) => log.reading.look(doors, &of, self.args.since).await,
                Err(error) => Err(error),
            };
            let cut = log.reading.cut;
            match looked {
                Ok(entries) => self.take_entries(at, &of, &entries, first),
                Err(error) => {
                    log.lost = !(passes(error.class()) && self.args.follow);
                    let hint = match error.class() {
                        Class::Permission => {
                            format!("; roles/logging.viewer on project {} is needed", of.project)
                        }
                        Class::NotFound
                        | Class::Conflict
                        | Class::Refused
                        | Class::Quota
                        | Class::Transient => String::new(),
                    };
                    self.note(&format!("vertex is missing: {}{hint}", chain(&error)));
                }
            }
            if cut {
                let name = &of.name;
                self.note(&format!("{name} has more entries than are read at once; --since helps"));
            }
        }
    }

    fn take_entries(&mut self, at: usize, of: &Job, entries: &[LogEntry], first: bool) {
        for entry in entries {
            let time = entry.time.or(entry.received).unwrap_or(of.intended.1);
            let stream = self.jobs[at].streams.stream(&mut self.merge, entry, time);
            self.merge.at_least(stream, time, of.intended.1);
            // Both are Google's clocks.
            let most = [entry.received, of.finished.map(|it| it.1)];
            for most in most.into_iter().flatten() {
                self.merge.at_most(stream, time, most);
            }
            let bounds = Bounds { after: Some(of.intended.0), ..Bounds::default() };
            let ripe = self.ripe(time, first);
            let from = entry.task.clone().unwrap_or_default();
            for text in entry.text.lines() {
                let text = if matches!(from.as_str(), "" | "workerpool0-0") {
                    clean(text)
                } else {
                    format!("{}: {}", clean(&from), clean(text))
                };
                let line = Line {
                    source: Source::Vertex,
                    attempt: of.attempt,
                    time,
                    from: from.clone(),
                    severity: entry.severity.clone(),
                    text,
                };
                self.merge.line(stream, line, bounds, ripe);
            }
        }
        let job = of.name.rsplit('/').next().unwrap_or_default();
        let streams: Vec<_> = self.jobs[at]
            .streams
            .streams()
            .map(|(stream, task)| (stream, format!("{job} {}", clean(task))))
            .collect();
        for (stream, replica) in streams {
            self.tell_correction(stream, replica.trim_end());
        }
    }

    /// A clock that goes wrong is told once.
    fn tell_correction(&mut self, stream: StreamId, of: &str) {
        let correction = self.merge.correction(stream);
        if correction.abs() < TOLD_FROM || !self.said.insert(format!("{stream:?}")) {
            return;
        }
        let seconds = correction.abs().round(Unit::Second).unwrap_or(correction.abs());
        let (wrong, shown) =
            if correction.is_negative() { ("ahead", "earlier") } else { ("behind", "later") };
        let by = format!("{seconds:#}");
        self.note(&format!(
            "the clock of {of} is {by} {wrong}; its lines are shown that much {shown}"
        ));
    }
}

impl<T: Default, S> Log<T, S> {
    fn new(streams: S) -> Self {
        Self { streams, reading: T::default(), lost: false }
    }
}

const fn passes(class: Class) -> bool {
    match class {
        Class::Quota | Class::Transient => true,
        Class::NotFound | Class::Conflict | Class::Refused | Class::Permission => false,
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
