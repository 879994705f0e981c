//! Lists over the HTTP router.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Entry, Logging, Payload};

const PROJECT: &str = "4711";

fn write(logging: &Logging, job: &str, severity: &'static str, text: &str) {
    let payload = Payload::Text(text.to_owned());
    let entry = Entry::new(PROJECT, "workerpool0-0", severity, payload);
    logging.write(entry.of("ml_job", [("job_id", job.to_owned())]));
}

/// Three lines of one job and one of another.
fn written() -> Logging {
    let logging = Logging::default();
    write(&logging, "1", "INFO", "Epoch one");
    write(&logging, "2", "INFO", "other");
    write(&logging, "1", "ERROR", "warning: two");
    write(&logging, "1", "INFO", "epoch three");
    let payload = Payload::Json(json!({"state": "RUNNING", "task": {"name": "train"}}));
    logging.write(Entry::new("4712", "events", "INFO", payload));
    logging
}

async fn list(logging: &Logging, body: Value) -> (u16, Value) {
    let request = Request::post("/v2/entries:list").body(Body::from(body.to_string())).unwrap();
    let response = logging.router().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap())
}

fn texts(page: &Value) -> Vec<&str> {
    let entries = page["entries"].as_array().into_iter().flatten();
    entries.map(|it| it["textPayload"].as_str().unwrap_or("-")).collect()
}

#[tokio::test]
async fn a_filter_finds_what_it_names() {
    let logging = written();
    let (one, two, three, other) = ("Epoch one", "warning: two", "epoch three", "other");
    let cases: [(&str, &[&str]); 14] = [
        ("", &[one, other, two, three]),
        (r#"resource.type="ml_job" AND resource.labels.job_id="1""#, &[one, two, three]),
        (r#"resource.type = "ML_JOB" resource.labels.job_id=2"#, &[other]),
        (r#"resource.labels.job_id=("2" OR "3")"#, &[other]),
        (r#"resource.labels.job_id="2" OR resource.labels.job_id="1" AND severity>=ERROR"#, &[two]),
        (r#"NOT severity<"error""#, &[two]),
        (r"-severity=INFO", &[two]),
        (r"textPayload:EPOCH", &[one, three]),
        (r#"textPayload="epoch ONE""#, &[one]),
        (r#"(textPayload:"warning: ")"#, &[two]),
        (r#"timestamp>="2020-01-01T00:00:00Z" receiveTimestamp<"2020-01-01T00:00:00Z""#, &[]),
        (r#"logName="projects/4711/logs/workerpool0-0" severity!=INFO"#, &[two]),
        (r#"labels.none="x""#, &[]),
        (r#"jsonPayload.state="RUNNING""#, &[]),
    ];
    for (filter, expected) in cases {
        let body = json!({"resourceNames": ["projects/4711"], "filter": filter});
        let (status, page) = list(&logging, body).await;
        assert_eq!((status, texts(&page).as_slice()), (200, expected), "{filter}: {page}");
    }
    let filter = r#"jsonPayload.task.name="train""#;
    let body = json!({"resourceNames": ["projects/4712"], "filter": filter});
    assert_eq!(texts(&list(&logging, body).await.1), ["-"]);
}

#[tokio::test]
async fn what_is_not_known_is_refused() {
    let deep = "(".repeat(99);
    let cases = [
        ("words", "any field"),
        (r#""words""#, "'words' was not expected"),
        (r#"textPayload=~"a.*""#, "regular expressions"),
        (r#"nothing="x""#, "the field 'nothing' is not known"),
        (r#"resource.labels.="x""#, "is not known"),
        (r"severity>=LOUD", "'LOUD' is no value of severity"),
        (r#"timestamp>="now""#, "'now' is no value of timestamp"),
        (r#"textPayload=""#, "a quotation mark is not closed"),
        ("severity=", "the end was not expected"),
        ("severity=INFO)", "')' was not expected"),
        (r#"severity=("INFO" AND "ERROR")"#, "'AND' was not expected"),
        (deep.as_str(), "nested too deeply"),
    ];
    let logging = written();
    for (filter, expected) in cases {
        let body = json!({"resourceNames": ["projects/4711"], "filter": filter});
        let (status, error) = list(&logging, body).await;
        let message = error["error"]["message"].as_str().unwrap();
        assert_eq!((status, &error["error"]["status"]), (400, &json!("INVALID_ARGUMENT")));
        assert!(message.contains(expected), "{filter}: {message}");
    }
    for body in [
        json!({}),
        json!({"resourceNames": ["organizations/1"]}),
        json!({"resourceNames": ["projects/p"], "orderBy": "severity"}),
        json!({"resourceNames": ["projects/p"], "pageSize": 1001}),
        json!({"resourceNames": ["projects/p"], "pageToken": "x"}),
        json!({"resourceNames": ["projects/p"], "filters": ""}),
    ] {
        assert_eq!(list(&logging, body.clone()).await.0, 400, "{body}");
    }
}

#[tokio::test]
async fn pages_follow_one_another_in_either_order() {
    let logging = written();
    for (order, expected) in [
        ("timestamp asc", ["Epoch one", "other", "warning: two", "epoch three"]),
        ("timestamp desc", ["epoch three", "warning: two", "other", "Epoch one"]),
    ] {
        let mut body = json!({"resourceNames": ["projects/4711"], "orderBy": order, "pageSize": 3});
        let (_, first) = list(&logging, body.clone()).await;
        body["pageToken"] = first["nextPageToken"].clone();
        let (_, second) = list(&logging, body).await;
        assert_eq!([texts(&first), texts(&second)].concat(), expected);
        assert_eq!(second.get("nextPageToken"), None);
    }
}

#[tokio::test]
async fn entries_come_late_and_by_another_clock_where_a_test_wants_it() {
    let logging = Logging::default();
    let body = json!({"resourceNames": ["projects/4711"]});
    logging.set_clock(SignedDuration::from_mins(5));
    logging.set_lag("late", Duration::from_millis(300));
    write(&logging, "1", "INFO", "late");
    write(&logging, "1", "INFO", "in time");
    assert_eq!(texts(&list(&logging, body.clone()).await.1), ["in time"]);
    let page = loop {
        let (_, page) = list(&logging, body.clone()).await;
        if texts(&page) == ["late", "in time"] {
            break page;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let time = |field: &str| page["entries"][0][field].as_str().unwrap().parse().unwrap();
    let (written, received): (jiff::Timestamp, jiff::Timestamp) =
        (time("timestamp"), time("receiveTimestamp"));
    let ahead = written.duration_since(received) + SignedDuration::from_millis(300);
    assert!(ahead == SignedDuration::from_mins(5), "{page}");
}
