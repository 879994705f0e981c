//! How requests are read, who may make them, and what outlives a restart.

use axum::body::Body;
use axum::http::{Method, Request, header};
use serde_json::json;

use super::{Fixture, column, send};
use crate::gitlab::{AccessLevel, GitLab, JobEnd, Trigger};

#[tokio::test]
async fn a_form_a_json_body_and_a_query_are_the_same() {
    let fixture = Fixture::new();
    let uri = format!("/api/v4/projects/team%2Firis/statuses/{}", fixture.feature);
    let form = "state=success&description=a+b%26c%C3%A9&coverage=87.5";
    let json = json!({"state": "success", "description": "a b&cé", "coverage": 87.5});
    let cases = [
        (uri.clone(), "application/x-www-form-urlencoded", form.to_owned()),
        (uri.clone(), "application/json; charset=utf-8", json.to_string()),
        (format!("{uri}?{form}"), "text/plain", String::new()),
    ];
    for (uri, content_type, body) in cases {
        let request = Request::post(uri).header(header::CONTENT_TYPE, content_type);
        let reply = fixture.send(request, Body::from(body)).await;
        assert_eq!(reply.status, 201, "{content_type}: {}", reply.body);
        assert_eq!(reply.body["description"], "a b&cé", "{content_type}");
        assert_eq!(reply.body["coverage"], 87.5, "{content_type}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_or_no_json_is_refused() {
    let fixture = Fixture::new();
    let uri = format!("/api/v4/projects/1/statuses/{}", fixture.feature);
    for (size, expected) in [(17 * 1024 * 1024, 413), (10, 400)] {
        let request = Request::post(&uri).header(header::CONTENT_TYPE, "application/json");
        let reply = fixture.send(request, Body::from("x".repeat(size))).await;
        assert_eq!(reply.status, expected);
    }
    fixture.gitlab.open_merge_request(1, "feature", "main", "Feature").unwrap();
    for (length, expected) in [(1_000_000, 201), (1_000_001, 400)] {
        let request = Request::post("/api/v4/projects/1/merge_requests/1/notes")
            .header(header::CONTENT_TYPE, "application/json");
        let body = json!({"body": "é".repeat(length)}).to_string();
        assert_eq!(fixture.send(request, Body::from(body)).await.status, expected);
    }
}

#[tokio::test]
async fn only_a_known_token_is_let_in() {
    let Fixture { gitlab, token, .. } = &Fixture::new();
    let cases = [
        (None, 401),
        (Some(("PRIVATE-TOKEN", "glpat-other".to_owned())), 401),
        (Some(("PRIVATE-TOKEN", token.clone())), 200),
        (Some(("Authorization", format!("Bearer {token}"))), 200),
    ];
    for (given, expected) in cases {
        let mut request = Request::get("/api/v4/user");
        if let Some((name, value)) = &given {
            request = request.header(*name, value);
        }
        let reply = send(gitlab, request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status, expected, "{given:?}");
        if expected == 401 {
            assert_eq!(reply.body, json!({"message": "401 Unauthorized"}));
        }
    }
}

#[tokio::test]
async fn what_is_not_served_is_not_found() {
    let fixture = Fixture::new();
    let reply = fixture.get("/nonsense").await;
    assert_eq!((reply.status.as_u16(), reply.body), (404, json!({"error": "404 Not Found"})));
    let request = Request::get("/api/v4/projects/no%2Fsuch");
    let reply = fixture.send(request, Body::empty()).await;
    assert_eq!(reply.body, json!({"message": "404 Project Not Found"}));
}

#[tokio::test]
async fn the_rate_limit_is_told_and_kept() {
    let fixture = Fixture::new();
    fixture.gitlab.set_rate_limit(1);
    // A minute may turn between two requests, so more than two are made.
    let mut refused = None;
    for _ in 0..4 {
        let reply = fixture.get("").await;
        assert_eq!(reply.headers["ratelimit-limit"], "1");
        refused = Some(reply).filter(|it| it.status == 429).or(refused);
    }
    let refused = refused.expect("the limit was passed");
    assert_eq!(
        (refused.body.as_str(), &refused.headers["ratelimit-remaining"]),
        (Some("Retry later\n"), &"0".parse().unwrap())
    );
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(refused.headers["ratelimit-resettime"].to_str().unwrap().ends_with("GMT"));
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let before = GitLab::open(Some(dir.path())).unwrap();
    let project = before.create_project("team/iris", "main", &[("a.txt", b"\xff\x00")]).unwrap();
    let feature = before.commit(project, "feature", "Feature", &[("b.txt", b"two")]).unwrap();
    before.open_merge_request(project, "feature", "main", "Feature").unwrap();
    let job = before.start_pipeline(project, Trigger::MergeRequest(1), "train").unwrap();
    before.finish_job(job.id, JobEnd::Success, "done\n").unwrap();
    let token = before.token();
    // A write that was cut off leaves its temporary file.
    std::fs::write(dir.path().join("notes/7.new"), "{\"id\":").unwrap();
    drop(before);

    let gitlab = GitLab::open(Some(dir.path())).unwrap();
    assert_eq!(gitlab.token(), token);
    let fixture = Fixture { gitlab, token, project, main: String::new(), feature };
    assert_eq!(fixture.get("/jobs/1/trace").await.body, "done\n");
    assert_eq!(fixture.get("/merge_requests/1").await.body["sha"], json!(fixture.feature));
    assert_eq!(column(&fixture.get("/pipelines").await, "status"), ["success"]);
    let out = tempfile::tempdir().unwrap();
    fixture.gitlab.checkout(project, "main", out.path()).unwrap();
    assert_eq!(std::fs::read(out.path().join("a.txt")).unwrap(), b"\xff\x00");
}

#[tokio::test]
async fn a_member_is_added_once_and_given_another_role() {
    let fixture = Fixture::new();
    let stranger = fixture.as_user("stranger", AccessLevel::None);
    let id = fixture.gitlab.lock().user_by_token(&stranger.token).unwrap().id;
    let (add, edit) = (format!("/members?user_id={id}"), format!("/members/{id}?"));
    let cases = [
        (Method::PUT, format!("{edit}access_level=40"), 404),
        (Method::POST, format!("{add}&access_level=31"), 400),
        (Method::POST, format!("{add}&access_level=20"), 201),
        (Method::POST, format!("{add}&access_level=40"), 409),
        (Method::PUT, format!("{edit}access_level=40"), 200),
    ];
    assert_eq!(stranger.get("").await.status, 404);
    for (method, path, expected) in cases {
        let reply = fixture.call(method, &path).await;
        assert_eq!(reply.status, expected, "{path}: {}", reply.body);
    }
    let permissions = &stranger.get("").await.body["permissions"];
    assert_eq!(permissions["project_access"]["access_level"], 40);
    let other = fixture.as_user("other", AccessLevel::Developer);
    assert_eq!(other.call(Method::PUT, &format!("{edit}access_level=20")).await.status, 403);
}
