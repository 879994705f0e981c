//! `runs show`: who asked for a run and for what, how long it took for what, and what would help.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Context as _;
use branchline_contract::{Artifact, Outcome, RunId};
use branchline_ledger::{History, Run, State};
use jiff::{SignedDuration, Timestamp};

use super::find::Catalogue;
use super::record::whole;
use super::timeline::stretches;
use super::{AFTER_HELP, because, colour, span, word};
use crate::audit::detail;
use crate::env::{self, Environment};
use crate::exit;
use crate::operate::Misplaced;
use crate::style::Style;
use crate::table::Table;
use crate::terminal::{json, plain};

/// Show one run: its request, its job, its outcome, and its facts with the time between them
///
/// Times are those that the facts' writers have stated. Its place in line is on its commit.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The run's id
    run: RunId,
    /// GitLab project of the run; otherwise it is looked for in the ledger
    #[arg(long, value_name = "ID")]
    project_id: Option<u64>,
    /// Print all of it as one line of JSON
    #[arg(long)]
    json: bool,
    /// Bucket of the run ledger, `ledger_bucket` in worker.yaml
    #[arg(long, value_name = "BUCKET", env = "BRANCHLINE_LEDGER_BUCKET")]
    ledger_bucket: String,
}

pub(crate) async fn run(args: &Args, environment: &Environment) -> anyhow::Result<u8> {
    let google = env::google(environment).map_err(Misplaced)?;
    let catalogue = Catalogue::connect(&args.ledger_bucket, None, &google).await?;
    let Some(history) = catalogue.run(&args.run, args.project_id).await? else {
        eprintln!("error: there is no run {} in the ledger", args.run);
        return Ok(exit::NO_INPUT);
    };
    let now = Timestamp::now();
    let text = if args.json {
        json(&whole(&history, now)) + "\n"
    } else {
        told(&history, now, Style::stdout(environment))
    };
    std::io::stdout().write_all(text.as_bytes()).context("writing to stdout")?;
    Ok(0)
}

fn told(history: &History, now: Timestamp, style: Style) -> String {
    let run = &history.run;
    let mut text = String::new();
    for (name, value) in lines(run) {
        let value = plain(&value);
        let value = if name == "State" { style.paint(colour(run), &value) } else { value };
        writeln!(text, "{name:<9} {value}").expect("a string takes everything");
    }
    for (attempt, stages) in by_attempt(history, now) {
        writeln!(text, "{:<9} {stages}", format!("Took {attempt}"))
            .expect("a string takes everything");
    }
    if let Some(help) = help(run) {
        writeln!(text, "{:<9} {}", "Next", plain(&help)).expect("a string takes everything");
    }
    text + "\n" + &facts(history).render(style)
}

/// What is known, by name.
fn lines(run: &Run) -> Vec<(&'static str, String)> {
    let (request, gitlab) = (&run.request, &run.request.gitlab);
    let web = format!("https://{}/{}/-", gitlab.host, gitlab.project_path);
    let state = match because(run) {
        reason if reason.is_empty() => word(&run.state).to_owned(),
        reason => format!("{}: {reason}", word(&run.state)),
    };
    let kind = request.training.kind().key();
    let mut lines = vec![
        ("Run", format!("{}, attempt {}", run.id, run.attempt)),
        ("State", state),
        (
            "Project",
            format!("{} ({}, project {})", gitlab.project_path, gitlab.host, gitlab.project_id),
        ),
        ("Commit", format!("{} at {}, {web}/commit/{}", gitlab.git_ref, gitlab.sha, gitlab.sha)),
        ("Pipeline", format!("{web}/pipelines/{}", gitlab.pipeline_id)),
        ("CI job", format!("{web}/jobs/{}", gitlab.job_id)),
    ];
    if let Some(merge_request) = &gitlab.merge_request {
        lines.push(("Merge", format!("{web}/merge_requests/{}", merge_request.iid)));
    }
    lines.push(("Asked by", asker(run)));
    lines.push(("For", format!("{kind} in {}", request.vertex)));
    lines.extend(request.artifacts.iter().map(|it| ("Input", input(it))));
    if let Some(job) = run.vertex_job() {
        lines.push(("Job", job.name));
        lines.push(("Console", job.console_url));
    }
    if let Some(ending) = run.ending() {
        lines.extend(ending.metrics.iter().map(|(name, it)| ("Metric", format!("{name} {it}"))));
        lines.extend(ending.model_uri.iter().map(|it| ("Model", it.clone())));
    }
    lines
}

fn asker(run: &Run) -> String {
    let claim = |name| run.grounds.as_ref().and_then(|it| it.claims.get(name)).cloned();
    let who = claim("user_login").unwrap_or_else(|| "nobody who is proven yet".to_owned());
    let again = run.retried_by.as_ref().map(|it| format!("; tried again by {it}"));
    let others = run.ci_jobs.len().saturating_sub(1);
    let others = if others > 0 { format!("; by {others} more CI jobs") } else { String::new() };
    who + &again.unwrap_or_default() + &others
}

fn input(artifact: &Artifact) -> String {
    let Artifact { name, uri, generation, size, .. } = artifact;
    format!("{name}: {uri}, generation {generation}, {size} bytes")
}

/// How long each attempt took for what.
fn by_attempt(history: &History, now: Timestamp) -> Vec<(u32, String)> {
    let mut found: Vec<(u32, String)> = Vec::new();
    for it in stretches(&history.entries, now) {
        let more = if it.goes_on { "…" } else { "" };
        let part = format!("{} {}{more}", it.stage.as_str(), span(it.took));
        match found.last_mut() {
            Some((attempt, parts)) if *attempt == it.attempt => parts.extend([", ", &part]),
            Some(_) | None => found.push((it.attempt, part)),
        }
    }
    found
}

/// What whoever looks could do about it.
fn help(run: &Run) -> Option<String> {
    let id = &run.id;
    if run.cancel.is_some() && run.ending().is_none() {
        return None;
    }
    match &run.state {
        State::Held(_) if run.wanted.operator => {
            Some(format!("branchline runs approve {id} --reason TEXT"))
        }
        State::Held(_) => Some("approve its merge request".to_owned()),
        State::Stalled(_) => Some("put right what it met, and replay its dead letter".to_owned()),
        State::Admitted | State::Intended if run.pause.is_some() => {
            Some(format!("branchline resume {}", run.request.vertex))
        }
        State::Finished(ending) => match ending.outcome {
            Outcome::Failed | Outcome::Cancelled | Outcome::Expired => {
                Some(format!("branchline runs retry {id} --reason TEXT"))
            }
            Outcome::Rejected => {
                Some("change what was rejected, and run its CI job again".to_owned())
            }
            Outcome::Succeeded => None,
        },
        State::Requested
        | State::Verified
        | State::Admitted
        | State::Intended
        | State::Submitted
        | State::Running => None,
    }
}

fn facts(history: &History) -> Table {
    let mut table =
        Table::new(&["", "TIME (UTC)", "AFTER", "WHO", "WHAT", "DETAILS"]).right(0).right(2);
    let mut before = None;
    for entry in &history.entries {
        let fact = &entry.fact;
        let after = before.map(|it| span(fact.time.duration_since(it).max(SignedDuration::ZERO)));
        before = Some(fact.time);
        table.row([
            fact.sequence.to_string(),
            fact.time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            after.unwrap_or_default(),
            fact.actor.clone(),
            fact.body.kind().to_owned(),
            detail(&fact.body),
        ]);
    }
    table
}
