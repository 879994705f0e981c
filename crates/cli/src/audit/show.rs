//! `audit show`: the facts of a run as a timeline.

use std::io::Write as _;

use anyhow::Context as _;
use branchline_contract::RunId;
use branchline_gcp::Config;
use branchline_ledger::{Body, Stored, verify};

use super::detail::detail;
use super::row::Row;
use super::{AFTER_HELP, Ledger, absent, find};
use crate::exit;
use crate::style::Style;
use crate::table::Table;
use crate::terminal::plain;

/// Show who asked for a run, what was checked and decided, its job and its outcome
///
/// What does not fit the chain of hashes is told on stderr.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The run's id
    run: RunId,
    /// GitLab project of the run; otherwise it is looked for in the ledger
    #[arg(long, value_name = "ID")]
    project_id: Option<u64>,
    /// Print the facts as lines of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    ledger: Ledger,
}

pub(super) async fn run(args: &Args, google: &Config, style: Style) -> anyhow::Result<u8> {
    let trail = args.ledger.connect(google).await?;
    let facts = find(&trail, &args.run, args.project_id).await?;
    if facts.is_empty() {
        return Ok(absent(&format!("there is no run {} in the ledger", args.run)));
    }
    tell(facts, args.json, style)
}

/// Prints the facts of a run, and what is wrong with them.
pub(super) fn tell(facts: Vec<Stored>, json: bool, style: Style) -> anyhow::Result<u8> {
    let rows: Vec<Row<'_>> = facts.iter().filter_map(|it| Row::read(it).ok()).collect();
    let text = if json {
        rows.iter().map(|it| it.json() + "\n").collect()
    } else {
        heading(&rows) + &timeline(&rows, style)
    };
    std::io::stdout().write_all(text.as_bytes()).context("writing to stdout")?;
    drop(rows);
    let facts: Vec<_> = facts.into_iter().map(|it| (it.object, it.bytes)).collect();
    let problems = verify(&facts, None);
    for problem in &problems {
        eprintln!("error: {}", plain(&problem.to_string()));
    }
    Ok(if problems.is_empty() { 0 } else { exit::DATA })
}

/// What is asked for, from the newest request.
fn heading(rows: &[Row<'_>]) -> String {
    let requests = rows.iter().rev().filter_map(|it| match &it.fact.body {
        Body::Requested { request, .. } | Body::Retried { request: Some(request), .. } => {
            Some(request)
        }
        _ => None,
    });
    let Some(request) = requests.into_iter().next() else { return String::new() };
    let gitlab = &request.gitlab;
    format!(
        "{} ({}, project {}), {} at {}, for {}\n\n",
        gitlab.project_path,
        gitlab.host,
        gitlab.project_id,
        gitlab.git_ref,
        gitlab.sha,
        request.vertex
    )
}

fn timeline(rows: &[Row<'_>], style: Style) -> String {
    let mut table = Table::new(&["", "TIME (UTC)", "WHO", "WHAT", "DETAILS"]).right(0);
    for Row { fact, .. } in rows {
        let details = match detail(&fact.body) {
            details if details.is_empty() => format!("({})", fact.cause),
            details => format!("{details} ({})", fact.cause),
        };
        table.row([
            fact.sequence.to_string(),
            fact.time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            fact.actor.clone(),
            fact.body.kind().to_owned(),
            details,
        ]);
    }
    table.render(style)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn stored(sequence: u32, kind: &str, body: &serde_json::Value) -> Stored {
        let fact = json!({
            "sequence": sequence, "previous": null, "nonce": "0", "actor": "an\u{1b}[2Jna",
            "time": "2026-11-23T12:00:00Z", "cause": "c1", "attempt": 1, "kind": kind, "body": body,
        });
        let object = format!("runs/7/iris-0123456789abcdef0123/{sequence:06}.json");
        Stored { object, created: None, bytes: fact.to_string().into() }
    }

    #[test]
    fn a_timeline_is_a_table_without_control_characters() {
        let facts = [
            stored(9, "admitted", &json!({})),
            stored(10, "cancel-requested", &json!({"reason": "wrong\ndata"})),
        ];
        let rows: Vec<_> = facts.iter().map(|it| Row::read(it).unwrap()).collect();
        expect![[r"
                TIME (UTC)           WHO       WHAT              DETAILS
             9  2026-11-23 12:00:00  an [2Jna  admitted          (c1)
            10  2026-11-23 12:00:00  an [2Jna  cancel-requested  wrong data (c1)
        "]]
        .assert_eq(&timeline(&rows, Style::PLAIN));
    }
}
