//! The door against a GitLab that answers as it is told.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use branchline_contract::CommitSha;
use branchline_gitlab::{Class, Client, Error, NewStatus, Rest, StatusState, Trace};
use secrecy::SecretString;
use tokio::net::TcpListener;

const STATUS: &str = r#"{"id":1,"status":"running","description":null,"target_url":null,"pipeline_id":3,"author":{"id":9}}"#;
const TOKEN: &str = "glpat-secret";

/// Answers requests from a script, with its last answer again and again.
#[derive(Clone, Default)]
struct GitLab {
    script: Arc<Mutex<VecDeque<Answer>>>,
    seen: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Answer {
    status: u16,
    header: Option<(&'static str, String)>,
    body: Bytes,
}

fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    Answer { status, header: None, body: body.into() }
}

impl Answer {
    fn with(self, name: &'static str, value: &str) -> Self {
        Self { header: Some((name, value.to_owned())), ..self }
    }
}

impl GitLab {
    async fn start(script: impl IntoIterator<Item = Answer>) -> (Self, Client) {
        let gitlab = Self::default();
        gitlab.script.lock().unwrap().extend(script);
        let address = serve(gitlab.router()).await;
        (gitlab, client(&address))
    }

    fn router(&self) -> Router {
        let gitlab = self.clone();
        Router::new().fallback(async move |request: Request| gitlab.next(&request))
    }

    fn next(&self, request: &Request) -> Response {
        let authorization = request.headers().get(header::AUTHORIZATION);
        assert_eq!(authorization.unwrap().to_str().unwrap(), format!("Bearer {TOKEN}"));
        let line = format!("{} {}", request.method(), request.uri());
        self.seen.lock().unwrap().push(line);
        let mut script = self.script.lock().unwrap();
        let answer = script.front().cloned().unwrap();
        if script.len() > 1 {
            script.pop_front();
        }
        let status = StatusCode::from_u16(answer.status).unwrap();
        let mut response = (status, answer.body).into_response();
        if let Some((name, value)) = answer.header {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}

fn client(address: &str) -> Client {
    Client::new(address, SecretString::from(TOKEN)).unwrap()
}

fn sha() -> CommitSha {
    CommitSha::parse("0123456789abcdef0123456789abcdef01234567").unwrap()
}

async fn set_status(client: &Client) -> Result<(), Error> {
    let status = NewStatus {
        name: "branchline/churn".to_owned(),
        state: StatusState::Running,
        description: "training".to_owned(),
        target_url: None,
        pipeline_id: Some(3),
    };
    client.set_commit_status(7, &sha(), &status).await.map(drop)
}

#[tokio::test]
async fn a_rate_limit_and_a_lock_are_waited_out_even_by_a_creation() {
    let (gitlab, client) = GitLab::start([
        answer(429, "Retry later\n").with("retry-after", "0"),
        answer(409, r#"{"message":"Another update to this commit status is in progress"}"#),
        answer(201, STATUS),
    ])
    .await;
    set_status(&client).await.unwrap();
    assert_eq!(gitlab.seen(), vec![format!("POST /api/v4/projects/7/statuses/{}", sha()); 3]);
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_the_callers_affair() {
    let (gitlab, client) = GitLab::start([answer(429, "").with("retry-after", "3600")]).await;
    let error = set_status(&client).await.unwrap_err();
    assert_eq!((error.class(), gitlab.seen().len()), (Class::Transient, 1));
}

#[tokio::test]
async fn a_read_is_repeated_a_bounded_number_of_times() {
    let (gitlab, client) = GitLab::start([answer(502, "<html>bad gateway")]).await;
    let error = client.current_user().await.unwrap_err();
    assert_eq!(error.to_string(), "GitLab answered 502 (read the current user): <html>bad gateway");
    assert_eq!((error.class(), gitlab.seen().len()), (Class::Transient, 5));
}

#[tokio::test]
async fn a_creation_that_may_have_happened_is_not_repeated() {
    let (gitlab, client) = GitLab::start([answer(503, "")]).await;
    let error = client.create_note(7, 1, "text").await.unwrap_err();
    assert_eq!((error.class(), gitlab.seen().len()), (Class::Transient, 1));
}

#[tokio::test]
async fn nobody_listening_is_transient() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = set_status(&client(&address)).await.unwrap_err();
    assert_eq!(error.class(), Class::Transient);
}

#[tokio::test]
async fn the_token_goes_to_no_other_host() {
    let elsewhere = GitLab::default();
    elsewhere.script.lock().unwrap().push_back(answer(200, r#"{"id":1}"#));
    let address = serve(elsewhere.router()).await;
    let (_, client) = GitLab::start([answer(302, "").with("location", &address)]).await;
    let error = client.current_user().await.unwrap_err();
    assert_eq!((error.class(), elsewhere.seen().len()), (Class::Refused, 0));
    assert!(!format!("{client:?}{error:?}").contains(TOKEN));
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let endless = || async {
        let chunk = Bytes::from(vec![b' '; 1 << 20]);
        let chunks = futures::stream::repeat(Ok::<_, Infallible>(chunk));
        Body::from_stream(chunks).into_response()
    };
    let address = serve(Router::new().fallback(endless)).await;
    let error = client(&address).current_user().await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn a_note_is_looked_for_on_every_page_and_not_for_ever() {
    let note = |id: u64| format!(r#"[{{"id":{id},"body":"b","author":{{"id":9}}}}]"#);
    let script = [
        answer(200, "[]").with("x-next-page", "2"),
        answer(200, note(1)).with("x-next-page", "3"),
        answer(200, note(2)).with("x-next-page", ""),
    ];
    let (gitlab, client) = GitLab::start(script.clone()).await;
    let found = client.find_note(7, 4, |it| it.id == 2).await.unwrap();
    assert_eq!(found.unwrap().id, 2);
    let last_page = gitlab.seen().pop().unwrap();
    assert!(last_page.ends_with("per_page=100&page=3"), "{last_page}");

    let (_, client) = GitLab::start(script).await;
    assert_eq!(client.find_note(7, 4, |_| false).await.unwrap(), None);

    let (gitlab, client) = GitLab::start([answer(200, "[]").with("x-next-page", "2")]).await;
    let error = client.find_note(7, 4, |_| true).await.unwrap_err();
    assert!(matches!(error, Error::TooMany { .. }), "{error}");
    assert_eq!(gitlab.seen().len(), 50);
}

#[tokio::test]
async fn a_log_is_read_in_parts_where_gitlab_gives_parts_and_else_as_a_whole() {
    let script = [
        answer(206, "one\n").with("content-range", "bytes 0-3/8"),
        answer(206, "two\n").with("content-range", "bytes 4-7/8"),
        answer(206, "two\n").with("content-range", "bytes 4-7/*"),
        answer(416, "").with("content-range", "bytes */8"),
        answer(200, "one\ntwo\nthree\n"),
    ];
    let (gitlab, client) = GitLab::start(script).await;
    for (asked, from, text, rest) in [
        (0, 0, "one\n", Rest::More),
        (4, 4, "two\n", Rest::Nothing),
        (4, 4, "two\n", Rest::More),
        (8, 8, "", Rest::Nothing),
        (8, 0, "one\ntwo\nthree\n", Rest::Nothing),
    ] {
        let trace = client.trace(7, 70, asked).await.unwrap();
        assert_eq!(trace, Trace { from, bytes: text.into(), rest });
    }
    assert_eq!(gitlab.seen(), vec!["GET /api/v4/projects/7/jobs/70/trace"; 5]);
}

#[tokio::test]
async fn a_log_that_is_too_large_keeps_its_beginning_where_gitlab_gives_no_parts() {
    let (_, client) = GitLab::start([answer(200, vec![b'x'; 40 << 20])]).await;
    let trace = client.trace(7, 70, 0).await.unwrap();
    assert_eq!((trace.from, trace.bytes.len(), trace.rest), (0, 32 << 20, Rest::Unreadable));
}

#[tokio::test]
async fn a_job_tells_when_it_ran() {
    let told = r#"{"id":70,"status":"running","started_at":"2026-11-26T12:00:00.000Z","finished_at":null}"#;
    let (_, client) = GitLab::start([answer(200, told)]).await;
    let job = client.job(7, 70).await.unwrap();
    assert_eq!((job.status.as_str(), job.finished_at), ("running", None));
    assert_eq!(job.started_at.unwrap().to_string(), "2026-11-26T12:00:00Z");
}

#[test]
fn an_address_that_is_not_gitlabs_is_refused() {
    for address in ["gitlab.example.com", "ftp://gitlab.example.com", "", "file:///etc"] {
        let refused = Client::new(address, SecretString::from(TOKEN));
        assert!(matches!(refused, Err(Error::Address(_))), "{address}");
    }
    let refused =
        Client::new("https://oauth2:secret@gitlab.example.com", SecretString::from(TOKEN));
    assert!(matches!(refused, Err(Error::User)));
    assert!(!format!("{:?}", refused.unwrap_err()).contains("secret"));
}
