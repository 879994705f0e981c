//! `audit export`: every fact as a line, while it is read.

use std::future::ready;
use std::io::{BufWriter, Write as _};
use std::pin::pin;

use anyhow::Context as _;
use branchline_gcp::Config;
use clap::ValueEnum;
use futures::TryStreamExt as _;
use jiff::Timestamp;

use super::moment::{is_within, moment};
use super::row::{HEADINGS, Row};
use super::{AFTER_HELP, Ledger};
use crate::exit;
use crate::terminal::plain;

/// Write every fact of a time as one line: run by run, and oldest first in each
///
/// What counts is when Cloud Storage took a fact in. Lines are written while the ledger is read.
/// The CSV opens in a spreadsheet: text that begins like a formula gets a quote. An object that is
/// not a fact is told on stderr.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// From then on: a time such as 2026-11-23T12:00:00Z, or a date in UTC
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Timestamp,
    /// Up to then; otherwise all
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Form of a line
    #[arg(long, value_name = "FORM", default_value = "jsonl")]
    format: Format,
    #[command(flatten)]
    ledger: Ledger,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// One JSON object
    Jsonl,
    /// Flat columns, with a line of headings
    Csv,
}

pub(super) async fn run(args: &Args, google: &Config) -> anyhow::Result<u8> {
    let trail = args.ledger.connect(google).await?;
    let mut out = BufWriter::new(std::io::stdout());
    if matches!(args.format, Format::Csv) {
        out.write_all(HEADINGS.as_bytes()).context("writing to stdout")?;
    }
    let within = trail.objects().try_filter(|it| ready(is_within(it, args.since, args.until)));
    let mut facts = pin!(trail.read(within));
    let mut code = 0;
    while let Some(stored) = facts.try_next().await? {
        match Row::read(&stored) {
            Ok(row) => match args.format {
                Format::Jsonl => writeln!(out, "{}", row.json()),
                Format::Csv => out.write_all(row.csv().as_bytes()),
            }
            .context("writing to stdout")?,
            Err(problem) => {
                eprintln!("error: {}", plain(&problem));
                code = exit::DATA;
            }
        }
    }
    out.flush().context("writing to stdout")?;
    Ok(code)
}
