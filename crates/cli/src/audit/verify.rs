//! `audit verify`: reads the ledger again and looks for what was tampered with.

use std::io::Write as _;
use std::pin::pin;

use anyhow::Context as _;
use branchline_contract::{LedgerHead, RunId, Sha256};
use branchline_gcp::Config;
use branchline_ledger::{FactName, Problem, Stored, Trail, verify};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::moment::{is_within, moment};
use super::{AFTER_HELP, Ledger, absent, find};
use crate::exit;
use crate::terminal::plain;

/// Look for facts that were changed, moved, removed or added
///
/// Positions have no gap, each fact holds the SHA-256 of the one before, and each belongs to its
/// run. What is wrong is told object by object.
///
/// Each fact is covered by the one behind it. Nothing in the ledger covers the last fact of a run,
/// nor that it is the last one: give --head for that, from the event run.completed (`ledger`) or
/// the note on the merge request. That a whole run is gone is seen only by asking for that run.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// One run; otherwise the whole ledger
    run: Option<RunId>,
    /// Only runs with a fact from then on: a time such as 2026-11-23T12:00:00Z, or a date in UTC
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "run")]
    since: Option<Timestamp>,
    /// Position and SHA-256 of a fact of the run, noted outside of the ledger
    #[arg(long, value_name = "SEQUENCE:HASH", requires = "run")]
    head: Option<LedgerHead>,
    /// GitLab project of the run; otherwise it is looked for in the ledger
    #[arg(long, value_name = "ID", requires = "run")]
    project_id: Option<u64>,
    #[command(flatten)]
    ledger: Ledger,
}

/// What was looked at, and found.
#[derive(Default)]
struct Report {
    runs: usize,
    facts: usize,
    problems: usize,
}

pub(super) async fn run(args: &Args, google: &Config) -> anyhow::Result<u8> {
    let trail = args.ledger.connect(google).await?;
    let mut report = Report::default();
    if let Some(run) = &args.run {
        let facts = find(&trail, run, args.project_id).await?;
        if facts.is_empty() {
            return Ok(absent(&format!("there is no run {run} in the ledger")));
        }
        let last = head_of(&facts);
        report.judge(facts, args.head)?;
        report.conclude()?;
        covered(last, args.head)?;
    } else {
        every(&trail, args.since, &mut report).await?;
        report.conclude()?;
        let note = "The last fact of each run is covered by nothing in the ledger; \
                    --head covers that of one run";
        writeln!(std::io::stdout(), "{note}").context("writing to stdout")?;
    }
    Ok(if report.problems == 0 { 0 } else { exit::DATA })
}

/// Judges every run of the ledger, one after the other.
async fn every(trail: &Trail, since: Option<Timestamp>, report: &mut Report) -> anyhow::Result<()> {
    let since = since.unwrap_or(Timestamp::MIN);
    let mut runs = pin!(trail.runs());
    while let Some(run) = runs.try_next().await? {
        if run.iter().any(|it| is_within(it, since, None)) {
            let facts = trail.read(stream::iter(run).map(Ok)).try_collect().await?;
            report.judge(facts, None)?;
        }
    }
    Ok(())
}

/// The last fact, as its run's head would be noted.
fn head_of(facts: &[Stored]) -> Option<LedgerHead> {
    let last = facts.iter().filter_map(|it| Some((FactName::parse(&it.object)?.position, it)));
    let (sequence, stored) = last.max_by_key(|(position, _)| *position)?;
    Some(LedgerHead { sequence, sha256: Sha256::of(&stored.bytes) })
}

/// Tells up to where the facts are covered, and the head, for whoever wants to note it.
fn covered(last: Option<LedgerHead>, head: Option<LedgerHead>) -> anyhow::Result<()> {
    let Some(last) = last else { return Ok(()) };
    let uncovered = match head {
        Some(head) if head.sequence >= last.sequence => "",
        Some(_) => "; nothing covers the last fact, as the head that was given is an earlier one",
        None => "; nothing covers the last fact: compare, or give --head",
    };
    let mut out = std::io::stdout();
    writeln!(out, "head {last}{uncovered}").context("writing to stdout")
}

impl Report {
    fn judge(&mut self, facts: Vec<Stored>, head: Option<LedgerHead>) -> anyhow::Result<()> {
        let facts: Vec<_> = facts.into_iter().map(|it| (it.object, it.bytes)).collect();
        let problems: Vec<Problem> = verify(&facts, head);
        self.runs += 1;
        self.facts += facts.len();
        self.problems += problems.len();
        let mut out = std::io::stdout();
        for problem in problems {
            writeln!(out, "{}", plain(&problem.to_string())).context("writing to stdout")?;
        }
        Ok(())
    }

    fn conclude(&self) -> anyhow::Result<()> {
        let Self { runs, facts, problems } = self;
        let mut out = std::io::stdout();
        writeln!(out, "runs: {runs}, facts: {facts}, problems: {problems}")
            .context("writing to stdout")
    }
}
