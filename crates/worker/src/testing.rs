//! Runs in every state, for the tests of pure code.

use branchline_contract::{ArtifactReady, RunId};
use branchline_ledger::{Body, Decided, Entry, Fact, Grounds, History, Intent, Run, Wanted};
use jiff::Timestamp;
use serde_json::{Value, json};

/// A request whose training is this.
pub(crate) fn request(training: &Value) -> ArtifactReady {
    serde_json::from_value(json!({
        "run": "iris",
        "artifacts": [{
            "name": "data", "uri": "gs://artifacts/a/iris.csv",
            "generation": 1, "size": 1, "crc32c": "AAAAAA=="
        }],
        "training": training,
        "vertex": {"project": "demo-project", "region": "europe-west4"},
        "gitlab": {
            "host": "gitlab.example.com", "project_id": 7, "project_path": "team/iris",
            "sha": "0123456789012345678901234567890123456789", "ref": "main",
            "pipeline_id": 1, "job_id": 10
        }
    }))
    .unwrap()
}

/// A custom job that runs something.
pub(crate) fn custom_job() -> Value {
    json!({"custom_job": {"jobSpec": {"workerPoolSpecs": [{
        "machineSpec": {"machineType": "n1-standard-4"},
        "replicaCount": 1,
        "containerSpec": {"imageUri": "debian", "args": ["{{ artifacts.data.uri }}", "{{ output }}"]}
    }]}}})
}

/// The run of a request after these facts.
pub(crate) fn run(request: &ArtifactReady, facts: Vec<Body>) -> Run {
    history(request, facts).run
}

/// Its whole history; another attempt begins with `retried`.
pub(crate) fn history(request: &ArtifactReady, facts: Vec<Body>) -> History {
    let digest = RunId::derive(request).1;
    let requested = Body::Requested {
        request: Box::new(request.clone()),
        digest,
        asked_at: Timestamp::UNIX_EPOCH,
    };
    let (mut entries, mut attempt): (Vec<Entry>, u32) = (Vec::new(), 1);
    for body in std::iter::once(requested).chain(facts) {
        attempt += u32::from(matches!(body, Body::Retried { .. }));
        let fact = Fact {
            sequence: u32::try_from(entries.len()).unwrap(),
            previous: entries.last().map(|it| it.sha256),
            nonce: String::new(),
            time: "2026-11-23T00:00:00Z".parse().unwrap(),
            actor: String::new(),
            cause: String::new(),
            attempt,
            body,
        };
        entries.push(Entry::decode(&fact.encode()).unwrap());
    }
    let (run, events) = Run::fold(&entries).unwrap();
    History { run, events, entries }
}

/// The facts of a run that waits in line.
pub(crate) fn admitted() -> Vec<Body> {
    vec![
        Body::Verified { contents_read: false, grounds: None, staged: Vec::new() },
        Body::Admitted {},
    ]
}

/// The facts of a run whose create call may be under way for ten seconds.
pub(crate) fn intended() -> Vec<Body> {
    let mut facts = admitted();
    facts.push(Body::Intended(intent()));
    facts
}

/// The facts of a run that has a job.
pub(crate) fn submitted() -> Vec<Body> {
    let mut facts = intended();
    facts.push(Body::Submitted { intent: intent().nonce, job: "jobs/1".to_owned() });
    facts
}

/// A create call that may take ten seconds.
pub(crate) fn intent() -> Intent {
    Intent { nonce: "n".to_owned(), duration_ms: 10_000, output: "gs://o/iris/1-n/".to_owned() }
}

/// The facts of a run that waits for these approvals, asked for by user 7, `anna@example.com`.
pub(crate) fn held(wanted: Wanted) -> Vec<Body> {
    let claim = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let grounds = Grounds {
        decided: Decided::NeedsApproval,
        claims: [("user_id", "7"), ("user_email", "anna@example.com")].map(claim).into(),
        groups_direct: None,
        policy: String::new(),
        rules: Vec::new(),
        wanted: Some(wanted),
        merge_requests: None,
    };
    let verified = Body::Verified {
        contents_read: false,
        grounds: Some(Box::new(grounds)),
        staged: Vec::new(),
    };
    vec![verified, Body::Held { reason: wanted.to_string() }]
}
