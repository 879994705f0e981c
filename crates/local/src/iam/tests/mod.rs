//! The identity side through its doors.

mod credentials;
mod exchange;
mod gate;
mod metadata;
mod permissions;
mod policies;
mod story;

use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Request};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Iam, Provider, Resource};
use crate::gitlab::{GitLab, Trigger};
use crate::signer::Signer;
use crate::stack::{Options, Stack};

const PROJECT: &str = "demo-project";
/// Its number, as everything here makes it up.
const NUMBER: &str = "102135903854";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

struct Reply {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{}", self.text))
    }

    /// Status and message of a refusal.
    fn refusal(&self) -> (u16, String) {
        (self.status, self.json()["error"]["message"].as_str().unwrap().to_owned())
    }
}

/// Sends a request with JSON, as the bearer of a token or nobody.
async fn send(iam: &Iam, token: &str, method: &str, path: &str, body: &Value) -> Reply {
    let mut request = Request::builder().method(method).uri(path);
    if !token.is_empty() {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let request = request.header(CONTENT_TYPE, "application/json").body(body).unwrap();
    raw(iam, request).await
}

async fn raw(iam: &Iam, request: Request<Body>) -> Reply {
    let response = iam.router().oneshot(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    Reply { status, headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
}

/// A stack where the local GitLab's tokens are taken by a pool.
struct Fixture {
    stack: Stack,
    job: u64,
    /// Of the provider.
    audience: String,
    /// What the members of bindings begin with after their kind.
    pool: String,
}

impl Fixture {
    async fn new() -> Self {
        Self::start(Options::default()).await
    }

    async fn start(options: Options) -> Self {
        let stack = Stack::start(options).await.unwrap();
        let (iam, gitlab) = (&stack.iam, &stack.gitlab);
        iam.create_project(PROJECT);
        let project = gitlab.create_project("team/iris", "main", &[("a.txt", b"one")]).unwrap();
        let job = gitlab.start_pipeline(project, Trigger::Push("main"), "train").unwrap().id;
        let pool = iam.create_pool(PROJECT, "gitlab");
        let it = Self { stack, job, audience: format!("{pool}/providers/ci"), pool };
        it.provide(it.provider());
        it
    }

    fn iam(&self) -> &Iam {
        &self.stack.iam
    }

    fn gitlab(&self) -> &GitLab {
        &self.stack.gitlab
    }

    fn issuer(&self) -> String {
        format!("http://{}", self.stack.endpoints().gitlab)
    }

    /// One that takes the GitLab's tokens.
    fn provider(&self) -> Provider {
        let mapping = [
            ("google.subject", "'gitlab-' + assertion.project_id"),
            ("attribute.ref_path", "assertion.ref_path"),
            ("attribute.ref_protected", "assertion.ref_protected"),
        ];
        let condition = Some("assertion.project_id in ['1', '2']".to_owned());
        Provider { condition, ..Provider::new(&self.issuer(), &mapping) }
    }

    fn provide(&self, provider: Provider) {
        let audience = self.iam().put_provider(PROJECT, "gitlab", "ci", provider).unwrap();
        assert_eq!(audience, self.audience);
    }

    fn signer(&self) -> Signer {
        self.gitlab().signer().unwrap()
    }

    /// A job's token for the provider.
    fn id_token(&self) -> String {
        self.gitlab().id_token(self.job, &self.audience).unwrap()
    }

    async fn exchange(&self, token: &str) -> Reply {
        let request = json!({
            "grantType": GRANT, "requestedTokenType": ACCESS_TOKEN, "subjectTokenType": JWT,
            "audience": self.audience, "scope": "https://www.googleapis.com/auth/cloud-platform",
            "subjectToken": token,
        });
        send(self.iam(), "", "POST", "/v1/token", &request).await
    }

    /// A federated access token.
    async fn token(&self) -> String {
        let reply = self.exchange(&self.id_token()).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()["access_token"].as_str().unwrap().to_owned()
    }
}
