//! `publish --wait`: follows a run through its ledger. It only looks; the run needs nobody to wait for it.

use std::fmt::Write as _;
use std::time::Duration;

use branchline_contract::Outcome;
use branchline_ledger::{Ending, Run, State};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use crate::exit;
use crate::follow::{Followed, may_pass, pause};
use crate::terminal::plain;

/// A line at least this often, for logs that are cut off when they are silent.
const TELL_EVERY: Duration = Duration::from_mins(1);
/// A worker that runs has picked a request up by then.
const PICKED_UP_WITHIN: Duration = Duration::from_mins(1);

/// Who asked, and where.
pub(crate) struct Asked<'a> {
    /// The CI job.
    pub(crate) ci_job: u64,
    /// Topic that was asked.
    pub(crate) topic: &'a str,
}

/// How the waiting ended.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    /// With the run: how it ended, and the page of its job in the console.
    Run(Ending, Option<String>),
    /// Before it, with this exit code.
    Early(u8),
}

impl End {
    /// What the process ends with.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Run(ending, _) => exit::of_outcome(ending.outcome),
            Self::Early(code) => *code,
        }
    }
}

/// Tells each phase on stderr until the run ends, the time is up, or somebody stops us.
pub(crate) async fn follow(
    mut followed: Followed,
    asked: &Asked<'_>,
    timeout: Duration,
) -> Result<End, branchline_ledger::Error> {
    let (why, code) = tokio::select! {
        end = watch(&mut followed, asked) => return end,
        () = sleep(timeout) => ("the time to wait is over", exit::WAITED_TOO_LONG),
        code = stopped() => ("stopped", code),
    };
    eprintln!(
        "{why}: run {} goes on; the commit shows how it ends, and running this job again follows it",
        followed.id()
    );
    Ok(End::Early(code))
}

async fn watch(
    followed: &mut Followed,
    asked: &Asked<'_>,
) -> Result<End, branchline_ledger::Error> {
    let started = Instant::now();
    let (mut told, mut new_at) = ((String::new(), started), started);
    loop {
        let line = match followed.look().await {
            Ok(history) => match look(history.map(|it| &it.run), asked.ci_job) {
                Seen::Ended(line, end) => {
                    tell(started, &line);
                    return Ok(end);
                }
                Seen::Going(line) => line,
                Seen::Nothing if started.elapsed() < PICKED_UP_WITHIN => "published".to_owned(),
                Seen::Nothing => format!(
                    "no worker has picked this up yet; is a worker running, and does its \
                     subscription belong to {}?",
                    asked.topic
                ),
            },
            Err(error) if may_pass(&error) => format!("the ledger does not answer: {error}"),
            Err(error) => return Err(error),
        };
        if line != told.0 {
            new_at = Instant::now();
        }
        if line != told.0 || told.1.elapsed() >= TELL_EVERY {
            tell(started, &line);
            told = (line, Instant::now());
        }
        sleep(pause(new_at.elapsed())).await;
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
    Ended(String, End),
}

fn look(run: Option<&Run>, ci_job: u64) -> Seen {
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
        Some(reason) => format!(": {}", plain(&reason.replace('\n', "; "))),
        None => String::new(),
    };
    let line = match &run.state {
        State::Requested => "picked up; its inputs are being checked".to_owned(),
        State::Verified => "its inputs are as announced".to_owned(),
        State::Stalled(_) => format!("stalled{waiting}"),
        State::Held(_) => format!("held{waiting}"),
        State::Admitted | State::Intended => format!("queued{waiting}"),
        State::Submitted => format!("submitted{}", job(run)),
        State::Running => format!("running{}", job(run)),
        State::Finished(ending) => {
            let line = format!("{attempt}{}{waiting}{}", ending.outcome.as_str(), result(ending));
            let console = run.vertex_job().map(|it| it.console_url);
            return Seen::Ended(line, End::Run(ending.clone(), console));
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

fn tell(started: Instant, line: &str) {
    let seconds = started.elapsed().as_secs();
    eprintln!("{:02}:{:02} {line}", seconds / 60, seconds % 60);
}

/// Ends with the exit code of the signal that stops us.
pub(crate) async fn stopped() -> u8 {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use branchline_contract::{ArtifactReady, RunId, Sha256};
    use branchline_ledger::{Body, Entry, Fact, Intent};
    use expect_test::{Expect, expect};
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    const JOB: u64 = 70;

    fn request(job: u64) -> Box<ArtifactReady> {
        let request = json!({
            "run": "iris", "artifacts": [], "training": {"custom_job": {}},
            "vertex": {"project": "demo-project", "region": "europe-west4"},
            "gitlab": {
                "host": "gitlab.example.com", "project_id": 42, "project_path": "ml/iris",
                "sha": "1111111111111111111111111111111111111111", "ref": "main",
                "pipeline_id": 7, "job_id": job,
            },
        });
        serde_json::from_value(request).unwrap()
    }

    fn requested() -> Body {
        let request = request(JOB);
        let (_, digest) = RunId::derive(&request);
        Body::Requested { request, digest, asked_at: Timestamp::UNIX_EPOCH }
    }

    fn finished(outcome: Outcome, reason: Option<&str>) -> Body {
        Body::Finished(Ending {
            outcome,
            reason: reason.map(str::to_owned),
            metrics: BTreeMap::from([("accuracy".to_owned(), 0.96)]),
            model_uri: Some("gs://out/model/".to_owned()),
            model_files: Vec::new(),
        })
    }

    /// What is told to a CI job after each of the facts.
    fn check(ci_job: u64, bodies: Vec<Body>, expect: &Expect) {
        let mut shown = String::new();
        let (mut entries, mut previous, mut attempt): (Vec<Entry>, Option<Sha256>, u32) =
            (Vec::new(), None, 1);
        for (sequence, body) in (0..).zip(bodies) {
            attempt += u32::from(matches!(body, Body::Retried { .. }));
            let fact = Fact {
                sequence,
                previous,
                nonce: String::new(),
                time: Timestamp::UNIX_EPOCH,
                actor: "worker".to_owned(),
                cause: "test".to_owned(),
                attempt,
                trace: None,
                body,
            };
            let entry = Entry::decode(&fact.encode()).unwrap();
            previous = Some(entry.sha256);
            entries.push(entry);
            let line = match look(Some(&Run::fold(&entries).unwrap().0), ci_job) {
                Seen::Nothing => "nothing".to_owned(),
                Seen::Going(line) => line,
                Seen::Ended(line, end) => format!("{line} => exit {}", end.exit_code()),
            };
            shown.push_str(&(line + "\n"));
        }
        expect.assert_eq(&shown);
    }

    fn submitted() -> Vec<Body> {
        let job = "projects/p/locations/europe-west4/customJobs/1".to_owned();
        let output = "gs://out/".to_owned();
        let intent = Intent { nonce: "n".to_owned(), duration_ms: 1, output };
        vec![
            requested(),
            Body::Verified { contents_read: false, grounds: None, staged: Vec::new() },
            Body::Admitted {},
            Body::Blocked { reason: "no\u{1b}[2J\nquota".to_owned(), pause: None },
            Body::Intended(intent),
            Body::Submitted { job, intent: "n".to_owned() },
            Body::Running {},
        ]
    }

    #[test]
    fn each_phase_is_one_line_without_control_characters() {
        let succeeded = finished(Outcome::Succeeded, None);
        check(
            JOB,
            [submitted(), vec![succeeded]].concat(),
            &expect![[r"
                picked up; its inputs are being checked
                its inputs are as announced
                queued
                queued: no [2J; quota
                queued: no [2J; quota
                submitted as projects/p/locations/europe-west4/customJobs/1, https://console.cloud.google.com/vertex-ai/locations/europe-west4/training/1/cpu?project=p
                running as projects/p/locations/europe-west4/customJobs/1, https://console.cloud.google.com/vertex-ai/locations/europe-west4/training/1/cpu?project=p
                succeeded; accuracy 0.96; model in gs://out/model/ => exit 0
            "]],
        );
    }

    #[test]
    fn each_outcome_has_its_exit_code() {
        let codes = Outcome::ALL.map(exit::of_outcome);
        assert_eq!(codes, [0, 10, 11, 12, 13]);
        let rejected =
            Body::Rejected { reasons: vec!["no".to_owned(), "never".to_owned()], grounds: None };
        check(
            JOB,
            vec![requested(), rejected],
            &expect![[r"
                picked up; its inputs are being checked
                rejected: no; never => exit 13
            "]],
        );
        let cancelled = finished(Outcome::Cancelled, Some("superseded"));
        check(
            JOB,
            vec![requested(), cancelled],
            &expect![[r"
            picked up; its inputs are being checked
            cancelled: superseded; accuracy 0.96 => exit 11
        "]],
        );
    }

    #[test]
    fn an_earlier_attempt_that_failed_is_not_the_answer_to_a_retry() {
        let failed = finished(Outcome::Failed, Some("exit 1"));
        let retried = Body::Retried {
            request: Some(request(71)),
            reason: None,
            operator: None,
            asked_at: Timestamp::UNIX_EPOCH,
        };
        check(
            71,
            [submitted(), vec![failed, retried]].concat(),
            &expect![[r"
                picked up; its inputs are being checked
                its inputs are as announced
                queued
                queued: no [2J; quota
                queued: no [2J; quota
                submitted as projects/p/locations/europe-west4/customJobs/1, https://console.cloud.google.com/vertex-ai/locations/europe-west4/training/1/cpu?project=p
                running as projects/p/locations/europe-west4/customJobs/1, https://console.cloud.google.com/vertex-ai/locations/europe-west4/training/1/cpu?project=p
                nothing
                attempt 2: picked up; its inputs are being checked
            "]],
        );
    }
}
