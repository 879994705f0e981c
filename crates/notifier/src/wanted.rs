//! What GitLab should say about a run. Pure: a function of the ledger.

use branchline_contract::Outcome;
use branchline_gitlab::{CommitStatus, NewStatus, StatusState};
use branchline_ledger::{Ending, History, Run, State};

use crate::escape::{is_plain_url, line};
use crate::note;

/// GitLab takes longer addresses for an error; longer descriptions are not shown.
const TEXT_MAX: usize = 255;
const METRICS_SHOWN: usize = 3;

/// Commit status and note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) status: NewStatus,
    pub(crate) note: String,
}

/// What the run's ledger asks for; the place in line comes from the queue.
pub(crate) fn wanted(history: &History, place_in_line: Option<u32>) -> Wanted {
    let run = &history.run;
    let description = describe(run, place_in_line);
    let url = run.vertex_job().map(|it| it.console_url);
    Wanted {
        note: note::render(history, &description),
        status: NewStatus {
            name: format!("branchline/{}", run.request.run),
            state: state(&run.state),
            description: cut(&description),
            target_url: url.filter(|it| is_plain_url(it) && it.len() <= TEXT_MAX),
            pipeline_id: Some(run.request.gitlab.pipeline_id),
        },
    }
}

/// Whether the status has to be set, given the one that stands there. GitLab
/// changes no description within a state and goes back in no row; and behind a
/// terminal state it begins a new row, so that an equal one is never set again.
pub(crate) fn differs(found: Option<StatusState>, wanted: StatusState) -> bool {
    found != Some(wanted) && (found, wanted) != (Some(StatusState::Running), StatusState::Pending)
}

/// The row that a new status would continue: ours, in that pipeline where one is given.
pub(crate) fn current(
    rows: &[CommitStatus],
    own: u64,
    pipeline_id: Option<u64>,
) -> Option<StatusState> {
    let ours = |it: &&CommitStatus| it.author.as_ref().is_some_and(|it| it.id == own);
    let there = |it: &&CommitStatus| pipeline_id.is_none() || it.pipeline_id == pipeline_id;
    rows.iter().filter(ours).find(there).map(|it| it.status)
}

fn state(state: &State) -> StatusState {
    match state {
        State::Requested
        | State::Stalled(_)
        | State::Verified
        | State::Held(_)
        | State::Admitted
        | State::Intended
        | State::Submitted => StatusState::Pending,
        State::Running => StatusState::Running,
        State::Finished(ending) => match ending.outcome {
            Outcome::Succeeded => StatusState::Success,
            Outcome::Failed | Outcome::Expired | Outcome::Rejected => StatusState::Failed,
            Outcome::Cancelled => StatusState::Canceled,
        },
    }
}

/// Plain text: foreign parts of it are one line, and not markdown.
fn describe(run: &Run, place_in_line: Option<u32>) -> String {
    let because = |what: &str, why: Option<&str>| match why.map(line) {
        Some(why) if !why.is_empty() => format!("{what}: {why}"),
        Some(_) | None => what.to_owned(),
    };
    let text = match (&run.state, &run.cancel) {
        (State::Finished(ending), _) => match ending.outcome {
            Outcome::Succeeded => succeeded(ending),
            outcome => because(outcome.as_str(), ending.reason.as_deref()),
        },
        (_, Some(reason)) => because("being cancelled", Some(reason)),
        (State::Requested, None) => "inputs are being checked".to_owned(),
        (State::Stalled(reason), None) => because("stalled", Some(reason)),
        (State::Verified, None) => "inputs were checked".to_owned(),
        (State::Held(reason), None) => because("held", Some(reason)),
        (State::Admitted | State::Intended, None) => match (&run.blocked, place_in_line) {
            (Some(reason), Some(place)) => {
                because(&format!("waits in line, place {place}"), Some(reason))
            }
            (Some(reason), None) => because("blocked", Some(reason)),
            (None, Some(place)) => format!("waits in line, place {place}"),
            (None, None) => "waits in line".to_owned(),
        },
        (State::Submitted, None) => "submitted to Vertex AI".to_owned(),
        (State::Running, None) => "training".to_owned(),
    };
    if run.attempt > 1 { format!("{text} (attempt {})", run.attempt) } else { text }
}

fn succeeded(ending: &Ending) -> String {
    let shown = ending.metrics.iter().take(METRICS_SHOWN);
    let metrics: Vec<_> = shown.map(|(name, value)| format!("{} {value:?}", line(name))).collect();
    if metrics.is_empty() {
        Outcome::Succeeded.as_str().to_owned()
    } else {
        format!("{}: {}", Outcome::Succeeded.as_str(), metrics.join(", "))
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= TEXT_MAX {
        return text.to_owned();
    }
    text.chars().take(TEXT_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
