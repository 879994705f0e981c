//! `runs list`: the runs of some days, newest first.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::num::NonZeroUsize;

use anyhow::Context as _;
use branchline_contract::{Outcome, RefName, RunId, RunName};
use branchline_ledger::{History, State};
use clap::ValueEnum;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::find::{Catalogue, Unread, Which, is_asked_within, is_named};
use super::record::record;
use super::timeline::ended_at;
use super::{AFTER_HELP, because, colour, span, word};
use crate::audit::moment;
use crate::env::{self, Environment};
use crate::exit;
use crate::operate::{Misplaced, Usage};
use crate::style::Style;
use crate::table::{Cell, Table};

/// More days than this are faster found in the ledger itself.
const DAYS_MAX: i32 = 366;
const SHA_SHOWN: usize = 8;

/// List runs, newest first: those of today and yesterday, or of another time
///
/// The runs of a day, in UTC, are found in a listing in the queue's bucket, and each is read from
/// the ledger. What counts is when an attempt was asked for.
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

pub(crate) async fn run(args: &Args, environment: &Environment) -> anyhow::Result<u8> {
    let google = env::google(environment).map_err(Misplaced)?;
    let now = Timestamp::now();
    let within = args.within(now)?;
    let queue = args.queue_bucket.as_deref();
    let catalogue = Catalogue::connect(&args.ledger_bucket, queue, &google).await?;
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    if args.all {
        let runs = catalogue.all(&args.which, within.since, within.until).await?;
        args.take(&catalogue, runs, within, (&mut found, &mut unread)).await?;
    } else {
        let mut known = BTreeSet::new();
        for day in days(within, now)? {
            let runs = catalogue.of_day(day, &args.which, &known).await?;
            known.extend(runs.iter().map(|(run, _)| run.clone()));
            args.take(&catalogue, runs, within, (&mut found, &mut unread)).await?;
            if found.len() >= args.limit.get() {
                break;
            }
        }
    }
    found.sort_by_key(|it: &History| std::cmp::Reverse(it.run.asked_at));
    let more = found.len().saturating_sub(args.limit.get());
    found.truncate(args.limit.get());
    let text = if args.json {
        found.iter().map(|it| record(it, now).to_string() + "\n").collect()
    } else {
        table(&found, now).render(Style::stdout(environment))
    };
    std::io::stdout().write_all(text.as_bytes()).context("writing to stdout")?;
    if found.is_empty() {
        eprintln!("no run was asked for in that time that is one of these");
    } else if more > 0 {
        eprintln!("and {more} more, if not others: --limit shows more of them");
    }
    let broken = unread.iter().any(|it| matches!(it, Unread::Broken));
    Ok(if broken { exit::DATA } else { 0 })
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

    /// Reads runs, and keeps those that are asked for.
    async fn take(
        &self,
        catalogue: &Catalogue,
        mut runs: Vec<(RunId, u64)>,
        within: Span,
        (found, unread): (&mut Vec<History>, &mut Vec<Unread>),
    ) -> anyhow::Result<()> {
        runs.retain(|(run, _)| is_named(run, self.name.as_ref()));
        let (read, problems) = catalogue.read(runs).await?;
        let asked = |it: &History| is_asked_within(it, within.since, within.until);
        found.extend(read.into_iter().filter(|it| asked(it) && self.is(it)));
        unread.extend(problems);
        Ok(())
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

fn table(found: &[History], now: Timestamp) -> Table {
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
