//! `dlq export` and `import`: dead letters as lines of JSON, with everything that they are.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use branchline_gcp::{Class, Config};
use branchline_ledger::{Act, Acted, LETTER_BYTES_MAX, Letter};
use branchline_service::telemetry::chain;
use futures::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};

use super::filter::Filter;
use super::show::Known;
use super::{AFTER_HELP, Bucket, READS_AT_ONCE, select};
use crate::exit;
use crate::terminal;

/// A letter with its edits, in base64 twice as it were.
const LINE_MAX: u64 = 8 * LETTER_BYTES_MAX;

/// Write dead letters to stdout, a line of JSON each
///
/// A line has all that the archive has of a letter: body (in base64), attributes, ordering key,
/// reason, what its token proved, and what happened to it.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Export {
    #[command(flatten)]
    filter: Filter,
    /// Leave out those that were replayed or discarded
    #[arg(long)]
    unresolved: bool,
    #[command(flatten)]
    bucket: Bucket,
}

/// Put exported dead letters into an archive
///
/// Letters that are there already stay as they are. This writes to the bucket itself, which only
/// the workers may by default: what is imported is believed as theirs.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Import {
    /// The lines; - for stdin
    #[arg(default_value = "-")]
    file: PathBuf,
    #[command(flatten)]
    bucket: Bucket,
}

/// One line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    letter: Letter,
    /// What happened to it, by position.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    acts: BTreeMap<u32, Act>,
}

pub(super) async fn export(args: &Export, google: &Config) -> anyhow::Result<u8> {
    let archive = args.bucket.connect(google).await?;
    let letters = select(&archive, &BTreeSet::new(), &args.filter, !args.unresolved).await?;
    let lines = stream::iter(letters.into_iter().map(|it| Known::of(&archive, it)));
    let mut lines = lines.buffered(READS_AT_ONCE);
    let mut stdout = std::io::stdout().lock();
    let mut left_out = 0_u64;
    while let Some(known) = lines.next().await {
        let known = match known {
            Err(error) if is_too_large(&error) => {
                eprintln!("error: {}", chain(error.as_ref()));
                left_out += 1;
                continue;
            }
            known => known?,
        };
        let Some(Known { letter, acts, .. }) = known else { continue };
        let line = Line { letter, acts };
        writeln!(stdout, "{}", terminal::json(&line)).context("writing to stdout")?;
    }
    Ok(if left_out == 0 { 0 } else { exit::DATA })
}

fn is_too_large(error: &anyhow::Error) -> bool {
    let google = error.downcast_ref::<branchline_gcp::Error>();
    google.is_some_and(|it| it.class() == Class::Refused)
}

pub(super) async fn import(args: &Import, google: &Config) -> anyhow::Result<u8> {
    let archive = args.bucket.connect(google).await?;
    let reader: Box<dyn std::io::Read> = if args.file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        let opened = std::fs::File::open(&args.file);
        Box::new(opened.with_context(|| format!("opening {}", args.file.display()))?)
    };
    let (mut reader, mut number) = (BufReader::new(reader), 0_u64);
    loop {
        let mut line = String::new();
        let read = reader.by_ref().take(LINE_MAX).read_line(&mut line).context("reading a line")?;
        if read == 0 {
            break;
        }
        number += 1;
        if line.trim().is_empty() {
            continue;
        }
        let Line { letter, acts } = match serde_json::from_str(&line) {
            Ok(line) => line,
            Err(error) => {
                eprintln!("error: line {number} is no dead letter: {error}");
                return Ok(exit::DATA);
            }
        };
        if letter.sha256 != branchline_contract::Sha256::of(&letter.data.0) {
            eprintln!("error: line {number}: the body of {} is not what its hash says", letter.id);
            return Ok(exit::DATA);
        }
        archive.file(&letter).await?;
        for (position, act) in acts {
            if let Acted::Taken(_) = archive.act(&letter.id, position, &act).await? {
                bail!("line {number}: something else happened to {} here", letter.id);
            }
        }
    }
    eprintln!("{number} lines imported");
    Ok(0)
}
