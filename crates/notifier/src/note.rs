//! The note on a merge request: one per run name, found again by its hidden
//! first line, written anew from the ledger. Pure.

use std::fmt::Write;

use branchline_contract::RunName;
use branchline_ledger::{Body, Ending, Entry, History, Run};

use crate::escape::{cell, code, link};

/// More rows are cut: a note is for reading.
const METRICS_MAX: usize = 50;
const REASONS_MAX: usize = 20;
const TIMELINE_MAX: usize = 100;

/// First line of the note of a run name. Foreign text cannot hold it: that
/// never begins a note.
pub(crate) fn marker(run: &RunName) -> String {
    format!("<!-- branchline:run={run} -->\n")
}

/// Whether a note tells of a newer CI job than this run's: then it is not ours to change.
pub(crate) fn is_newer(body: &str, run: &Run) -> bool {
    let job = body.lines().nth(1).and_then(|it| {
        it.strip_prefix("<!-- branchline:job=")?.strip_suffix(" -->")?.parse::<u64>().ok()
    });
    job > run.ci_jobs.last().copied()
}

/// The whole note; `description` is the commit status's, not yet escaped.
pub(crate) fn render(history: &History, description: &str) -> String {
    let run = &history.run;
    let mut text = marker(&run.request.run);
    let ci_job = run.ci_jobs.last().expect("a run is requested by a job");
    let mut add = |part: &str| text.push_str(part);
    add(&format!("<!-- branchline:job={ci_job} -->\n\n"));
    add(&format!(
        "**Branchline** run {}: {}\n\n",
        code(run.request.run.as_str()),
        code(description)
    ));
    add(&facts(run));
    add(&reasons(run));
    add(&metrics(run));
    add(&timeline(&history.entries));
    text
}

fn facts(run: &Run) -> String {
    let mut rows = vec![
        ("Run", cell(run.id.as_str())),
        ("Attempt", run.attempt.to_string()),
        ("Commit", run.request.gitlab.sha.to_string()),
    ];
    if let Some(job) = run.vertex_job() {
        rows.push(("Job", link("Vertex AI", &job.console_url)));
    }
    if let Some(model) = run.ending().and_then(|it| it.model_uri.as_deref()) {
        rows.push(("Model", cell(model)));
    }
    rows.push(("Ledger head", cell(&run.head.to_string())));
    let rows: Vec<_> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    table(&["Branchline", ""], &rows)
}

/// A reason of several lines, of which the heading shows the beginning.
fn reasons(run: &Run) -> String {
    let lines = run.reason().unwrap_or_default().lines().filter(|it| !it.trim().is_empty());
    let items: Vec<_> = lines.take(REASONS_MAX).map(|it| format!("- {}\n", code(it))).collect();
    if items.len() > 1 { items.concat() + "\n" } else { String::new() }
}

fn metrics(run: &Run) -> String {
    let Some(ending) = run.ending().filter(|it| !it.metrics.is_empty()) else {
        return String::new();
    };
    let shown = ending.metrics.iter().take(METRICS_MAX);
    let rows: Vec<_> =
        shown.map(|(name, value)| vec![cell(name), cell(&format!("{value:?}"))]).collect();
    let mut text = table(&["Metric", "Value"], &rows);
    if ending.metrics.len() > METRICS_MAX {
        let rest = ending.metrics.len() - METRICS_MAX;
        writeln!(text, "and {rest} more\n").expect("a string takes everything");
    }
    text
}

fn timeline(entries: &[Entry]) -> String {
    let shown = &entries[entries.len().saturating_sub(TIMELINE_MAX)..];
    let rows: Vec<_> = shown
        .iter()
        .map(|Entry { fact, .. }| {
            let (kind, detail) = tell(&fact.body);
            vec![
                fact.sequence.to_string(),
                fact.time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
                kind.to_owned(),
                detail.map_or_else(String::new, |it| cell(&it)),
                cell(&fact.actor),
            ]
        })
        .collect();
    let rows = table(&["", "Time (UTC)", "Fact", "Detail", "By"], &rows);
    format!("<details><summary>Timeline</summary>\n\n{rows}</details>\n")
}

fn tell(body: &Body) -> (&'static str, Option<String>) {
    match body {
        Body::Requested { .. } => ("requested", None),
        Body::Verified { grounds, .. } => ("verified", grounds.as_ref().map(ToString::to_string)),
        Body::Held { reason } => ("held", Some(reason.clone())),
        Body::Approved { by, reason, .. } => {
            ("approved", Some(format!("by {}: {reason}", by.join(", "))))
        }
        Body::Admitted {} => ("admitted", None),
        Body::Rejected { reasons, .. } => ("rejected", Some(reasons.join(" "))),
        Body::Duplicate { ci_job, .. } => ("duplicate", Some(format!("CI job {ci_job}"))),
        Body::Intended(_) => ("intended", None),
        Body::Refused { message, .. } => ("refused", Some(message.clone())),
        Body::Submitted { job, .. } => ("submitted", Some(job.clone())),
        Body::Running {} => ("running", None),
        Body::Blocked { reason, .. } => ("blocked", Some(reason.clone())),
        Body::Unblocked {} => ("unblocked", None),
        Body::CancelRequested { reason, .. } => ("cancel requested", Some(reason.clone())),
        Body::Surplus { job, .. } => ("surplus", Some(job.clone())),
        Body::Finished(Ending { outcome, reason, .. }) => (outcome.as_str(), reason.clone()),
        Body::Retried { request, reason, operator, .. } => {
            let asked = match (request, operator) {
                (_, Some(it)) => Some(format!("by {}: {}", it.by, it.reason)),
                (Some(request), None) => Some(format!("CI job {}", request.gitlab.job_id)),
                (None, None) => reason.clone(),
            };
            ("retried", asked)
        }
        Body::Stalled { reason } => ("stalled", Some(reason.clone())),
    }
}

/// A table with an empty line behind it; its cells are escaped already.
fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let row = |cells: &[&str]| format!("| {} |\n", cells.join(" | "));
    let mut text = row(heads) + &row(&vec!["---"; heads.len()]);
    for cells in rows {
        let cells: Vec<_> = cells.iter().map(String::as_str).collect();
        text += &row(&cells);
    }
    text + "\n"
}

#[cfg(test)]
mod tests;
