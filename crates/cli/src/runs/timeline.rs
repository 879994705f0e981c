//! How long a run took for what, from the times in its facts. Those are of their writers' clocks, and
//! so is this: for people. Pure.

use branchline_ledger::{Body, Entry, Run, State};
use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

/// What a run is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Stage {
    /// Intake looks at the request and its inputs.
    Checked,
    /// Somebody has to approve it.
    Held,
    /// It waits for its turn, a quota, or the end of a pause.
    InLine,
    /// Vertex AI has a job for it that does not run yet.
    Submitted,
    /// The job runs.
    Ran,
}

impl Stage {
    /// As a heading.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Checked => "checked",
            Self::Held => "waited for approval",
            Self::InLine => "waited in line",
            Self::Submitted => "in Vertex AI's queue",
            Self::Ran => "ran",
        }
    }

    const fn of(state: &State) -> Option<Self> {
        match state {
            State::Requested | State::Stalled(_) | State::Verified => Some(Self::Checked),
            State::Held(_) => Some(Self::Held),
            State::Admitted | State::Intended => Some(Self::InLine),
            State::Submitted => Some(Self::Submitted),
            State::Running => Some(Self::Ran),
            State::Finished(_) => None,
        }
    }
}

/// A stretch of a run's time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Stretch {
    pub(super) attempt: u32,
    pub(super) stage: Stage,
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub(super) took: SignedDuration,
    /// Whether it goes on.
    pub(super) goes_on: bool,
}

fn seconds<S: Serializer>(took: &SignedDuration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(took.as_secs_f64())
}

/// The stretches of every attempt, in order; the last one may go on until now.
pub(super) fn stretches(entries: &[Entry], now: Timestamp) -> Vec<Stretch> {
    let Some((first, rest)) = entries.split_first() else { return Vec::new() };
    let Ok(mut run) = Run::begin(first) else { return Vec::new() };
    let (mut found, mut since) = (Vec::new(), first.fact.time);
    let mut at = (run.attempt, Stage::of(&run.state));
    let stretch = |(attempt, stage): (u32, Option<Stage>), since, until: Timestamp, goes_on| {
        let took = until.duration_since(since).max(SignedDuration::ZERO);
        stage.map(|stage| Stretch { attempt, stage, took, goes_on })
    };
    for entry in rest {
        // What does not fold is told elsewhere.
        if run.apply(entry).is_err() {
            break;
        }
        let next = (run.attempt, Stage::of(&run.state));
        if next != at {
            found.extend(stretch(at, since, entry.fact.time, false));
            (at, since) = (next, entry.fact.time);
        }
    }
    found.extend(stretch(at, since, now, true));
    found
}

/// When the attempt in force ended, if it did.
pub(super) fn ended_at(run: &Run, entries: &[Entry]) -> Option<Timestamp> {
    run.ending()?;
    let mut facts = entries.iter().map(|it| &it.fact).filter(|it| it.attempt == run.attempt);
    let end = facts.find(|it| matches!(it.body, Body::Finished(_) | Body::Rejected { .. }));
    end.map(|it| it.time)
}

/// When somebody asked for each attempt.
pub(super) fn asked_at(entries: &[Entry]) -> impl Iterator<Item = Timestamp> {
    entries.iter().filter_map(|it| match &it.fact.body {
        Body::Requested { asked_at, .. } | Body::Retried { asked_at, .. } => Some(*asked_at),
        _ => None,
    })
}
