//! REST API v4, and what is public beside it: the routes, who is calling, and the answers that
//! all routes share.

mod approvals;
mod commits;
mod members;
mod merge_requests;
mod notes;
mod openid;
mod page;
mod params;
mod pipelines;
mod projects;
mod rate_limit;
mod statuses;
mod users;

use std::sync::MutexGuard;

use axum::extract::{DefaultBodyLimit, FromRequestParts, Request, State as Shared};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};

pub(super) use self::rate_limit::RateLimit;

use super::GitLab;
use super::error::{Error, FORBIDDEN};
use super::state::State;
use super::user::{AccessLevel, User};

/// The largest request body: a note of a million characters, form-encoded.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

type Answer = Result<Response, Error>;

pub(super) fn router(gitlab: GitLab) -> Router {
    let repository = Router::new()
        .route("/branches", get(projects::branches))
        .route("/branches/{branch}", get(projects::branch))
        .route("/commits", get(commits::list).post(commits::create))
        .route("/commits/{sha}", get(commits::one))
        .route("/commits/{sha}/merge_requests", get(commits::merge_requests))
        .route("/commits/{sha}/statuses", get(statuses::list))
        .route("/files/{path}/raw", get(commits::raw_file));
    let note = get(notes::one).put(notes::edit).delete(notes::delete);
    let merge_requests = Router::new()
        .route("/", get(merge_requests::list).post(merge_requests::create))
        .route("/{iid}", get(merge_requests::one).put(merge_requests::edit))
        .route("/{iid}/merge", put(merge_requests::merge))
        .route("/{iid}/approve", post(approvals::approve))
        .route("/{iid}/approvals", get(approvals::list))
        .route("/{iid}/versions", get(approvals::versions))
        .route("/{iid}/pipelines", get(pipelines::of_merge_request))
        .route("/{iid}/notes", get(notes::list).post(notes::create))
        .route("/{iid}/notes/{note}", note);
    let project = Router::new()
        .route("/", get(projects::one))
        .route("/members", post(members::create))
        .route("/members/{user}", put(members::edit))
        .route("/statuses/{sha}", post(statuses::create))
        .route("/pipelines", get(pipelines::list))
        .route("/pipelines/{pipeline}", get(pipelines::one))
        .route("/pipelines/{pipeline}/jobs", get(pipelines::jobs))
        .route("/jobs/{job}", get(pipelines::job))
        .route("/jobs/{job}/trace", get(pipelines::trace))
        .nest("/repository", repository)
        .nest("/merge_requests", merge_requests);
    let api = Router::new()
        .route("/version", get(users::version))
        .route("/user", get(users::current))
        .route("/personal_access_tokens/self", get(users::token))
        .route("/users", get(users::list))
        .route("/users/{user}", get(users::one))
        .route("/projects", get(projects::list).post(projects::create))
        .nest("/projects/{project}", project)
        .layer(from_fn_with_state(gitlab.clone(), authenticate));
    Router::new()
        .nest("/api/v4", api)
        .route("/.well-known/openid-configuration", get(openid::configuration))
        .route("/oauth/discovery/keys", get(openid::keys))
        .fallback(|| async { (StatusCode::NOT_FOUND, Json(json!({"error": "404 Not Found"}))) })
        .method_not_allowed_fallback(|| async {
            (StatusCode::METHOD_NOT_ALLOWED, Json(json!({"error": "405 Not Allowed"})))
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(gitlab)
}

/// Knows the caller by the token, and counts the request against the limit.
async fn authenticate(
    Shared(gitlab): Shared<GitLab>,
    mut request: Request,
    next: Next,
) -> Response {
    let user = token(request.headers()).and_then(|it| gitlab.lock().user_by_token(it).cloned());
    let Some(user) = user else {
        return Error::Unauthorized.into_response();
    };
    let verdict = gitlab.lock_rate_limit().count(user.id);
    let mut response = if verdict.exceeded() {
        (StatusCode::TOO_MANY_REQUESTS, "Retry later\n").into_response()
    } else if !covers(&user.scopes, request.method()) {
        let needs = json!({"error": "insufficient_scope", "scope": "api",
            "error_description": "The request requires higher privileges than provided by the access token."});
        (StatusCode::FORBIDDEN, Json(needs)).into_response()
    } else {
        request.extensions_mut().insert(user);
        next.run(request).await
    };
    verdict.write(response.headers_mut());
    response
}

/// Whether a token of these scopes is for such requests.
fn covers(scopes: &[String], method: &Method) -> bool {
    let has = |scope: &str| scopes.iter().any(|it| it == scope);
    has("api") || method == Method::GET && has("read_api")
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|it| it.to_str().ok());
    let bearer = || text(header::AUTHORIZATION.as_str())?.strip_prefix("Bearer ");
    text("private-token").or_else(bearer)
}

/// The instance as one caller sees it.
struct Api {
    gitlab: GitLab,
    user: User,
}

impl Api {
    fn state(&self) -> MutexGuard<'_, State> {
        self.gitlab.lock()
    }

    fn require(&self, level: AccessLevel) -> Result<(), Error> {
        if self.user.access_level >= level { Ok(()) } else { Err(FORBIDDEN) }
    }
}

impl FromRequestParts<GitLab> for Api {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, gitlab: &GitLab) -> Result<Self, Error> {
        let user = parts.extensions.get::<User>().cloned().ok_or(Error::Unauthorized)?;
        Ok(Self { gitlab: gitlab.clone(), user })
    }
}

/// An id in a path.
fn id(text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| Error::Parameter("id is invalid".to_owned()))
}

#[expect(clippy::unnecessary_wraps, reason = "it is the last line of a handler")]
fn ok(body: Value) -> Answer {
    Ok(Json(body).into_response())
}

#[expect(clippy::unnecessary_wraps, reason = "it is the last line of a handler")]
fn created(body: Value) -> Answer {
    Ok((StatusCode::CREATED, Json(body)).into_response())
}
