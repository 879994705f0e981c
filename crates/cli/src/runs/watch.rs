//! `runs watch`: runs while they go on. It only looks; no run needs anybody to watch it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use branchline_contract::RunId;
use branchline_gcp::Class;
use branchline_ledger::{Entry, History};
use branchline_service::Period;
use branchline_service::telemetry::chain;
use futures::{StreamExt as _, stream};
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
use crate::follow::{Followed, may_pass};
use crate::operate::Misplaced;
use crate::publish::{plain, stopped};
use crate::style::{Colour, Style};
use crate::table::{Cell, Table};

/// Between two looks at a run.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Between two looks for further runs.
const FIND_EVERY: Duration = Duration::from_secs(10);
/// Between two frames.
const DRAW_EVERY: Duration = Duration::from_millis(250);
/// Runs that are looked at, at once.
const AT_ONCE: usize = 16;
const SHA_SHOWN: usize = 8;

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
/// go on. Runs that are asked for meanwhile join them.
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
    /// Every run that was seen, whether it is one of those or not.
    known: BTreeSet<RunId>,
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
    let (known, told) = (BTreeSet::new(), BTreeMap::new());
    let watch = Watch { args, environment, catalogue, runs, known, told, trouble: None };
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
        let terminal = Style::stdout(self.environment).width.is_some();
        let mut screen =
            if terminal { Some(Screen::new().context("writing to stdout")?) } else { None };
        let (mut look_at, mut find_at) = (Instant::now(), Instant::now());
        loop {
            let now = Instant::now();
            if self.args.run.is_none() && now >= find_at {
                let found = self.find().await;
                self.note(found)?;
                find_at = Instant::now() + FIND_EVERY;
            }
            if now >= look_at {
                let looked = self.look().await;
                self.note(looked)?;
                look_at = Instant::now() + LOOK_EVERY;
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

    /// Looks at every run that has not ended.
    async fn look(&mut self) -> anyhow::Result<()> {
        let live = self
            .runs
            .values_mut()
            .filter(|it| it.history().is_none_or(|it| it.run.ending().is_none()));
        let looks: Vec<_> = live.map(|it| async { it.look().await.map(drop) }).collect();
        let looked: Vec<_> = stream::iter(looks).buffer_unordered(AT_ONCE).collect().await;
        looked.into_iter().collect::<Result<(), _>>().map_err(Into::into)
    }

    /// Looks for runs that were asked for meanwhile.
    async fn find(&mut self) -> anyhow::Result<()> {
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        for day in [today, today.checked_sub(1.day()).context("the clock is wrong")?] {
            let listed = self.catalogue.of_day(day, &self.args.which, &self.known).await?;
            let (found, _) = self.catalogue.read(listed).await?;
            for history in found {
                let id = history.run.id.clone();
                let shown = history.run.ending().is_none() || self.args.which.sha.is_some();
                if self.args.which.is(&history) && shown {
                    let followed = Followed::known(self.catalogue.store.clone(), history);
                    self.runs.entry(id.clone()).or_insert(followed);
                }
                self.known.insert(id);
            }
        }
        Ok(())
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
        if trouble != self.trouble && Style::stdout(self.environment).width.is_none() {
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
            (_, None) => vec!["no run of these is known yet".to_owned()],
        };
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
