//! The embedded stack's own request parsers: REST, filters, uploads. Every case
//! meets services that were opened for it, so that it plays again from its seed.
//!
//! No job is created here, since it would be run: its body is checked through a
//! door of its own, and Vertex AI is only asked for what it has.

use std::cell::OnceCell;
use std::fs;
use std::sync::LazyLock;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use branchline_contract::Crc32c;
use branchline_local::faults::Dice;
use branchline_local::gitlab::{GitLab, Trigger};
use branchline_local::pubsub::PubSub;
use branchline_local::storage::Storage;
use branchline_local::vertex::{self, Vertex};
use fastrand::Rng;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;

use crate::corpus::TRAININGS;
use crate::json;
use crate::mutate::text;
use crate::runner::Target;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "local_pubsub",
        weight: 8,
        memory: 600,
        make: |rng| json::bytes(rng, &PUBSUB),
        check: pubsub,
    },
    Target {
        name: "local_storage",
        weight: 8,
        memory: 600,
        make: |rng| json::bytes(rng, &STORAGE),
        check: storage,
    },
    Target {
        name: "local_gitlab",
        weight: 4,
        memory: 600,
        make: |rng| json::bytes(rng, &GITLAB),
        check: gitlab,
    },
    Target {
        name: "local_vertex_list",
        weight: 30,
        memory: 600,
        make: |rng| text(rng, &QUERIES).into_bytes(),
        check: vertex_list,
    },
    Target {
        name: "local_vertex_body",
        weight: 30,
        memory: 300,
        make: |rng| json::bytes(rng, &BODIES),
        check: vertex_body,
    },
];

/// One request; a body that is no text is sent as the JSON that it is.
fn call(method: &str, uri: &str, kind: &str, body: &Value) -> Value {
    json!({"method": method, "uri": uri, "headers": {"content-type": kind}, "body": body})
}

const JSON: &str = "application/json";

static PUBSUB: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let of = |method: &str, uri: &str, body: Value| call(method, uri, JSON, &body);
    let subscription = json!({
        "topic": "projects/p/topics/ready", "ackDeadlineSeconds": 60, "enableMessageOrdering": true,
        "messageRetentionDuration": "600s", "labels": {"a": "b"},
        "filter": "attributes:a AND NOT (attributes.b = \"c\" OR hasPrefix(attributes.d, \"e\\\"\"))",
        "retryPolicy": {"minimumBackoff": "1s", "maximumBackoff": "599.5s"},
        "deadLetterPolicy": {"deadLetterTopic": "projects/p/topics/ready", "maxDeliveryAttempts": 5},
        "expirationPolicy": {"ttl": "86400s"},
    });
    let publish = json!({"messages": [
        {"data": "e30=", "attributes": {"a": "b"}, "orderingKey": "k"},
        {"attributes": {"a": "x", "d": "e\""}, "orderingKey": "k"},
    ]});
    let topic = "/v1/projects/p/topics/ready";
    let name = "/v1/projects/p/subscriptions/sub";
    let verb = |it: &str| format!("{name}:{it}");
    let patch =
        json!({"subscription": {"ackDeadlineSeconds": 20}, "updateMask": "ackDeadlineSeconds"});
    vec![
        json!([
            of("PUT", name, subscription.clone()),
            of("POST", &format!("{topic}:publish"), publish.clone()),
            of("POST", &verb("pull"), json!({"maxMessages": 10})),
            of("POST", &verb("acknowledge"), json!({"ackIds": ["1", "x"]})),
        ]),
        json!([
            of("PUT", name, subscription),
            of("PATCH", name, patch),
            of("GET", name, Value::Null),
            of("POST", &verb("seek"), json!({"time": "2026-11-23T03:04:05Z"})),
            of(
                "POST",
                &verb("modifyAckDeadline"),
                json!({"ackIds": ["1"], "ackDeadlineSeconds": 10})
            ),
        ]),
        json!([
            of("PUT", "/v1/projects/p/topics/other", json!({"labels": {"a": "b"}})),
            of("GET", "/v1/projects/p/topics?pageSize=1&pageToken=", Value::Null),
            of("GET", "/v1/projects/p/subscriptions?pageSize=1", Value::Null),
            of("GET", &format!("{topic}/subscriptions"), Value::Null),
            of("DELETE", topic, Value::Null),
        ]),
    ]
});

static STORAGE: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let of = |method: &str, uri: &str, body: Value| call(method, uri, JSON, &body);
    let crc32c = Crc32c(crc32c::crc32c(b"content"));
    let multipart = "--b\r\nContent-Type: application/json\r\n\r\n{\"name\": \"a/b\", \"metadata\": {\"k\": \"v\"}, \
                     \"crc32c\": \"CRC32C\"}\r\n--b\r\nContent-Type: text/plain\r\n\r\ncontent\r\n--b--\r\n";
    let upload = "/upload/storage/v1/b/bucket/o?uploadType";
    let object = "/storage/v1/b/bucket/o/a%2Fb";
    let mut range = of("GET", &format!("/download{object}?alt=media"), Value::Null);
    range["headers"]["range"] = "bytes=1-3".into();
    let mut hash =
        of("POST", &format!("{upload}=media&name=a%2Fb&ifGenerationMatch=0"), json!("content"));
    hash["headers"]["x-goog-hash"] = format!("crc32c={crc32c}").into();
    vec![
        json!([
            of("POST", &format!("{upload}=media&name=a%2Fb&ifGenerationMatch=0"), json!("content")),
            range,
            of("PATCH", object, json!({"metadata": {"k": "v", "l": null}, "contentType": "a/b"})),
            of(
                "GET",
                "/storage/v1/b/bucket/o?prefix=a&delimiter=%2F&maxResults=1&pageToken=YQ",
                Value::Null
            ),
        ]),
        json!([
            call(
                "POST",
                &format!("{upload}=multipart"),
                "multipart/related; boundary=b",
                &multipart.replace("CRC32C", &crc32c.to_string()).into()
            ),
            of("POST", &format!("{upload}=resumable&name=x"), json!({"metadata": {"k": "v"}})),
            of("PUT", &format!("{upload}=resumable&upload_id=00"), json!("content")),
            of(
                "POST",
                &format!("{object}/rewriteTo/b/bucket/o/c?ifSourceGenerationMatch=1"),
                json!({})
            ),
        ]),
        json!([
            hash,
            of("POST", "/storage/v1/b?project=p", json!({"name": "other"})),
            of("POST", &format!("{object}/copyTo/b/other/o/c"), json!({"metadata": {}})),
            of("DELETE", &format!("{object}?generation=1"), Value::Null),
            of("GET", "/storage/v1/b/bucket/o?startOffset=a&endOffset=b", Value::Null),
        ]),
    ]
});

static GITLAB: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let of =
        |method: &str, uri: &str, body: Value| call(method, &format!("/api/v4{uri}"), JSON, &body);
    let form = |uri: &str, body: &str| {
        call("POST", &format!("/api/v4{uri}"), "application/x-www-form-urlencoded", &body.into())
    };
    let status = json!({"state": "pending", "name": "branchline/iris", "description": "x",
                        "target_url": "https://h/p", "pipeline_id": 1, "coverage": 0.5});
    let commit = json!({"branch": "more", "start_branch": "main", "commit_message": "m", "actions": [
        {"action": "create", "file_path": "a/b.txt", "content": "eA==", "encoding": "base64"},
        {"action": "delete", "file_path": "README.md"}]});
    vec![
        json!([
            of("POST", "/projects/1/statuses/SHA", status),
            of(
                "GET",
                "/projects/ml%2Firis/repository/commits/SHA/statuses?all=true&per_page=1&page=2",
                Value::Null
            ),
            of("GET", "/projects/1/pipelines?sha=SHA&order_by=id&sort=asc", Value::Null),
        ]),
        json!([
            form("/projects/1/merge_requests/1/notes", "body=%E2%9C%93+x&a[]=1&a[]=2"),
            of(
                "GET",
                "/projects/1/merge_requests/1/notes?order_by=created_at&sort=asc&page=1",
                Value::Null
            ),
            of("PUT", "/projects/1/merge_requests/1/notes/1", json!({"body": "y"})),
            of(
                "PUT",
                "/projects/1/merge_requests/1",
                json!({"state_event": "close", "title": "t"})
            ),
        ]),
        json!([
            of("POST", "/projects/1/repository/commits", commit),
            of("GET", "/projects/1/repository/files/README.md/raw?ref=main", Value::Null),
            of(
                "POST",
                "/projects/1/merge_requests",
                json!({"source_branch": "more", "target_branch": "main", "title": "Try", "labels": ["a"]})
            ),
            of("GET", "/projects/1/repository/commits/SHA/merge_requests", Value::Null),
            of("POST", "/projects", json!({"name": "new", "path": "new", "namespace_path": "ml"})),
            of("GET", "/users?username=root&search=r", Value::Null),
        ]),
    ]
});

/// The training specs as a create call has them, with nothing left to fill in.
static BODIES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let filled = |it: &Value| it.to_string().replace("{{ output }}", "gs://o/run/");
    TRAININGS.iter().map(|it| serde_json::from_str(&filled(it)).unwrap()).collect()
});

const QUERIES: [&str; 6] = [
    "filter=labels.branchline-run=\"iris\"%20AND%20NOT%20(state%3DJOB_STATE_FAILED)",
    "filter=display_name:*iris*%20OR%20create_time>%222026-01-31T12:00:00Z%22",
    "filter=-state!=JOB_STATE_SUCCEEDED%20endTime<=2026-01-31T12:00:00Z",
    "pageSize=1&pageToken=WyIyMDI2IiwiYSJd&readMask=name,state",
    "orderBy=create_time%20desc&readMask=*",
    "filter=((((state:*))))&pageSize=-1",
];

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
    static VERTEX: OnceCell<(TempDir, Router)> = const { OnceCell::new() };
}

fn pubsub(bytes: &[u8], _: &mut Rng) -> bool {
    let pubsub = PubSub::open(None, Dice::default()).unwrap();
    // A pull that finds nothing does not wait.
    pubsub.shutdown();
    pubsub.create_topic("projects/p/topics/ready").unwrap();
    answers(&pubsub.router(), bytes, "", "")
}

fn storage(bytes: &[u8], _: &mut Rng) -> bool {
    let storage = Storage::open(None).unwrap();
    storage.create_bucket("bucket").unwrap();
    answers(&storage.router(), bytes, "", "")
}

fn gitlab(bytes: &[u8], _: &mut Rng) -> bool {
    let gitlab = GitLab::open(None).unwrap();
    let project = gitlab.create_project("ml/iris", "main", &[("README.md", b"iris")]).unwrap();
    let sha = gitlab.commit(project, "try", "Try", &[("a", b"b")]).unwrap();
    gitlab.open_merge_request(project, "try", "main", "Try").unwrap();
    gitlab.start_pipeline(project, Trigger::Push("try"), "train").unwrap();
    answers(&gitlab.router(), bytes, &gitlab.token(), &sha)
}

/// Sends the requests one after the other. None may find a fault of the server's.
fn answers(router: &Router, bytes: &[u8], token: &str, sha: &str) -> bool {
    let Ok(Value::Array(calls)) = serde_json::from_slice(bytes) else { return false };
    let requests = calls.iter().take(8).map(|it| request(it, token, sha));
    let statuses: Vec<_> =
        requests.map_while(|it| it).map(|it| (it.uri().to_string(), send(router, it))).collect();
    for (uri, status) in &statuses {
        assert!(!status.is_server_error() || *status == 501, "{uri}: {status}");
    }
    statuses.len() == calls.len() && statuses.iter().all(|(_, it)| it.is_success())
}

fn request(call: &Value, token: &str, sha: &str) -> Option<Request<Body>> {
    let text = |key: &str| Some(call.get(key)?.as_str()?.replace("SHA", sha));
    let body = match call.get("body") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(json) => json.to_string(),
    };
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = text("method")?.parse::<Method>().ok()?;
    *request.uri_mut() = text("uri")?.parse::<Uri>().ok()?;
    request.headers_mut().insert("private-token", HeaderValue::from_str(token).ok()?);
    for (name, value) in call.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let value = HeaderValue::from_str(value.as_str()?).ok()?;
        request.headers_mut().insert(HeaderName::try_from(name).ok()?, value);
    }
    Some(request)
}

fn send(router: &Router, request: Request<Body>) -> StatusCode {
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let response = router.clone().oneshot(request).await.unwrap();
            let status = response.status();
            to_bytes(response.into_body(), 16 << 20).await.unwrap();
            status
        })
    })
}

/// Lists jobs that ended long ago.
fn vertex_list(bytes: &[u8], rng: &mut Rng) -> bool {
    let query = std::str::from_utf8(bytes).unwrap().replace(' ', "%20");
    let kinds = ["customJobs", "pipelineJobs", "hyperparameterTuningJobs", "trainingPipelines"];
    let kind = kinds[rng.usize(..kinds.len())];
    let uri = format!("/v1/projects/1/locations/europe-west4/{kind}?{query}");
    let Ok(uri) = uri.parse::<Uri>() else { return false };
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = uri;
    let router = VERTEX.with(|it| it.get_or_init(open).1.clone());
    let status = send(&router, request);
    assert!(!status.is_server_error(), "{status}");
    status.is_success()
}

fn open() -> (TempDir, Router) {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("jobs")).unwrap();
    for (kind, state) in [("customJobs", "JOB_STATE"), ("pipelineJobs", "PIPELINE_STATE")] {
        for id in 1..=3 {
            let job = json!({
                "name": format!("projects/1/locations/europe-west4/{kind}/{id}"),
                "displayName": "iris", "state": format!("{state}_SUCCEEDED"),
                "labels": {"branchline-run": "iris"},
                "createTime": format!("2026-11-23T03:04:0{id}.000000Z"),
            });
            let path = directory.path().join(format!("jobs/{kind}-{id}.json"));
            fs::write(path, job.to_string()).unwrap();
        }
    }
    let vertex = RUNTIME.with(|runtime| {
        let _within = runtime.enter();
        Vertex::open(Some(directory.path()), Storage::open(None).unwrap(), Dice::default()).unwrap()
    });
    (directory, vertex.router())
}

fn vertex_body(bytes: &[u8], _: &mut Rng) -> bool {
    let Ok(Value::Object(training)) = serde_json::from_slice(bytes) else { return false };
    let Some((kind, body)) = training.iter().next() else { return false };
    let collection = match kind.as_str() {
        "pipeline_job" => "pipelineJobs",
        "hyperparameter_tuning_job" => "hyperparameterTuningJobs",
        "training_pipeline" => "trainingPipelines",
        _ => "customJobs",
    };
    vertex::fuzz::accepts(collection, body.to_string().as_bytes())
}
