//! GitLab's rules, through its API.

mod merge_requests;
mod openid;
mod pipelines;
mod requests;
mod statuses;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::Value;
use tower::Service;

use super::{AccessLevel, GitLab};

/// A GitLab in memory with one project, and a token to speak to it.
struct Fixture {
    gitlab: GitLab,
    token: String,
    /// The project `team/iris`, its protected `main` and its branch `feature`.
    project: u64,
    main: String,
    feature: String,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Fixture {
    fn new() -> Self {
        let gitlab = GitLab::open(None).unwrap();
        gitlab.set_external_url("http://127.0.0.1:8929/");
        let project = gitlab.create_project("team/iris", "main", &[("a.txt", b"one")]).unwrap();
        let feature = gitlab.commit(project, "feature", "Feature", &[("b.txt", b"two")]).unwrap();
        let main = gitlab.lock().resolve(project, "main").unwrap().sha.clone();
        Self { token: gitlab.token(), gitlab, project, main, feature }
    }

    fn as_user(&self, username: &str, level: AccessLevel) -> Self {
        let token = self.gitlab.create_user(username, level).unwrap();
        let (main, feature) = (self.main.clone(), self.feature.clone());
        Self { gitlab: self.gitlab.clone(), token, project: self.project, main, feature }
    }

    /// Calls `/projects/ID` + path, the parameters in the query of the path.
    async fn call(&self, method: Method, path: &str) -> Reply {
        let path = format!("/api/v4/projects/{}{path}", self.project);
        self.send(Request::builder().method(method).uri(path), Body::empty()).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path).await
    }

    async fn post(&self, path: &str) -> Reply {
        self.call(Method::POST, path).await
    }

    async fn send(&self, request: axum::http::request::Builder, body: Body) -> Reply {
        let request = request.header("PRIVATE-TOKEN", &self.token).body(body).unwrap();
        send(&self.gitlab, request).await
    }

    /// Posts a status on `feature` and returns the code with the message or state.
    async fn status(&self, query: &str) -> (u16, Value) {
        let reply = self.post(&format!("/statuses/{}?{query}", self.feature)).await;
        let field = if reply.status == StatusCode::CREATED { "status" } else { "message" };
        (reply.status.as_u16(), reply.body[field].clone())
    }
}

async fn send(gitlab: &GitLab, request: Request<Body>) -> Reply {
    let response = gitlab.router().call(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let json = headers.get(header::CONTENT_TYPE).is_some_and(|it| it == "application/json");
    let body = if json {
        serde_json::from_slice(&bytes).unwrap()
    } else {
        Value::String(String::from_utf8(bytes.to_vec()).unwrap())
    };
    Reply { status, headers, body }
}

/// The named field of each row.
fn column(reply: &Reply, field: &str) -> Vec<Value> {
    reply.body.as_array().unwrap().iter().map(|it| it[field].clone()).collect()
}
