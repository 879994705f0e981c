//! `dlq replay` and `dlq discard`: asks the leader, some letters at a time, and tells how far it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::io::Write as _;
use std::num::NonZeroU32;

use anyhow::Context as _;
use branchline_contract::{Ask, LetterId, Pick, Reason, Request};
use branchline_gcp::Config;
use branchline_ledger::{Archive, Filed};

use super::filter::Filter;
use super::{Bucket, select};
use crate::confirm::confirm;
use crate::count::Count;
use crate::env::Environment;
use crate::exit;
use crate::operate::{Asker, Common, Usage};
use crate::style::Style;
use crate::table::Table;

const AFTER_HELP: &str = "\
Environment:
  BRANCHLINE_DEAD_LETTER_BUCKET, BRANCHLINE_REQUEST_BUCKET, BRANCHLINE_LEDGER_BUCKET
                              the buckets, as in worker.yaml
  BRANCHLINE_OPERATOR_TOKEN   Google ID token of whoever asks, where operators are configured

Exit codes:
  0   all of them                         14  --timeout is over and the request stands
  64  wrong usage                         66  there is none of that id
  69  some of them were not, and why      75  try again
  77  not allowed                         78  wrong environment";

/// Which letters, and why.
#[derive(Debug, clap::Args)]
struct Chosen {
    /// Ids of dead letters; or else filters say which
    #[arg(value_name = "ID")]
    ids: Vec<LetterId>,
    #[command(flatten)]
    filter: Filter,
    /// All that nobody has dealt with
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// Only the oldest so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Why; stays on record
    #[arg(long, short, value_name = "TEXT", required_if_eq("yes", "true"))]
    message: Option<Reason>,
    /// Do it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    bucket: Bucket,
    #[command(flatten)]
    common: Common,
}

/// Publish dead letters again, to the topics that they came from
///
/// Without --yes it only tells how many would go where. The leader sends them; this command can be
/// interrupted, and asking again asks for what is left. A message keeps its data, attributes and
/// ordering key; every subscriber of the topic gets it. What was proven of its origin is still
/// believed, and a run that it has asked for already is not started again.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Replay {
    #[command(flatten)]
    chosen: Chosen,
    /// At most so many a second
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// Also what was replayed three times and came back
    #[arg(long)]
    force: bool,
    /// Also those that were replayed or discarded before
    #[arg(long)]
    again: bool,
}

/// Decide that nothing is to become of dead letters
///
/// They stay in the archive for as long as it keeps anything, and can be replayed with --again.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Discard {
    #[command(flatten)]
    chosen: Chosen,
}

pub(super) async fn replay(
    args: &Replay,
    google: &Config,
    environment: &Environment,
) -> anyhow::Result<u8> {
    let archive = args.chosen.bucket.connect(google).await?;
    let letters = match choose(&archive, &args.chosen, args.again).await? {
        Ok(letters) => letters,
        Err(code) => return Ok(code),
    };
    if !args.chosen.yes {
        let text = plan(&letters).render(Style::stdout(environment));
        std::io::stdout().write_all(text.as_bytes()).context("writing to stdout")?;
        eprintln!("dry run: nothing was sent; --yes sends {}", letters.len());
        return Ok(0);
    }
    let ask = |letters| Ask::Replay { letters, per_second: args.rate, force: args.force };
    let portions = args.rate.map_or(Portions::FAST, Portions::paced);
    carry_out(&args.chosen, &letters, portions, ask, google, environment).await
}

pub(super) async fn discard(
    args: &Discard,
    google: &Config,
    environment: &Environment,
) -> anyhow::Result<u8> {
    let archive = args.chosen.bucket.connect(google).await?;
    let letters = match choose(&archive, &args.chosen, false).await? {
        Ok(letters) => letters,
        Err(code) => return Ok(code),
    };
    if args.chosen.message.is_none() {
        return Err(Usage("why? --message says it, and stays on record".to_owned()).into());
    }
    confirm(&format!("Discard {} dead letters?", letters.len()), args.chosen.yes)?;
    let ask = |letters| Ask::Discard { letters };
    carry_out(&args.chosen, &letters, Portions::FAST, ask, google, environment).await
}

/// The letters that are meant, oldest first; or how the command ends where there are none.
async fn choose(
    archive: &Archive,
    chosen: &Chosen,
    again: bool,
) -> anyhow::Result<Result<Vec<Filed>, u8>> {
    if chosen.ids.is_empty() && chosen.filter.is_empty() && !chosen.all {
        let what = "which dead letters? Name their ids, filter them, or say --all";
        return Err(Usage(what.to_owned()).into());
    }
    let mut ids: BTreeSet<_> = chosen.ids.iter().cloned().collect();
    let mut letters = select(archive, &ids, &chosen.filter, again).await?;
    for it in &letters {
        ids.remove(&it.id);
    }
    if let Some(id) = ids.first() {
        eprintln!(
            "error: there is no dead letter {id} that nobody has dealt with and the filters leave"
        );
        return Ok(Err(exit::NO_INPUT));
    }
    letters.truncate(chosen.limit.unwrap_or(usize::MAX));
    if letters.is_empty() {
        eprintln!("no dead letters");
        return Ok(Err(0));
    }
    Ok(Ok(letters))
}

/// How many go where.
fn plan(letters: &[Filed]) -> Table {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for it in letters {
        *counts.entry((&it.reason, &it.topic)).or_default() += 1;
    }
    let mut table = Table::new(&["COUNT", "REASON", "DESTINATION"]).right(0);
    for ((reason, topic), count) in counts {
        table.row([&count.to_string(), reason, topic]);
    }
    table
}

/// How much is asked for at a time: what is asked for is done, whatever becomes of the command.
#[derive(Clone, Copy)]
struct Portions {
    /// Letters of one request.
    letters: usize,
    /// Requests that are not answered yet.
    requests: usize,
}

impl Portions {
    /// The leader looks for requests about once a second, and is not to wait for more.
    const FAST: Self = Self { letters: Request::LETTERS_MAX, requests: 16 };

    /// Enough for some seconds.
    fn paced(per_second: NonZeroU32) -> Self {
        let rate = usize::try_from(per_second.get()).unwrap_or(usize::MAX);
        let letters = rate.clamp(50, Request::LETTERS_MAX);
        let requests = rate.saturating_mul(4).div_ceil(letters);
        Self { letters, requests: requests.clamp(2, Self::FAST.requests) }
    }
}

async fn carry_out(
    chosen: &Chosen,
    letters: &[Filed],
    portions: Portions,
    ask: impl Fn(Vec<Pick>) -> Ask,
    google: &Config,
    environment: &Environment,
) -> anyhow::Result<u8> {
    let asker = Asker::connect(&chosen.common, google, environment).await?;
    let message = chosen.message.as_ref().context("why is said")?;
    let mut portioned = letters.chunks(portions.letters);
    if chosen.common.no_wait {
        for letters in portioned {
            asker.ask(ask(letters.iter().map(Filed::pick).collect()), message).await?;
        }
        eprintln!("asked for {} dead letters", letters.len());
        return Ok(0);
    }
    let count = Count::new("dead letters", letters.len() as u64);
    let mut became: BTreeMap<String, u64> = BTreeMap::new();
    let (mut refused, mut written) = (Vec::new(), VecDeque::new());
    loop {
        while written.len() < portions.requests
            && let Some(letters) = portioned.next()
        {
            let picks = letters.iter().map(Filed::pick).collect();
            written.push_back((letters.len(), asker.ask(ask(picks), message).await?));
        }
        let Some((number, name)) = written.pop_front() else { break };
        let Some(answer) = asker.answer(&name).await? else {
            count.finish();
            return Ok(asker.waited_too_long(&name));
        };
        if answer.counts.is_empty() {
            refused.push(answer.message);
        }
        for (what, number) in answer.counts {
            *became.entry(what).or_default() += number;
        }
        count.advance(number as u64);
    }
    count.finish();
    tell(&became, &refused, letters.len() as u64)
}

/// What became of them; an error where it was not for all what was asked.
fn tell(became: &BTreeMap<String, u64>, refused: &[String], asked: u64) -> anyhow::Result<u8> {
    let mut text = String::new();
    for (what, count) in became {
        writeln!(text, "{count} {what}").expect("a string takes everything");
    }
    std::io::stdout().write_all(text.as_bytes()).context("writing to stdout")?;
    for message in refused {
        eprintln!("error: {}", crate::terminal::plain(message));
    }
    let fine = ["replayed", "replayed by an earlier request", "discarded"];
    let done = fine.iter().filter_map(|it| became.get(*it)).sum::<u64>();
    Ok(if done == asked { 0 } else { exit::UNAVAILABLE })
}
