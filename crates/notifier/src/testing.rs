//! Ledgers for the tests of this crate.

use branchline_contract::{ArtifactReady, Outcome, RunId};
use branchline_ledger::{Body, Ending, Entry, Fact, History, Intent, Run};
use jiff::Timestamp;
use serde_json::json;

/// The history of a run that was requested and then met these facts, one a second.
pub(crate) fn history(facts: impl IntoIterator<Item = Body>) -> History {
    history_by("worker", facts)
}

pub(crate) fn history_by(actor: &str, facts: impl IntoIterator<Item = Body>) -> History {
    let request: ArtifactReady = serde_json::from_value(json!({
        "run": "churn",
        "artifacts": [],
        "training": {"custom_job": {}},
        "vertex": {"project": "acme", "region": "europe-west4"},
        "gitlab": {
            "host": "gitlab.example.com",
            "project_id": 7,
            "project_path": "acme/churn",
            "sha": "0123456789abcdef0123456789abcdef01234567",
            "ref": "feature",
            "pipeline_id": 30,
            "job_id": 300,
        },
    }))
    .unwrap();
    let digest = RunId::derive(&request).1;
    let requested =
        Body::Requested { request: Box::new(request), digest, asked_at: Timestamp::UNIX_EPOCH };
    let (mut entries, mut attempt) = (Vec::<Entry>::new(), 1);
    for (second, body) in (0..).zip([requested].into_iter().chain(facts)) {
        attempt += u32::from(matches!(body, Body::Retried { .. }));
        let fact = Fact {
            sequence: u32::try_from(entries.len()).unwrap(),
            previous: entries.last().map(|it| it.sha256),
            nonce: "0".to_owned(),
            time: Timestamp::from_second(1_800_000_000 + second).unwrap(),
            actor: actor.to_owned(),
            cause: "test".to_owned(),
            attempt,
            trace: None,
            body,
        };
        entries.push(Entry::decode(&fact.encode()).unwrap());
    }
    let (run, events) = Run::fold(&entries).unwrap();
    History { run, events, entries }
}

/// The facts up to a job that runs.
pub(crate) fn running() -> Vec<Body> {
    let job = "projects/acme/locations/europe-west4/customJobs/42".to_owned();
    let intent = Intent { nonce: "n".to_owned(), duration_ms: 1, output: "gs://o/".to_owned() };
    vec![
        Body::Verified { contents_read: false, grounds: None, staged: Vec::new() },
        Body::Admitted {},
        Body::Intended(intent),
        Body::Submitted { intent: "n".to_owned(), job },
        Body::Running {},
    ]
}

pub(crate) fn finished(outcome: Outcome, reason: Option<&str>, metrics: &[(&str, f64)]) -> Body {
    Body::Finished(Ending {
        outcome,
        reason: reason.map(str::to_owned),
        metrics: metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        model_uri: (outcome == Outcome::Succeeded).then(|| "gs://o/churn/1-n/model/".to_owned()),
        model_files: Vec::new(),
    })
}
