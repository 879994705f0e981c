//! The metadata server, by which a workload on Google Cloud learns who it is.

use std::collections::HashMap;

use axum::extract::{Path, Query, Request, State as Shared};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::principal::Principal;
use super::{Iam, LIFETIME_SECS};

const FLAVOR: &str = "metadata-flavor";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Whom one server speaks for.
#[derive(Clone)]
struct Server {
    iam: Iam,
    /// None is the account of the main port.
    account: Option<String>,
}

/// What is answered instead of the value.
type Missing = (StatusCode, &'static str);

impl Iam {
    /// Sets the account for which the main port is a metadata server. A server for one account
    /// alone is [`crate::stack::Stack::metadata_server`].
    pub fn set_metadata_account(&self, email: &str) {
        self.lock().metadata_account = Some(email.to_owned());
    }

    /// A metadata server for one account.
    pub(crate) fn metadata_router(&self, email: &str) -> Router {
        router(self, Some(email))
    }
}

pub(super) fn router(iam: &Iam, account: Option<&str>) -> Router {
    let own = "/computeMetadata/v1/instance/service-accounts/{account}";
    Router::new()
        .route("/", get("computeMetadata/\n"))
        .route("/computeMetadata/v1/", get("instance/\nproject/\nuniverse/\n"))
        .route("/computeMetadata/v1/universe/universe-domain", get("googleapis.com"))
        .route("/computeMetadata/v1/project/project-id", get(project_id))
        .route("/computeMetadata/v1/project/numeric-project-id", get(project_number))
        .route(&format!("{own}/"), get(info))
        .route(&format!("{own}/email"), get(email))
        .route(&format!("{own}/token"), get(token))
        .route(&format!("{own}/identity"), get(identity))
        .layer(from_fn(flavored))
        .with_state(Server { iam: iam.clone(), account: account.map(str::to_owned) })
}

/// Only a program that knows whom it asks sets this header: a page's script cannot.
async fn flavored(request: Request, next: Next) -> Response {
    let asked = request.headers().get(FLAVOR).is_some_and(|it| it == "Google");
    let mut response = if asked {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "Missing Metadata-Flavor:Google header.\n").into_response()
    };
    response.headers_mut().insert(FLAVOR, HeaderValue::from_static("Google"));
    response
}

impl Server {
    /// The account's e-mail, where a path means it.
    fn account(&self, named: &str) -> Result<String, Missing> {
        let own = self.account.clone().or_else(|| self.iam.lock().metadata_account.clone());
        let own = own.filter(|it| named == "default" || named == it);
        own.ok_or((StatusCode::NOT_FOUND, "There is no such service account.\n"))
    }

    /// Number and id of the account's project.
    fn project(&self) -> Result<(String, String), Missing> {
        let account = self.account("default");
        let state = self.iam.lock();
        let known = account.ok().and_then(|it| state.accounts.get(&it));
        let number = known.map(|it| &it.project).or(state.first_project.as_ref());
        let found = number.and_then(|it| Some((it.clone(), state.projects.get(it)?.id.clone())));
        found.ok_or((StatusCode::NOT_FOUND, "There is no project.\n"))
    }
}

async fn project_id(Shared(server): Shared<Server>) -> Result<String, Missing> {
    Ok(server.project()?.1)
}

async fn project_number(Shared(server): Shared<Server>) -> Result<String, Missing> {
    Ok(server.project()?.0)
}

/// What `?recursive=true` shows.
async fn info(
    Shared(server): Shared<Server>,
    Path(account): Path<String>,
) -> Result<Response, Missing> {
    let email = server.account(&account)?;
    let info = json!({"aliases": ["default"], "email": email, "scopes": [SCOPE]});
    Ok(Json(info).into_response())
}

async fn email(
    Shared(server): Shared<Server>,
    Path(account): Path<String>,
) -> Result<String, Missing> {
    server.account(&account)
}

async fn token(
    Shared(server): Shared<Server>,
    Path(account): Path<String>,
) -> Result<Response, Missing> {
    let email = server.account(&account)?;
    let (token, _) = server.iam.lock().issue(Principal::Account(email), LIFETIME_SECS);
    // It was issued in a second of which some is over.
    let expires_in = LIFETIME_SECS - 1;
    let answer = json!({
        "access_token": token, "expires_in": expires_in, "token_type": "Bearer",
    });
    Ok(Json(answer).into_response())
}

async fn identity(
    Shared(server): Shared<Server>,
    Path(account): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<String, Missing> {
    let email = server.account(&account)?;
    let missing = (StatusCode::BAD_REQUEST, "non-empty audience parameter required\n");
    let audience = query.get("audience").filter(|it| !it.is_empty()).ok_or(missing)?;
    let with_email = query.get("format").is_some_and(|it| it == "full");
    let token = server.iam.account_id_token(&email, audience, with_email);
    token.map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "No token could be signed.\n"))
}
