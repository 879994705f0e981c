//! `runs watch`: runs while they go on. It only looks; no run needs anybody to watch it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::mem;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use branchline_contract::RunId;
use branchline_gcp::Class;
use branchline_ledger::{Entry, History, Listed};
use branchline_service::Period;
use branchline_service::telemetry::chain;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use tokio::time::{Instant, sleep};

use super::find::{Catalogue, Which};
use super::screen::Screen;
use super::timeline::stretches;
use super::{because, colour, span, word};
use crate::audit::detail;
use crate::env::{self, Environment};
use crate::exit;
use crate::follow::{Followed, may_pass, pause};
use crate::operate::Misplaced;
use crate::publish::stopped;
use crate::style::{Colour, Style};
use crate::table::{Cell, Table};
use crate::terminal::plain;

const NONE_YET: &str = "no run of these is known yet";
/// Between two looks for further runs.
const FIND_EVERY: Duration = Duration::from_secs(10);
/// Between two frames.
const DRAW_EVERY: Duration = Duration::from_millis(250);
/// Runs that are looked at, at once.
const AT_ONCE: usize = 16;
const SHA_SHOWN: usize = 8;
/// Runs that cannot be shown, of which that is shown.
const UNREAD_SHOWN: usize = 3;

const AFTER_HELP: &str = "\
On a terminal the runs are drawn in place; elsewhere each new fact is a line. It ends once all of
them have ended, with the outcome of the first that did not succeed.

Environment:
  BRANCHLINE_CREDENTIALS          application_default (the default) or anonymous
  BRANCHLINE_STORAGE_ENDPOINT     instead of Google's own
  NO_COLOR                        with any value, no colours

Exit codes:
  0   succeeded             10  failed            11  cancelled
  12  expired               13  rejected          14  --timeout is over
  64  wrong usage           65  a ledger cannot be read as one
  66  there is no such run or bucket              69  refused
  75  try again             77  not allowed       78  wrong environment
  130 and 143  Ctrl-C and SIGTERM; the runs go on";

/// Follow a run until it ends, or all runs of a commit or project
///
/// Of a commit, runs of today and yesterday that have ended are shown too; of a project, those that
/// go on, however old they are. Runs that are asked for or tried again meanwhile join them.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true).args(["run", "project", "sha"])))]
pub(crate) struct Args {
    /// The run's id
    #[arg(conflicts_with_all = ["project", "sha"])]
    run: Option<RunId>,
    /// GitLab project of the run; otherwise it is looked for in the ledger
    #[arg(long, value_name = "ID", requires = "run")]
    project_id: Option<u64>,
    #[command(flatten)]
    which: Which,
    /// How long to follow them, such as 90m or 2h
    #[arg(long, value_name = "TIME", default_value = "2h")]
    timeout: Period,
    /// Bucket of the run ledger, `ledger_bucket` in worker.yaml
    #[arg(long, value_name = "BUCKET", env = "BRANCHLINE_LEDGER_BUCKET")]
    ledger_bucket: String,
    /// Bucket of the queue, `queue_bucket` in worker.yaml; needed where no run is named
    #[arg(
        long,
        value_name = "BUCKET",
        env = "BRANCHLINE_QUEUE_BUCKET",
        required_unless_present = "run"
    )]
    queue_bucket: Option<String>,
}

/// Runs, and what is told of them.
struct Watch<'a> {
    args: &'a Args,
    environment: &'a Environment,
    catalogue: Catalogue,
    runs: BTreeMap<RunId, Followed>,
    /// Runs that were read and are not shown, and up to which attempt they need not be read again.
    passed: BTreeMap<RunId, u32>,
    /// What was told of runs that cannot be shown.
    unread: BTreeMap<RunId, String>,
    /// Facts that were told, by run.
    told: BTreeMap<RunId, usize>,
    /// Why the last look did not succeed.
    trouble: Option<String>,
}

pub(crate) async fn run(args: &Args, environment: &Environment) -> anyhow::Result<u8> {
    let google = env::google(environment).map_err(Misplaced)?;
    let queue = args.queue_bucket.as_deref();
    let catalogue = Catalogue::connect(&args.ledger_bucket, queue, &google).await?;
    let mut runs = BTreeMap::new();
    if let Some(run) = &args.run {
        let Some(history) = catalogue.run(run, args.project_id).await? else {
            eprintln!("error: there is no run {run} in the ledger");
            return Ok(exit::NO_INPUT);
        };
        runs.insert(run.clone(), Followed::known(catalogue.store.clone(), history));
    }
    let (passed, unread, told) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let watch = Watch { args, environment, catalogue, runs, passed, unread, told, trouble: None };
    let (why, code) = tokio::select! {
        code = watch.until_the_end() => return code,
        () = sleep(args.timeout.get()) => ("the time to wait is over", exit::WAITED_TOO_LONG),
        code = stopped() => ("stopped", code),
    };
    eprintln!("{why}: what is under way goes on");
    Ok(code)
}

impl Watch<'_> {
    async fn until_the_end(mut self) -> anyhow::Result<u8> {
        let mut screen =
            if self.draws() { Some(Screen::new().context("writing to stdout")?) } else { None };
        let started = Instant::now();
        let (mut look_at, mut find_at, mut new_at) = (started, started, started);
        // Facts of all runs.
        let mut known = 0;
        let mut said = screen.is_some();
        loop {
            let now = Instant::now();
            let finds = self.args.run.is_none() && now >= find_at;
            if finds {
                let found = self.find().await;
                self.note(found)?;
                find_at = Instant::now() + FIND_EVERY;
            }
            // A screen shows it, and a misspelt commit would be waited for in silence.
            if !mem::replace(&mut said, true) && self.runs.is_empty() {
                eprintln!("{NONE_YET}");
            }
            if finds || now >= look_at {
                let looked = self.look(finds).await;
                self.note(looked)?;
                let facts = self.runs.values().filter_map(Followed::history);
                let facts = facts.map(|it| it.entries.len()).sum();
                if mem::replace(&mut known, facts) != facts {
                    new_at = Instant::now();
                }
                look_at = Instant::now() + pause(new_at.elapsed());
            }
            match &mut screen {
                Some(screen) => screen.draw(&self.frame()),
                None => self.tell(),
            }
            .context("writing to stdout")?;
            if let Some(code) = self.end() {
                return Ok(code);
            }
            sleep(DRAW_EVERY).await;
        }
    }

    /// What the runs have come to, once all have ended.
    fn end(&self) -> Option<u8> {
        let ending =
            |it: &Followed| it.history().and_then(|it| it.run.ending()).map(|it| it.outcome);
        let codes: Option<Vec<u8>> =
            self.runs.values().map(|it| ending(it).map(exit::of_outcome)).collect();
        let codes = codes.filter(|it| !it.is_empty())?;
        Some(codes.into_iter().find(|it| *it != 0).unwrap_or(0))
    }

    /// Whether the runs are drawn in place.
    fn draws(&self) -> bool {
        Style::stdout(self.environment).width.is_some()
    }

    /// Looks at every run that has not ended; or at all, for one that has may be tried again.
    async fn look(&mut self, all: bool) -> anyhow::Result<()> {
        let ended = |it: &Followed| it.history().is_some_and(|it| it.run.ending().is_some());
        let due = self.runs.values_mut().filter(|it| all || !ended(it));
        let looks: Vec<_> = due.map(|it| async { it.look().await.map(drop) }).collect();
        let looked: Vec<_> = stream::iter(looks).buffer_unordered(AT_ONCE).collect().await;
        looked.into_iter().collect::<Result<(), _>>().map_err(Into::into)
    }

    /// Looks for runs that were asked for or tried again meanwhile. Those that go on are in the
    /// queue, and of those that ended only a commit's are shown.
    async fn find(&mut self) -> anyhow::Result<()> {
        let which = &self.args.which;
        let unfinished = self.catalogue.unfinished(which).await?;
        let new = |run: &RunId, attempt: u32| {
            !self.runs.contains_key(run) && self.passed.get(run).is_none_or(|it| *it < attempt)
        };
        let mut listed: Vec<Listed> = unfinished
            .into_iter()
            .filter_map(|(it, attempt)| new(&it.run, attempt).then_some(it))
            .collect();
        if which.sha.is_some() {
            let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
            for day in [today, today.checked_sub(1.day()).context("the clock is wrong")?] {
                let of_day = self.catalogue.of_day(day, which).await?;
                listed.extend(of_day.into_iter().filter(|it| new(&it.run, 1)));
            }
            listed.sort_by(|one, other| one.run.cmp(&other.run));
            listed.dedup_by(|one, other| one.run == other.run);
        }
        let catalogue = self.catalogue.clone();
        let mut reads = pin!(catalogue.read(listed));
        while let Some((Listed { run, .. }, read)) = reads.try_next().await? {
            match read {
                Ok(history) => self.take_in(history),
                Err(unread) => {
                    if unread.is_broken {
                        self.passed.insert(run.clone(), u32::MAX);
                    }
                    let is_news = self.unread.insert(run, unread.message.clone()).is_none();
                    if is_news && !self.draws() {
                        eprintln!("{}", unread.message);
                    }
                }
            }
        }
        Ok(())
    }

    /// Follows a run that was found, if it is one of those.
    fn take_in(&mut self, history: History) {
        let (id, which) = (history.run.id.clone(), &self.args.which);
        self.unread.remove(&id);
        if !which.is(&history) {
            self.passed.insert(id, u32::MAX);
        } else if history.run.ending().is_some() && which.sha.is_none() {
            self.passed.insert(id, history.run.attempt);
        } else {
            self.passed.remove(&id);
            self.runs.insert(id, Followed::known(self.catalogue.store.clone(), history));
        }
    }

    /// What may pass is told, and waited for.
    fn note(&mut self, looked: anyhow::Result<()>) -> anyhow::Result<()> {
        let trouble = match looked {
            Ok(()) => None,
            Err(error) if passes(&error) => {
                Some(format!("the ledger does not answer: {}", plain(&chain(error.as_ref()))))
            }
            Err(error) => return Err(error),
        };
        if trouble != self.trouble && !self.draws() {
            eprintln!("{}", trouble.as_deref().unwrap_or("the ledger answers again"));
        }
        self.trouble = trouble;
        Ok(())
    }

    /// A line for each fact that is new.
    fn tell(&mut self) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        for (id, followed) in &self.runs {
            let Some(history) = followed.history() else { continue };
            let told = self.told.entry(id.clone()).or_default();
            for entry in &history.entries[*told..] {
                writeln!(out, "{}", line(id, entry))?;
            }
            *told = history.entries.len();
        }
        out.flush()
    }

    fn frame(&self) -> Vec<String> {
        let (now, style) = (Timestamp::now(), Style::stdout(self.environment));
        let mut histories = self.runs.values().filter_map(Followed::history);
        let mut lines = match (&self.args.run, histories.next()) {
            (Some(_), Some(history)) => one(history, now, style),
            (None, Some(first)) => {
                let table = several([first].into_iter().chain(histories), now).render(style);
                table.lines().map(str::to_owned).collect()
            }
            (_, None) => vec![NONE_YET.to_owned()],
        };
        let unread = self.unread.values().take(UNREAD_SHOWN);
        lines.extend(unread.map(|it| style.paint(Colour::Dim, it)));
        lines.extend(self.trouble.iter().map(|it| style.paint(Colour::Red, it)));
        lines
    }
}

fn passes(error: &anyhow::Error) -> bool {
    if let Some(error) = error.downcast_ref::<branchline_ledger::Error>() {
        return may_pass(error);
    }
    let google = error.chain().find_map(|it| it.downcast_ref::<branchline_gcp::Error>());
    google.is_some_and(|it| matches!(it.class(), Class::Transient | Class::Quota))
}

fn line(id: &RunId, entry: &Entry) -> String {
    let fact = &entry.fact;
    let time = fact.time.strftime("%Y-%m-%dT%H:%M:%SZ");
    let text =
        format!("{time} {id} attempt {} {} {}", fact.attempt, fact.body.kind(), detail(&fact.body));
    plain(text.trim_end())
}

/// One run, in a few lines.
fn one(history: &History, now: Timestamp, style: Style) -> Vec<String> {
    let run = &history.run;
    let gitlab = &run.request.gitlab;
    let stages = stretches(&history.entries, now);
    let stages: Vec<_> = stages.iter().filter(|it| it.attempt == run.attempt).collect();
    let since = stages.last().filter(|it| it.goes_on).map(|it| format!(" for {}", span(it.took)));
    let parts: Vec<_> =
        stages.iter().map(|it| format!("{} {}", it.stage.as_str(), span(it.took))).collect();
    let dim = |text: &str| style.paint(Colour::Dim, &plain(text));
    let mut lines = vec![
        style.paint(Colour::Bold, &format!("{}, attempt {}", run.id, run.attempt)),
        dim(&format!(
            "{}, {} at {}, for {}",
            gitlab.project_path,
            gitlab.git_ref,
            &gitlab.sha.as_str()[..SHA_SHOWN],
            run.request.vertex
        )),
        style.paint(colour(run), word(&run.state)) + &since.unwrap_or_default(),
    ];
    let reason = because(run);
    if !reason.is_empty() {
        lines.push(plain(&reason));
    }
    lines.extend(run.vertex_job().map(|it| dim(&it.console_url)));
    if let Some(ending) = run.ending() {
        let metrics = ending.metrics.iter().map(|(name, it)| plain(&format!("{name} {it}")));
        lines.extend(metrics.chain(ending.model_uri.iter().map(|it| plain(it))));
    }
    lines.push(dim(&parts.join(", ")));
    lines
}

/// Several runs, a line each.
fn several<'a>(histories: impl Iterator<Item = &'a History>, now: Timestamp) -> Table {
    let mut table =
        Table::new(&["RUN", "REF", "SHA", "STATE", "FOR", "ATTEMPT", "REASON"]).right(4).right(5);
    for History { run, entries, .. } in histories {
        let stages = stretches(entries, now);
        let since = stages.last().filter(|it| it.goes_on).map(|it| span(it.took));
        let gitlab = &run.request.gitlab;
        table.row([
            Cell::from(run.id.as_str()),
            Cell::from(gitlab.git_ref.as_str()),
            Cell::from(&gitlab.sha.as_str()[..SHA_SHOWN]),
            Cell::coloured(colour(run), word(&run.state)),
            Cell::from(since.unwrap_or_default()),
            Cell::from(run.attempt.to_string()),
            Cell::from(because(run)),
        ]);
    }
    table
}
