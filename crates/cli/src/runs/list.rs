//! `runs list`: the runs of some days, newest first.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::pin::pin;

use anyhow::Context as _;
use branchline_contract::{Outcome, RefName, RunName};
use branchline_ledger::{History, Listed, State};
use clap::ValueEnum;
use futures::TryStreamExt as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::find::{Catalogue, Which, asked_within, is_named};
use super::newest::Newest;
use super::record::record;
use super::timeline::ended_at;
use super::{AFTER_HELP, because, colour, span, word};
use crate::audit::moment;
use crate::env::{self, Environment};
use crate::exit;
use crate::operate::{Misplaced, Usage};
use crate::style::Style;
use crate::table::{Cell, Table};
use crate::terminal::json;

/// More days than this are faster found in the ledger itself.
const DAYS_MAX: i32 = 366;
const SHA_SHOWN: usize = 8;
/// Runs of the whole ledger that are looked at together.
const CHUNK: usize = 64;

/// List runs, newest first: those of today and yesterday and those that go on, or of another time
///
/// The runs of a day, in UTC, are found in a listing in the queue's bucket, and each is read from
/// the ledger. What counts is when an attempt was asked for. Runs that go on are in the queue.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Only runs of this branch or tag
    #[arg(long = "ref", value_name = "REF")]
    git_ref: Option<RefName>,
    /// Only runs of this name in branchline.yaml
    #[arg(long, value_name = "NAME")]
    name: Option<RunName>,
    /// Only runs that stand there; may be repeated
    #[arg(long, value_name = "STATE")]
    state: Vec<Standing>,
    /// Only runs that ended so; may be repeated
    #[arg(long, value_name = "OUTCOME")]
    outcome: Vec<Ended>,
    /// From then on: a time such as 2026-11-23T12:00:00Z, or a date in UTC
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Up to then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Of this day, in UTC
    #[arg(long, value_name = "DATE", conflicts_with_all = ["since", "until"])]
    day: Option<Date>,
    /// At most so many
    #[arg(long, value_name = "N", default_value = "50")]
    limit: NonZeroUsize,
    /// Walk through the whole ledger instead of the listing; without --since, of all times
    #[arg(long)]
    all: bool,
    /// Print a line of JSON for each run, with all that is known of it
    #[arg(long)]
    json: bool,
    /// Bucket of the run ledger, `ledger_bucket` in worker.yaml
    #[arg(long, value_name = "BUCKET", env = "BRANCHLINE_LEDGER_BUCKET")]
    ledger_bucket: String,
    /// Bucket of the queue, `queue_bucket` in worker.yaml
    #[arg(
        long,
        value_name = "BUCKET",
        env = "BRANCHLINE_QUEUE_BUCKET",
        required_unless_present = "all"
    )]
    queue_bucket: Option<String>,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Standing {
    Requested,
    Stalled,
    Verified,
    Held,
    Queued,
    Submitted,
    Running,
    Ended,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Ended {
    Succeeded,
    Failed,
    Cancelled,
    Expired,
    Rejected,
}

/// The time that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    since: Timestamp,
    until: Option<Timestamp>,
}

/// What is read, and what of it is shown.
struct Reading<'a> {
    args: &'a Args,
    catalogue: Catalogue,
    within: Span,
    newest: Newest,
    is_broken: bool,
}

pub(crate) async fn run(args: &Args, environment: &Environment) -> anyhow::Result<u8> {
    let google = env::google(environment).map_err(Misplaced)?;
    let now = Timestamp::now();
    let within = args.within(now)?;
    let queue = args.queue_bucket.as_deref();
    let catalogue = Catalogue::connect(&args.ledger_bucket, queue, &google).await?;
    let newest = Newest::new(args.limit);
    let mut reading = Reading { args, catalogue, within, newest, is_broken: false };
    if args.all {
        reading.all().await?;
    } else {
        reading.listed(days(within, now)?).await?;
    }
    let Reading { newest, is_broken, .. } = reading;
    let text = if args.json {
        newest.iter().map(|it| json(&record(it, now)) + "\n").collect()
    } else {
        table(newest.iter(), now).render(Style::stdout(environment))
    };
    std::io::stdout().write_all(text.as_bytes()).context("writing to stdout")?;
    if newest.is_empty() {
        eprintln!("{}", args.nothing(within));
    } else if newest.has_more {
        eprintln!("the newest {} of them; --limit shows more, if there are more", args.limit);
    }
    Ok(if is_broken { exit::DATA } else { 0 })
}

impl Reading<'_> {
    /// Reads the runs of these days, newest first, and those that go on; as many as are wanted.
    async fn listed(&mut self, days: Vec<Date>) -> anyhow::Result<()> {
        let mut known = BTreeSet::new();
        for day in days {
            let end = day.tomorrow().and_then(|it| it.to_zoned(TimeZone::UTC));
            if self.newest.suffices(end.ok().map(|it| it.timestamp())) {
                self.newest.has_more = true;
                return Ok(());
            }
            let mut listed = self.catalogue.of_day(day, &self.args.which).await?;
            listed.retain(|it| known.insert(it.run.clone()));
            self.take(listed).await?;
        }
        if self.args.wants_unfinished() {
            let unfinished = self.catalogue.unfinished(&self.args.which).await?;
            let unfinished = unfinished.into_iter().map(|(it, _attempt)| it);
            self.take(unfinished.filter(|it| !known.contains(&it.run)).collect()).await?;
        }
        Ok(())
    }

    /// Reads the runs of the whole ledger, but for those whose newest fact is older than all that
    /// are shown.
    async fn all(&mut self) -> anyhow::Result<()> {
        let (args, catalogue) = (self.args, self.catalogue.clone());
        let Span { since, until } = self.within;
        let mut chunks = pin!(catalogue.all(&args.which, since, until).try_chunks(CHUNK));
        while let Some(mut chunk) = chunks.try_next().await.map_err(|it| it.1)? {
            chunk.sort_by_key(|it| std::cmp::Reverse(it.at));
            self.take(chunk).await?;
        }
        Ok(())
    }

    /// Reads runs, newest first, until no other can be among those that are shown.
    async fn take(&mut self, mut listed: Vec<Listed>) -> anyhow::Result<()> {
        let args = self.args;
        listed.retain(|it| is_named(&it.run, args.name.as_ref()));
        if listed.first().is_some_and(|it| self.newest.suffices(it.at)) {
            self.newest.has_more = true;
            return Ok(());
        }
        let mut reads = pin!(self.catalogue.read(listed));
        while let Some((listed, read)) = reads.try_next().await? {
            if self.newest.suffices(listed.at) {
                self.newest.has_more = true;
                break;
            }
            match read {
                Ok(history) => {
                    if let Some(at) = args.counts(&history, self.within) {
                        self.newest.add(at, history);
                    }
                }
                Err(unread) => {
                    eprintln!("{}", unread.message);
                    self.is_broken |= unread.is_broken;
                }
            }
        }
        Ok(())
    }
}

impl Args {
    /// The time that is asked for.
    fn within(&self, now: Timestamp) -> anyhow::Result<Span> {
        let utc = |day: Date| day.to_zoned(TimeZone::UTC).map(|it| it.timestamp());
        let today = now.to_zoned(TimeZone::UTC).date();
        let wrong = |error: jiff::Error| Usage(format!("there is no such day: {error}"));
        if let Some(day) = self.day {
            let next = day.checked_add(1.day()).map_err(wrong)?;
            let (since, until) = (utc(day).map_err(wrong)?, utc(next).map_err(wrong)?);
            return Ok(Span { since, until: Some(until) });
        }
        let since = match self.since {
            Some(since) => since,
            None if self.all => Timestamp::MIN,
            None => utc(today.checked_sub(1.day()).map_err(wrong)?).map_err(wrong)?,
        };
        Ok(Span { since, until: self.until })
    }

    /// Whether what goes on is asked for however old it is: no time is named, and no end.
    fn wants_unfinished(&self) -> bool {
        let no_time = self.since.is_none() && self.until.is_none() && self.day.is_none();
        let live = |it: &Standing| *it != Standing::Ended;
        let some_live = self.state.is_empty() || self.state.iter().any(live);
        no_time && !self.all && self.outcome.is_empty() && some_live
    }

    /// The time by which a run is ordered, if it is one of those that are asked for.
    fn counts(&self, history: &History, Span { since, until }: Span) -> Option<Timestamp> {
        let goes_on = self.wants_unfinished() && history.run.ending().is_none();
        let at = asked_within(history, since, until);
        at.or_else(|| goes_on.then_some(history.run.asked_at)).filter(|_| self.is(history))
    }

    /// That there is none, and where there might be.
    fn nothing(&self, Span { since, until }: Span) -> String {
        let none = "no run is one of these that was asked for";
        let until = until.map(|it| format!(" and before {it}")).unwrap_or_default();
        let more = "--since and --day look at other days, and --all at all of them";
        match (self.all, self.since) {
            (true, None) => format!("{none} at any time{until}"),
            (true, Some(since)) => format!("{none} since {since}{until}"),
            (false, _) if self.wants_unfinished() => {
                format!("{none} since {since}, and none that goes on: {more}")
            }
            (false, _) => format!("{none} since {since}{until}: {more}"),
        }
    }

    fn is(&self, history: &History) -> bool {
        let run = &history.run;
        let outcome = run.ending().map(|it| Ended::of(it.outcome));
        self.which.is(history)
            && self.git_ref.as_ref().is_none_or(|it| run.request.gitlab.git_ref == *it)
            && (self.state.is_empty() || self.state.contains(&Standing::of(&run.state)))
            && (self.outcome.is_empty() || outcome.is_some_and(|it| self.outcome.contains(&it)))
    }
}

impl Standing {
    const fn of(state: &State) -> Self {
        match state {
            State::Requested => Self::Requested,
            State::Stalled(_) => Self::Stalled,
            State::Verified => Self::Verified,
            State::Held(_) => Self::Held,
            State::Admitted | State::Intended => Self::Queued,
            State::Submitted => Self::Submitted,
            State::Running => Self::Running,
            State::Finished(_) => Self::Ended,
        }
    }
}

impl Ended {
    const fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed => Self::Failed,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::Expired => Self::Expired,
            Outcome::Rejected => Self::Rejected,
        }
    }
}

/// The days of that time, newest first.
fn days(within: Span, now: Timestamp) -> Result<Vec<Date>, Usage> {
    let date = |it: Timestamp| it.to_zoned(TimeZone::UTC).date();
    let nanosecond = SignedDuration::from_nanos(1);
    let last = within.until.and_then(|it| it.checked_sub(nanosecond).ok()).unwrap_or(now).min(now);
    let (first, last) = (date(within.since), date(last));
    let count = first.until(last).map_or(i32::MAX, |it| it.get_days().saturating_add(1));
    if count > DAYS_MAX {
        let all = "--all walks through the ledger instead";
        return Err(Usage(format!("that is more than {DAYS_MAX} days: {all}")));
    }
    let back = |it: i32| last.checked_sub(it.days()).ok();
    Ok((0..count).filter_map(back).collect())
}

fn table<'a>(found: impl Iterator<Item = &'a History>, now: Timestamp) -> Table {
    let headings = ["RUN", "PROJECT", "REF", "SHA", "STATE", "ATTEMPT", "AGE", "TOOK", "REASON"];
    let mut table = Table::new(&headings).right(5).right(6).right(7);
    for History { run, entries, .. } in found {
        let gitlab = &run.request.gitlab;
        let until = ended_at(run, entries).unwrap_or(now);
        let cell = |it: &str| Cell::from(it);
        table.row([
            cell(run.id.as_str()),
            cell(gitlab.project_path.as_str()),
            cell(gitlab.git_ref.as_str()),
            cell(&gitlab.sha.as_str()[..SHA_SHOWN]),
            Cell::coloured(colour(run), word(&run.state)),
            cell(&run.attempt.to_string()),
            cell(&span(now.duration_since(run.asked_at))),
            cell(&span(until.duration_since(run.asked_at))),
            cell(&because(run)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_days_of_a_time_are_told_newest_first() {
        let at = |it: &str| moment(it).unwrap();
        let now = at("2026-11-23T12:00:00Z");
        let cases = [
            ("2026-11-22", None, Some(vec!["2026-11-23", "2026-11-22"])),
            ("2026-11-23T11:00:00Z", None, Some(vec!["2026-11-23"])),
            ("2026-11-22", Some("2026-11-23"), Some(vec!["2026-11-22"])),
            ("2026-11-22", Some("2030-01-01"), Some(vec!["2026-11-23", "2026-11-22"])),
            ("2026-11-24", None, Some(vec![])),
            ("2020-01-01", None, None),
        ];
        for (since, until, expected) in cases {
            let within = Span { since: at(since), until: until.map(at) };
            let found = days(within, now).ok();
            let found = found.map(|it| it.iter().map(ToString::to_string).collect::<Vec<_>>());
            let expected: Option<Vec<String>> =
                expected.map(|it| it.into_iter().map(str::to_owned).collect());
            assert_eq!(found, expected, "{since}");
        }
        let all = Span { since: Timestamp::MIN, until: Some(Timestamp::MAX) };
        assert!(days(all, now).is_err());
    }
}
