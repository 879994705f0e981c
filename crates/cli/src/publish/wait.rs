//! `publish --wait`: follows a run through its ledger. It only looks; the run needs nobody to wait for it.

use std::fmt::Write as _;
use std::time::Duration;

use branchline_contract::{Outcome, RunId};
use branchline_gcp::Class;
use branchline_ledger::{Ending, Run, State, Store};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use crate::exit;

/// Between two looks at the ledger.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// A line at least this often, for logs that are cut off when they are silent.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// A worker that runs has picked a request up by then.
const PICKED_UP_WITHIN: Duration = Duration::from_secs(60);
/// As much of somebody else's text as a line bears.
const CHARS_MAX: usize = 2_000;

/// Whom to follow.
pub(crate) struct Followed<'a> {
    /// GitLab project of the run.
    pub(crate) project_id: u64,
    /// The run.
    pub(crate) id: &'a RunId,
    /// The CI job that asked for it.
    pub(crate) ci_job: u64,
    /// Topic that was asked.
    pub(crate) topic: &'a str,
}

/// How the waiting ended.
pub(crate) enum End {
    /// With the run.
    Run(Ending),
    /// Before it, with this exit code.
    Early(u8),
}

impl End {
    /// What the process ends with.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Run(ending) => exit::of_outcome(ending.outcome),
            Self::Early(code) => *code,
        }
    }
}

/// Tells each phase on stderr until the run ends, the time is up, or somebody stops us.
pub(crate) async fn follow(
    store: &Store,
    followed: &Followed<'_>,
    timeout: Duration,
) -> Result<End, branchline_ledger::Error> {
    let (why, code) = tokio::select! {
        ending = watch(store, followed) => return ending.map(End::Run),
        () = sleep(timeout) => ("the time to wait is over", exit::WAITED_TOO_LONG),
        code = stopped() => ("stopped", code),
    };
    eprintln!(
        "{why}: run {} goes on; the commit shows how it ends, and running this job again follows it",
        followed.id
    );
    Ok(End::Early(code))
}

async fn watch(store: &Store, followed: &Followed<'_>) -> Result<Ending, branchline_ledger::Error> {
    let started = Instant::now();
    let mut told = (String::new(), started);
    loop {
        let line = match store.load(followed.project_id, followed.id).await {
            Ok(history) => match look(history.map(|it| it.run), followed.ci_job) {
                Seen::Ended(line, ending) => {
                    tell(started, &line);
                    return Ok(ending);
                }
                Seen::Going(line) => line,
                Seen::Nothing if started.elapsed() < PICKED_UP_WITHIN => "published".to_owned(),
                Seen::Nothing => format!(
                    "no worker has picked this up yet; is a worker running, and does its \
                     subscription belong to {}?",
                    followed.topic
                ),
            },
            Err(error) => match error.class() {
                Class::Transient | Class::Quota => format!("the ledger does not answer: {error}"),
                Class::NotFound | Class::Conflict | Class::Refused | Class::Permission => {
                    return Err(error);
                }
            },
        };
        if line != told.0 || told.1.elapsed() >= TELL_EVERY {
            tell(started, &line);
            told = (line, Instant::now());
        }
        sleep(LOOK_EVERY).await;
    }
}

/// What the ledger shows of a run.
#[derive(Debug, PartialEq)]
enum Seen {
    /// Nothing that answers our request.
    Nothing,
    /// It is on its way.
    Going(String),
    /// It is over.
    Ended(String, Ending),
}

fn look(run: Option<Run>, ci_job: u64) -> Seen {
    let Some(run) = run else { return Seen::Nothing };
    // An earlier attempt failed, and our request for another one is still under way.
    if run.ended_badly() && !run.ci_jobs.contains(&ci_job) {
        return Seen::Nothing;
    }
    let attempt = match run.attempt {
        1 => String::new(),
        attempt => format!("attempt {attempt}: "),
    };
    let waiting = match run.reason() {
        Some(reason) => format!(": {}", plain(reason)),
        None => String::new(),
    };
    let line = match &run.state {
        State::Requested => "picked up; its inputs are being checked".to_owned(),
        State::Verified => "its inputs are as announced".to_owned(),
        State::Stalled(_) => format!("stalled{waiting}"),
        State::Held(_) => format!("held{waiting}"),
        State::Admitted | State::Intended => format!("queued{waiting}"),
        State::Submitted => format!("submitted{}", job(&run)),
        State::Running => format!("running{}", job(&run)),
        State::Finished(ending) => {
            let line = format!("{attempt}{}{waiting}{}", ending.outcome.as_str(), result(ending));
            return Seen::Ended(line, ending.clone());
        }
    };
    Seen::Going(attempt + &line)
}

fn job(run: &Run) -> String {
    run.vertex_job().map_or_else(String::new, |it| format!(" as {}, {}", it.name, it.console_url))
}

fn result(ending: &Ending) -> String {
    let mut text = String::new();
    for (name, value) in &ending.metrics {
        let _ = write!(text, "; {} {value}", plain(name));
    }
    if let (Outcome::Succeeded, Some(uri)) = (ending.outcome, &ending.model_uri) {
        let _ = write!(text, "; model in {}", plain(uri));
    }
    text
}

/// Text from elsewhere must not write to the terminal as it likes, nor open sections in a CI log.
pub(crate) fn plain(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(CHARS_MAX).map(visible).collect()
}

fn tell(started: Instant, line: &str) {
    let seconds = started.elapsed().as_secs();
    eprintln!("{:02}:{:02} {line}", seconds / 60, seconds % 60);
}

/// Ends with the exit code of the signal that stops us.
async fn stopped() -> u8 {
    let wait = async |kind| match signal(kind) {
        Ok(mut signals) => drop(signals.recv().await),
        // Without a handler the signal ends the process by itself.
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = wait(SignalKind::terminate()) => exit::TERMINATED,
        () = wait(SignalKind::interrupt()) => exit::INTERRUPTED,
    }
}
