//! `dlq list`: how many there are of each reason, and which.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use anyhow::Context as _;
use branchline_gcp::Config;
use branchline_ledger::Filed;
use jiff::Timestamp;

use super::filter::Filter;
use super::{AFTER_HELP, Bucket, select};
use crate::env::Environment;
use crate::runs::span;
use crate::style::{Colour, Style};
use crate::table::{Cell, Table};
use crate::terminal;

/// List dead letters, and how many there are of each reason
///
/// Those that were replayed or discarded are left out, unless --all is given. Looking consumes
/// nothing. `replays` counts how often a message was replayed and came back.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// Also those that were replayed or discarded
    #[arg(long)]
    all: bool,
    /// Only the newest so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Only how many there are of each reason
    #[arg(long, conflicts_with = "json")]
    counts: bool,
    /// Print a line of JSON each
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    bucket: Bucket,
}

pub(super) async fn run(
    args: &Args,
    google: &Config,
    environment: &Environment,
) -> anyhow::Result<u8> {
    let archive = args.bucket.connect(google).await?;
    let mut letters = select(&archive, &BTreeSet::new(), &args.filter, args.all).await?;
    if letters.is_empty() && !args.json {
        eprintln!("no dead letters");
        return Ok(0);
    }
    let counts = counts(&letters);
    letters.reverse();
    letters.truncate(args.limit.unwrap_or(usize::MAX));
    let text = if args.json {
        letters.iter().map(json).collect()
    } else {
        let style = Style::stdout(environment);
        let mut text = counts.render(style);
        if !letters.is_empty() && !args.counts {
            text.push('\n');
            text.push_str(&table(&letters, Timestamp::now()).render(style));
        }
        text
    };
    std::io::stdout().write_all(text.as_bytes()).context("writing to stdout")?;
    Ok(0)
}

/// The most frequent first.
fn counts(letters: &[Filed]) -> Table {
    let mut counts: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    for it in letters {
        let count = counts.entry((&it.reason, &it.role)).or_default();
        count.0 += 1;
        count.1 += u64::from(it.is_unresolved());
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    let mut table = Table::new(&["COUNT", "UNRESOLVED", "REASON", "ROLE"]).right(0).right(1);
    for ((reason, role), (count, unresolved)) in counts {
        table.row([&count.to_string(), &unresolved.to_string(), reason, role]);
    }
    table
}

fn table(letters: &[Filed], now: Timestamp) -> Table {
    let mut table = Table::new(&["ID", "AGE", "STATE", "REASON", "REPLAYS", "ABOUT", "DETAIL"]);
    table = table.right(1).right(4);
    for it in letters {
        let state = match it.state() {
            state @ "open" => Cell::coloured(Colour::Yellow, state),
            state => Cell::from(state),
        };
        let age = it.first_published.map(|time| span(now.duration_since(time)));
        table.row([
            Cell::from(it.id.as_str()),
            Cell::from(age.unwrap_or_default()),
            state,
            Cell::from(&it.reason),
            Cell::from(it.replays.to_string()),
            Cell::from(about(it)),
            Cell::from(&it.detail),
        ]);
    }
    table
}

/// The run, or what is known of it.
pub(super) fn about(it: &Filed) -> String {
    match (&it.run, &it.project, &it.sha) {
        (Some(run), _, _) => run.to_string(),
        (None, Some(project), Some(sha)) => format!("{project}@{}", sha.get(..8).unwrap_or(sha)),
        (None, Some(project), None) => project.clone(),
        (None, None, _) => "-".to_owned(),
    }
}

fn json(it: &Filed) -> String {
    let mut value = serde_json::to_value(it).expect("it is plain data");
    value["state"] = it.state().into();
    value["unresolved"] = it.is_unresolved().into();
    terminal::json(&value) + "\n"
}
