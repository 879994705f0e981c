//! What is written when GitLab refuses, over the wire of a GitLab that does.

use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Router, body};
use branchline_gitlab::StatusState;
use secrecy::SecretString;
use tokio::net::TcpListener;

use super::*;
use crate::testing::{history, running};

const ROW: &str = r#"{"id":1,"status":"running","description":null,"target_url":null,"pipeline_id":30,"author":{"id":9}}"#;

/// Reports that a run runs; tells the bodies of the posts and how it ended.
async fn check(
    rows: impl Fn(usize) -> String + Clone + Send + Sync + 'static,
    post: impl Fn(&str) -> (u16, &'static str) + Clone + Send + Sync + 'static,
) -> (Vec<String>, Result<(), Class>) {
    let posts = Arc::new(Mutex::new(Vec::new()));
    let seen = posts.clone();
    let answer = async move |request: Request| -> Response {
        if request.method() == Method::GET {
            let statuses = request.uri().path().ends_with("/statuses");
            let posts = seen.lock().unwrap().len();
            return if statuses { rows(posts) } else { "[]".to_owned() }.into_response();
        }
        let body = body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let (status, text) = post(&body);
        seen.lock().unwrap().push(body);
        (StatusCode::from_u16(status).unwrap(), text).into_response()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer);
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let client = Client::new(&address, SecretString::from("token")).unwrap();
    let run = history(running()).run;
    let status = NewStatus {
        name: "branchline/churn".to_owned(),
        state: StatusState::Running,
        description: "training".to_owned(),
        target_url: None,
        pipeline_id: Some(30),
    };
    let wanted = Wanted { status, note: String::new() };
    let outcome = report(&client, 9, &run, &wanted).await.map_err(|it| it.class());
    server.abort();
    let posts = posts.lock().unwrap().clone();
    (posts, outcome)
}

const REFUSED: (u16, &str) =
    (400, r#"{"message":"Cannot transition status via :run from :running"}"#);

#[tokio::test]
async fn a_refusal_of_what_stands_there_by_now_is_absorbed() {
    let rows = |posts| if posts == 0 { "[]".to_owned() } else { format!("[{ROW}]") };
    let (posts, outcome) = check(rows, |_| REFUSED).await;
    assert_eq!((posts.len(), outcome), (1, Ok(())));
}

#[tokio::test]
async fn a_refusal_of_what_does_not_stand_there_is_an_error() {
    let (posts, outcome) = check(|_| "[]".to_owned(), |_| REFUSED).await;
    assert_eq!((posts.len(), outcome), (1, Err(Class::Refused)));
}

#[tokio::test]
async fn a_pipeline_that_gitlab_does_not_find_is_left_out() {
    let post = |body: &str| {
        if body.contains("pipeline_id") {
            (404, r#"{"message":"404 Pipeline for pipeline_id, sha and ref Not Found"}"#)
        } else {
            (201, ROW)
        }
    };
    let (posts, outcome) = check(|_| "[]".to_owned(), post).await;
    assert_eq!((posts.len(), outcome), (2, Ok(())));
    assert!(posts.iter().all(|it| !it.contains("\"ref\"")));
}
