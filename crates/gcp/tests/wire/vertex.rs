//! Vertex AI: one POST per create, and what its failures mean.

use super::{Answer, Server, json, page};
use branchline_contract::JobKind;
use branchline_gcp::vertex::{CreateJob, JobState, Jobs as _, Vertex};
use branchline_gcp::{Class, Config};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const TIME_MAX: Duration = Duration::from_secs(5);

fn create(body: &Value) -> CreateJob<'_> {
    CreateJob {
        kind: JobKind::CustomJob,
        project: "p",
        region: "europe-west4",
        body,
        pipeline_job_id: None,
        deadline: Instant::now() + TIME_MAX,
    }
}

async fn connect(config: &Config) -> Vertex {
    Vertex::connect(config).await.unwrap()
}

#[tokio::test]
async fn a_create_that_fails_is_one_post_and_known_to_be_definite_or_not() {
    let status = |code: u16, status: &str, text: &str| {
        json(code, &json!({"error": {"code": code, "status": status, "message": text}}))
    };
    let quota = "The following quota metrics exceed quota limits: aiplatform.googleapis.com/cpus";
    let act = "You do not have permission to act as service_account: s. (or it may not exist).";
    let cases = [
        (status(400, "INVALID_ARGUMENT", "bad machine type"), Class::Refused, true),
        (status(400, "INVALID_ARGUMENT", act), Class::Permission, true),
        (status(403, "PERMISSION_DENIED", "no"), Class::Permission, true),
        (status(404, "NOT_FOUND", "no such region"), Class::NotFound, true),
        (status(409, "ALREADY_EXISTS", "there"), Class::Conflict, true),
        (status(429, "RESOURCE_EXHAUSTED", quota), Class::Quota, true),
        (status(503, "UNAVAILABLE", "later"), Class::Transient, false),
        (page(502, "<html>bad gateway"), Class::Transient, false),
        (page(400, "<html>bad request"), Class::Refused, false),
        (json(200, &json!([])), Class::Transient, false),
        (Answer::Hangup, Class::Transient, false),
    ];
    for (answer, class, definite) in cases {
        let server = Server::start(vec![answer]).await;
        let body = json!({"displayName": "n"});
        let job = create(&body);
        let error = connect(&server.config()).await.create(job).await.unwrap_err();
        assert_eq!((error.class(), error.definite()), (class, definite), "{}", error.message());
        assert_eq!(error.to_string(), "creating custom job in projects/p/locations/europe-west4");
        assert_eq!(server.requests().len(), 1, "{}", error.message());
    }
}

#[tokio::test]
async fn the_pause_that_a_header_asks_for_is_heard() {
    let headers = "content-type: application/json\r\nretry-after: 7\r\n".to_owned();
    let error = json!({"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow"});
    let body = json!({"error": error}).to_string();
    let server = Server::start(vec![Answer::Http { status: 429, headers, body }]).await;
    let body = json!({});
    let created = connect(&server.config()).await.create(create(&body)).await;
    assert_eq!(created.unwrap_err().retry_after(), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_create_that_cannot_connect_is_not_repeated() {
    let config = Server::start(vec![Answer::Hangup]).await.config();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = Config { vertex_endpoint: Some(format!("http://{port}")), ..config };
    let (body, begun) = (json!({}), Instant::now());
    let error = connect(&config).await.create(create(&body)).await.unwrap_err();
    assert_eq!((error.class(), error.definite()), (Class::Transient, false));
    assert!(begun.elapsed() < TIME_MAX, "the SDK backs off by a second and more");
}

#[tokio::test]
async fn a_create_ends_at_its_deadline_and_stays_open() {
    let server = Server::start(vec![Answer::Silence]).await;
    let body = json!({});
    let deadline = Instant::now() + Duration::from_millis(300);
    let job = CreateJob { deadline, ..create(&body) };
    let begun = Instant::now();
    let error = connect(&server.config()).await.create(job).await.unwrap_err();
    assert!(begun.elapsed() < TIME_MAX);
    assert_eq!((error.class(), error.definite()), (Class::Transient, false));
    assert_eq!(error.message(), "no answer within 0.3 s");
    assert_eq!(server.requests().len(), 1);

    let job = CreateJob { deadline: Instant::now(), ..create(&body) };
    let error = connect(&server.config()).await.create(job).await.unwrap_err();
    assert_eq!((error.class(), error.definite()), (Class::Transient, false));
    assert_eq!(error.message(), "its time was over before it was sent");
    assert_eq!(server.requests().len(), 1, "nothing is sent behind the deadline");
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_anything_is() {
    let server = Server::start(vec![Answer::Hangup]).await;
    let vertex = connect(&server.config()).await;
    let good = json!({});
    let wrong = json!({"jobSpec": {"workerPoolSpecs": [{"diskSpec": 5}]}});
    let cases = [
        (create(&wrong), "jobSpec.workerPoolSpecs.0.diskSpec: "),
        (CreateJob { region: "evil.example/", ..create(&good) }, "`evil.example/` is not a region"),
        (CreateJob { project: "", ..create(&good) }, "`` is not a project id"),
        (
            CreateJob { pipeline_job_id: Some("id"), ..create(&good) },
            "only a pipeline job can be given an id",
        ),
    ];
    for (job, expected) in cases {
        let error = vertex.create(job).await.unwrap_err();
        assert!(error.message().starts_with(expected), "{}", error.message());
        assert_eq!((error.class(), error.definite()), (Class::Refused, true));
    }
    let error = vertex.get(JobKind::PipelineJob, "projects/p/locations/r/customJobs/1").await;
    assert_eq!(error.unwrap_err().class(), Class::Refused);
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn the_four_kinds_are_created_read_listed_and_cancelled_where_they_live() {
    for kind in JobKind::ALL {
        let collection = kind.collection();
        let name = format!("projects/p/locations/r/{collection}/7");
        let job = json!({"name": name, "displayName": "n", "labels": {"a": "b"}});
        let server = Server::start(vec![
            json(200, &job),
            json(200, &job),
            json(200, &json!({collection: [job, job], "nextPageToken": "t2"})),
            json(200, &json!({})),
        ])
        .await;
        let vertex = connect(&server.config()).await;
        vertex.warm_up("r").await.unwrap();
        let is_pipeline = kind == JobKind::PipelineJob;
        let body = json!({"displayName": "n", "labels": {"a": "b"}});
        let wanted = CreateJob {
            kind,
            region: "r",
            pipeline_job_id: is_pipeline.then_some("run-1"),
            ..create(&body)
        };

        let created = vertex.create(wanted).await.unwrap();
        assert_eq!((&created.name, created.kind), (&name, kind));
        assert_eq!(created.state, JobState::Unknown("UNSPECIFIED".to_owned()));
        assert_eq!(vertex.get(kind, &name).await.unwrap(), created);
        let page = vertex.list(kind, "p", "r", "labels.a=b", Some("t1".to_owned())).await.unwrap();
        assert_eq!((page.jobs.len(), page.next.as_deref()), (2, Some("t2")));
        vertex.cancel(kind, &name).await.unwrap();

        let requests = server.requests();
        assert_eq!(serde_json::from_str::<Value>(&requests[0].body).unwrap(), body);
        let parent = format!("/v1/projects/p/locations/r/{collection}");
        let starts = [
            format!("POST {parent}?"),
            format!("GET {parent}/7?"),
            format!("GET {parent}?"),
            format!("POST {parent}/7:cancel?"),
        ];
        assert_eq!(requests.len(), starts.len());
        for (request, start) in requests.iter().zip(&starts) {
            assert!(request.line.starts_with(start), "{start}: {}", request.line);
        }
        assert_eq!(requests[0].line.contains("pipelineJobId=run-1"), is_pipeline);
        assert!(requests[2].line.contains("filter=labels.a%3Db"), "{}", requests[2].line);
        assert!(requests[2].line.contains("pageToken=t1"), "{}", requests[2].line);
    }
}
