//! All that is known of a run, as one line of JSON. Pure.

use branchline_ledger::{Entry, History};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::timeline::{ended_at, stretches};
use super::{because, word};

/// The run as it stands.
pub(super) fn record(history: &History, now: Timestamp) -> Value {
    let History { run, entries, .. } = history;
    let ending = run.ending();
    let state = if ending.is_some() { "ended" } else { word(&run.state) };
    let ended_at = ended_at(run, entries);
    let took = ended_at.unwrap_or(now).duration_since(run.asked_at);
    json!({
        "run_id": run.id,
        "run": run.request.run,
        "attempt": run.attempt,
        "state": state,
        "outcome": ending.map(|it| it.outcome),
        "reason": Some(because(run)).filter(|it| !it.is_empty()),
        "cancel": run.cancel,
        "gitlab": run.request.gitlab,
        "gitlab_jobs": run.ci_jobs,
        "vertex": run.request.vertex,
        "kind": run.request.training.kind().key(),
        "vertex_job": run.vertex_job(),
        "retried_by": run.retried_by,
        "requested_at": run.requested_at,
        "asked_at": run.asked_at,
        "recorded_at": run.recorded_at,
        "ended_at": ended_at,
        "seconds": took.as_secs_f64(),
        "stages": stretches(entries, now),
        "metrics": ending.map(|it| &it.metrics),
        "model_uri": ending.and_then(|it| it.model_uri.as_ref()),
        "ledger": run.head,
    })
}

/// The same with its facts and inputs.
pub(super) fn whole(history: &History, now: Timestamp) -> Value {
    let mut record = record(history, now);
    record["artifacts"] = json!(history.run.request.artifacts);
    record["staged"] = json!(history.run.staged);
    record["grounds"] = json!(history.run.grounds);
    let fact = |it: &Entry| json!({"fact": it.fact, "sha256": it.sha256});
    record["facts"] = history.entries.iter().map(fact).collect();
    record
}
