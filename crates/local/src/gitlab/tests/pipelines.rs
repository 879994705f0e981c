//! Pipelines, CI jobs and what they find in their environment.

use axum::body::Body;
use axum::http::Request;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Fixture, column};
use crate::gitlab::{JobEnd, Trigger};

#[test]
fn a_job_finds_the_variables_of_its_kind_of_pipeline() {
    let fixture = Fixture::new();
    let Fixture { gitlab, project, feature, .. } = &fixture;
    gitlab.open_merge_request(*project, "feature", "main", "Feature").unwrap();
    gitlab.tag(*project, "v1", feature).unwrap();
    let names = [
        "CI_PIPELINE_SOURCE",
        "CI_COMMIT_REF_NAME",
        "CI_COMMIT_REF_PROTECTED",
        "CI_COMMIT_BRANCH",
        "CI_COMMIT_TAG",
        "CI_MERGE_REQUEST_REF_PATH",
    ];
    let (push, merge_request) = ("push", "merge_request_event");
    let head = "refs/merge-requests/1/head";
    let cases = [
        (Trigger::Push("feature"), [push, "feature", "false", "feature", "-", "-"]),
        (Trigger::Push("main"), [push, "main", "true", "main", "-", "-"]),
        (Trigger::Tag("v1"), [push, "v1", "false", "-", "v1", "-"]),
        (Trigger::MergeRequest(1), [merge_request, "feature", "false", "-", "-", head]),
    ];
    for (trigger, expected) in cases {
        let variables = gitlab.start_pipeline(*project, trigger, "train").unwrap().variables;
        let get = |name: &str| variables.get(name).map_or("-", String::as_str);
        assert_eq!(names.map(get), expected, "{trigger:?}");
        assert_eq!(get("CI_API_V4_URL"), "http://127.0.0.1:8929/api/v4");
        assert_eq!(get("CI_SERVER_FQDN"), "127.0.0.1:8929");
        assert_eq!(get("CI_SERVER_HOST"), "127.0.0.1");
        assert_eq!(get("CI_PROJECT_PATH"), "team/iris");
        assert_eq!(get("GITLAB_USER_LOGIN"), "root");
    }
}

#[tokio::test]
async fn a_job_ends_with_its_trace() {
    let fixture = Fixture::new();
    let Fixture { gitlab, project, .. } = &fixture;
    let job = gitlab.start_pipeline(*project, Trigger::Push("feature"), "train").unwrap();
    gitlab.finish_job(job.id, JobEnd::Failed, "it broke\n").unwrap();
    let trace = fixture.get(&format!("/jobs/{}/trace", job.id)).await;
    assert_eq!(trace.body, "it broke\n");
    let again = gitlab.retry_job(job.id).unwrap();
    let path = format!("/pipelines/{}/jobs", job.pipeline_id);
    assert_eq!(column(&fixture.get(&path).await, "status"), ["running"]);
    let all = fixture.get(&format!("{path}?include_retried=true&scope[]=failed")).await;
    assert_eq!(column(&all, "id"), [json!(job.id)]);
    assert_eq!(fixture.get(&format!("/jobs/{}", again.id)).await.body["name"], "train");
}

#[tokio::test]
async fn a_trace_grows_while_the_job_runs_and_is_read_on_from_a_byte() {
    let fixture = Fixture::new();
    let Fixture { gitlab, project, .. } = &fixture;
    gitlab.set_clock(SignedDuration::from_mins(-5));
    let job = gitlab.start_pipeline(*project, Trigger::Push("feature"), "train").unwrap();
    gitlab.append_trace(job.id, "one\n").unwrap();
    gitlab.print(job.id, "two").unwrap();
    let path = format!("/jobs/{}/trace", job.id);
    let read = async |range: &'static str| {
        let request = Request::get(format!("/api/v4/projects/{project}{path}"));
        let reply = fixture.send(request.header("range", range), Body::empty()).await;
        let range = reply.headers.get("content-range").map(|it| it.to_str().unwrap().to_owned());
        (reply.status.as_u16(), range, reply.body.as_str().unwrap_or_default().to_owned())
    };
    let (status, range, text) = read("bytes=4-").await;
    assert_eq!((status, range.as_deref()), (206, Some("bytes 4-39/40")));
    let (time, line) = text.split_once(' ').unwrap();
    assert_eq!(line, "00O two\n");
    assert!(time.parse::<Timestamp>().unwrap() < Timestamp::now() - SignedDuration::from_mins(4));
    let (status, range, _) = read("bytes=40-").await;
    assert_eq!((status, range.as_deref()), (416, Some("bytes */40")));
    assert_eq!(read("lines=1-").await.0, 200);
    gitlab.finish_job(job.id, JobEnd::Success, "three\n").unwrap();
    assert_eq!(
        read("bytes=40-").await,
        (206, Some("bytes 40-45/46".to_owned()), "three\n".to_owned())
    );
    let started = fixture.get(&format!("/jobs/{}", job.id)).await.body["started_at"].clone();
    let started: Timestamp = started.as_str().unwrap().parse().unwrap();
    assert!(started < Timestamp::now() - SignedDuration::from_mins(4), "{started}");
}

#[tokio::test]
async fn an_external_status_is_no_job() {
    let fixture = Fixture::new();
    fixture.status("state=running").await;
    assert!(column(&fixture.get("/pipelines/1/jobs").await, "id").is_empty());
    assert_eq!(fixture.get("/jobs/1").await.body, json!({"message": "404 Job Not Found"}));
}

#[test]
fn a_checkout_holds_the_files_of_the_commit() {
    let Fixture { gitlab, project, main, .. } = &Fixture::new();
    let dir = tempfile::tempdir().unwrap();
    let files: [(&str, &[u8]); 2] = [("data/iris.csv", b"1,2"), ("b.txt", b"new")];
    let sha = gitlab.commit(*project, "feature", "Data", &files).unwrap();
    gitlab.checkout(*project, &sha, dir.path()).unwrap();
    let read = |path: &str| std::fs::read_to_string(dir.path().join(path)).unwrap();
    assert_eq!((read("a.txt"), read("b.txt")), ("one".into(), "new".into()));
    assert_eq!(read("data/iris.csv"), "1,2");
    let older = tempfile::tempdir().unwrap();
    gitlab.checkout(*project, main, older.path()).unwrap();
    assert!(!older.path().join("b.txt").exists());
}

#[test]
fn a_path_cannot_leave_the_repository() {
    let Fixture { gitlab, project, .. } = &Fixture::new();
    for path in ["../x", "/etc/x", "a//b", "a/../../x", ".git/config", ""] {
        assert!(gitlab.commit(*project, "feature", "Bad", &[(path, b"")]).is_err(), "{path}");
    }
}
