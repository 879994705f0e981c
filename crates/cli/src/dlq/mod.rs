//! `branchline dlq`: what became a dead letter, why, and what to do about it. Looking reads the
//! archive and consumes nothing; what is done is asked of the leader.

mod edit;
mod filter;
mod list;
mod outlook;
mod replay;
mod show;
mod transfer;

use std::collections::BTreeSet;
use std::sync::Arc;

use branchline_contract::LetterId;
use branchline_gcp::storage::Storage;
use branchline_gcp::{Class, Config};
use branchline_ledger::{Archive, Filed, LETTER_BYTES_MAX, Letter};
use clap::Subcommand;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::env::{self, Environment};
use crate::operate::Misplaced;
pub(crate) use edit::Unusable;
use filter::Filter;

/// Letters that are read at once.
const READS_AT_ONCE: usize = 32;

const AFTER_HELP: &str = "\
Environment:
  BRANCHLINE_DEAD_LETTER_BUCKET   bucket of the archive, dead_letter_bucket in worker.yaml
  BRANCHLINE_CREDENTIALS          application_default (the default) or anonymous
  BRANCHLINE_STORAGE_ENDPOINT     instead of Google's own

Exit codes:
  0   done         64  wrong usage       66  there is none of that id, or no such bucket
  75  try again    77  not allowed       78  wrong environment";

/// Look at dead letters, and replay, edit or discard them
#[derive(Debug, clap::Args)]
pub(crate) struct Dlq {
    #[command(subcommand)]
    command: DlqCommand,
}

#[derive(Debug, Subcommand)]
enum DlqCommand {
    List(list::Args),
    Show(show::Args),
    Replay(replay::Replay),
    Edit(edit::Args),
    Discard(replay::Discard),
    Export(transfer::Export),
    Import(transfer::Import),
}

/// Where the archive is.
#[derive(Clone, Debug, clap::Args)]
struct Bucket {
    /// Bucket of the archive, `dead_letter_bucket` in worker.yaml
    #[arg(long, value_name = "BUCKET", env = "BRANCHLINE_DEAD_LETTER_BUCKET")]
    dead_letter_bucket: String,
}

/// Works on dead letters.
pub(crate) async fn run(args: &Dlq, environment: &Environment) -> anyhow::Result<u8> {
    let google = env::google(environment).map_err(Misplaced)?;
    match &args.command {
        DlqCommand::List(args) => list::run(args, &google, environment).await,
        DlqCommand::Show(args) => show::run(args, &google).await,
        DlqCommand::Replay(args) => replay::replay(args, &google, environment).await,
        DlqCommand::Edit(args) => edit::run(args, &google, environment).await,
        DlqCommand::Discard(args) => replay::discard(args, &google, environment).await,
        DlqCommand::Export(args) => transfer::export(args, &google).await,
        DlqCommand::Import(args) => transfer::import(args, &google).await,
    }
}

impl Bucket {
    async fn connect(&self, google: &Config) -> anyhow::Result<Archive> {
        let storage = Arc::new(Storage::connect(google).await?);
        Ok(Archive::new(storage, self.dead_letter_bucket.clone()))
    }
}

/// The letters that a filter means, of those ids if there are any, oldest first; those that somebody has
/// dealt with only if wanted.
async fn select(
    archive: &Archive,
    ids: &BTreeSet<LetterId>,
    filter: &Filter,
    all: bool,
) -> anyhow::Result<Vec<Filed>> {
    let mut meant = Vec::new();
    let each = |it: Filed| {
        if (all || it.is_unresolved()) && filter.matches(&it) {
            meant.push(it);
        }
    };
    if ids.is_empty() {
        // A letter comes into the archive behind its message's first time, so none is passed over.
        archive.each(filter.since, each).await?;
    } else {
        // Few are named, however many there are.
        let found = stream::iter(ids).map(|id| archive.find(id)).buffered(READS_AT_ONCE);
        let found: Vec<_> = found.try_collect().await?;
        found.into_iter().flatten().for_each(each);
    }
    let Some(text) = &filter.text else { return Ok(meant) };
    let text = text.to_lowercase();
    let read = stream::iter(meant.into_iter().map(|it| async {
        let letter = match archive.letter(&it.id, LETTER_BYTES_MAX).await {
            Err(error) if error.class() == Class::Refused => {
                eprintln!("note: {} is too large to be looked into", it.id);
                None
            }
            letter => letter?,
        };
        Ok::<_, anyhow::Error>(letter.is_some_and(|letter| says(&letter, &text)).then_some(it))
    }));
    read.buffered(READS_AT_ONCE).try_filter_map(async |it| Ok(it)).try_collect().await
}

fn says(letter: &Letter, text: &str) -> bool {
    let body = String::from_utf8_lossy(&letter.data.0).to_lowercase();
    let mut attributes = letter.attributes.iter();
    body.contains(text)
        || letter.detail.to_lowercase().contains(text)
        || attributes.any(|(name, value)| {
            name.to_lowercase().contains(text) || value.to_lowercase().contains(text)
        })
}

/// Tells that there is nothing of that id, and ends so.
fn absent(id: &LetterId) -> u8 {
    eprintln!("error: there is no dead letter {id} in the archive");
    crate::exit::NO_INPUT
}
