//! What Google answers: jobs, refusals, and words about quotas. And what
//! Pub/Sub takes: dead letters within its limits.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use branchline_contract::JobKind;
use branchline_gcp::pubsub::{Message as Outgoing, Publish};
use branchline_gcp::vertex::{CreateJob, Jobs as _, Vertex};
use branchline_gcp::{Call, Config, Credentials, Error, error};
use branchline_service::telemetry::chain;
use branchline_service::{DeadLetters, Failure, Message, Reason};
use fastrand::Rng;
use futures::FutureExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::json;
use crate::mutate::{pick, short_text, size, text};
use crate::runner::Target;
use crate::server::Server;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "vertex_answer",
        weight: 2,
        memory: 400,
        make: |rng| json::bytes(rng, &ANSWERS),
        check: answer,
    },
    Target {
        name: "google_words",
        weight: 300,
        memory: 200,
        make: |rng| text(rng, &WORDS).into_bytes(),
        check: words,
    },
    Target {
        name: "dead_letter",
        weight: 60,
        memory: 200,
        make: |rng| text(rng, &WORDS).into_bytes(),
        check: dead_letter,
    },
];

const WORDS: [&str; 6] = [
    "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_nvidia_a100_gpus,aiplatform.googleapis.com/custom_model_training_cpus.",
    "The following quota metrics exceed quota limits: a/b, c/d and more.",
    "Permission 'aiplatform.customJobs.create' denied on resource '//aiplatform.googleapis.com/projects/p' (or it may not exist).",
    "You do not have permission to act as service_account: trainer@acme.iam.gserviceaccount.com.",
    "List of found errors:\t1.Field: job_spec; Message: Required field is not set.\t",
    "",
];

static ANSWERS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let name = "projects/42/locations/europe-west4/customJobs/7771";
    let measured = json!({"metrics": [{"metricId": "accuracy", "value": 0.9}]});
    let artifact =
        json!({"schemaTitle": "system.Metrics", "metadata": {"accuracy": 0.9, "n": "x"}});
    let model = json!({"schemaTitle": "system.Model", "uri": "gs://o/model"});
    let error = |code: u16, status: &str, message: &str| {
        json!({"error": {"code": code, "status": status, "message": message, "details": [
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "30s"},
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "IAM_PERMISSION_DENIED",
             "domain": "iam.googleapis.com", "metadata": {"permission": "aiplatform.customJobs.create"}},
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"subject": "p"}]},
        ]}})
    };
    vec![
        json!({"name": name, "displayName": "iris", "state": "JOB_STATE_PENDING",
               "labels": {"branchline-run": "iris-0123456789abcdef0123"},
               "createTime": "2026-11-23T03:04:05.000006Z"}),
        json!({"name": name, "state": "JOB_STATE_SUCCEEDED", "endTime": "2026-11-23T03:04:05Z",
               "studySpec": {"metrics": [{"metricId": "accuracy", "goal": "MAXIMIZE"}]},
               "trials": [{"id": "1", "finalMeasurement": measured}, {"id": "2"}]}),
        json!({"name": name, "state": "PIPELINE_STATE_SUCCEEDED", "jobDetail": {"taskDetails": [
            {"taskId": "7", "taskName": "train", "endTime": "2026-11-23T03:04:05Z",
             "outputs": {"m": {"artifacts": [artifact]}, "model": {"artifacts": [model]}}}]}}),
        json!({"name": name, "state": "PIPELINE_STATE_FAILED", "modelToUpload": {"name": "m"},
               "error": {"code": 8, "message": WORDS[0]}}),
        error(429, "RESOURCE_EXHAUSTED", WORDS[0]),
        error(403, "PERMISSION_DENIED", WORDS[2]),
        error(400, "INVALID_ARGUMENT", WORDS[3]),
        json!({"error": {"code": 404, "message": "Not Found", "errors": [{"reason": "notFound"}]}}),
        json!("<html>502 Bad Gateway</html>"),
    ]
});

thread_local! {
    static VERTEX: (Server, Vertex) = {
        let server = Server::start();
        let config = Config {
            credentials: Credentials::Anonymous,
            vertex_endpoint: Some(server.address.clone()),
            ..Config::default()
        };
        let vertex = server.wait(Vertex::connect(&config)).unwrap();
        (server, vertex)
    };
}

/// A create call ends in a job or in an error that says what it knows, and no more.
fn answer(bytes: &[u8], rng: &mut Rng) -> bool {
    let status = *pick(rng, &[200, 200, 200, 400, 401, 403, 404, 408, 409, 429, 500, 502, 503]);
    let kind = *pick(rng, &JobKind::ALL);
    let wait = short_text(rng, &["7", "18446744073709551615", "Wed, 21 Oct 2026 07:28:00 GMT"]);
    let created = VERTEX.with(|(server, vertex)| {
        server.answer(status, bytes, &[("retry-after", wait)]);
        server.wait(vertex.create(CreateJob {
            kind,
            project: "demo-project",
            region: "europe-west4",
            body: &json!({"displayName": "iris"}),
            pipeline_job_id: (kind == JobKind::PipelineJob).then_some("iris-1"),
            deadline: Instant::now() + Duration::from_secs(30),
        }))
    });
    match created {
        Ok(job) => {
            assert_eq!((status, job.kind), (200, kind));
            assert!(job.metrics.values().all(|it| it.is_finite()));
            true
        }
        Err(error) => {
            let refused = [400, 401, 403, 404, 409, 429].contains(&status);
            assert!(refused || !error.definite(), "a {status} may have created a job");
            explained(&error);
            false
        }
    }
}

fn explained(error: &Error) {
    let _ = (error.class(), error.retry_after(), chain(error));
    for metric in error.quota_metrics() {
        assert!(metric.contains('/') && !metric.contains(char::is_whitespace), "{metric:?}");
    }
    assert_ne!(error.missing_permission(), Some(String::new()));
}

fn words(bytes: &[u8], rng: &mut Rng) -> bool {
    let text = std::str::from_utf8(bytes).unwrap();
    let code = rng.i32(-1..18);
    let error = Error::answered("creating a custom job", code, text);
    assert!(text.is_empty() || error.message() == text);
    explained(&error);
    !error::quota_metrics(text).is_empty()
}

/// Takes one message and keeps it.
#[derive(Default)]
struct Topic(Mutex<Option<Outgoing>>);

impl Publish for Topic {
    fn publish<'a>(&'a self, _: &'a str, message: Outgoing) -> Call<'a, String> {
        *self.0.lock().unwrap() = Some(message);
        Box::pin(async { Ok("1".to_owned()) })
    }
}

/// A dead letter is one that Pub/Sub takes, with its reason and the event's context.
fn dead_letter(bytes: &[u8], rng: &mut Rng) -> bool {
    const CONTEXT: [&str; 4] = ["ce-id", "ce-type", "ce-source", "ce-time"];
    let reason = std::str::from_utf8(bytes).unwrap();
    let mut attributes = BTreeMap::new();
    for at in 0..size(rng).min(100) {
        let mut key =
            short_text(rng, &["ce-id", "ce-type", "branchline-reason", "traceparent", "a"]);
        key.truncate(key.floor_char_boundary(250));
        attributes.insert(format!("{key}{}", at / 2), short_text(rng, &["x"]));
    }
    attributes.extend(CONTEXT.map(|it| (it.to_owned(), "7".to_owned())));
    while attributes.len() > 100 {
        let excess = attributes.keys().find(|it| !CONTEXT.contains(&it.as_str())).cloned();
        attributes.remove(&excess.unwrap());
    }
    let message = Message {
        id: "7".to_owned(),
        data: bytes.to_vec().into(),
        attributes,
        ordering_key: String::new(),
        publish_time: Timestamp::UNIX_EPOCH,
        delivery_attempt: rng.bool().then(|| rng.u32(..)),
    };
    let topic = Arc::new(Topic::default());
    let letters = DeadLetters::new(topic.clone(), "topic".to_owned(), "subscription".to_owned());
    let failure = Failure { reason: *pick(rng, &Reason::ALL), detail: reason.to_owned() };
    letters.publish(&message, &failure).now_or_never().unwrap().unwrap();
    let letter = topic.0.lock().unwrap().take().unwrap();
    assert_eq!(letter.data, message.data);
    assert!(letter.attributes.len() <= 100);
    assert!(letter.attributes.values().all(|it| it.len() <= 1_024));
    let kept = message.attributes.keys().all(|it| letter.attributes.contains_key(it));
    assert!(kept, "an attribute is lost");
    let Some(detail) = letter.attributes.get("branchline-detail") else {
        // There was no room for it.
        assert!(letter.attributes.len() == 100);
        return false;
    };
    assert!(reason.starts_with(detail));
    detail == reason
}
