//! IAM's service accounts: which there are.

use axum::Json;
use axum::extract::{Path, State as Shared};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::Iam;
use super::api::Answer;
use super::refusal::Refusal;
use super::resource::Resource;
use super::state::{Account, State, unique_id};
use crate::vertex::project_number;

impl Iam {
    /// Makes a service account, unless it is there, and returns its e-mail. The project is named
    /// by its id.
    pub fn create_service_account(&self, project: &str, id: &str) -> String {
        let email = format!("{id}@{project}.iam.gserviceaccount.com");
        let account = Account { project: project_number(project) };
        self.lock().accounts.insert(email.clone(), account);
        email
    }
}

impl State {
    /// A service account as the API shows it.
    fn account(&self, email: &str) -> Option<Value> {
        let project = &self.accounts.get(email)?.project;
        let project = self.projects.get(project).map_or(project, |it| &it.id);
        Some(json!({
            "name": format!("projects/{project}/serviceAccounts/{email}"),
            "projectId": project,
            "uniqueId": unique_id(email),
            "email": email,
            "oauth2ClientId": unique_id(email),
        }))
    }
}

/// `GET /v1/projects/P/serviceAccounts`, all on one page.
pub(super) async fn list(
    Shared(iam): Shared<Iam>,
    Path(project): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let on = Resource::project(&project);
    iam.caller(&headers)?.known()?.check("iam.serviceAccounts.list", &on)?;
    let (state, number) = (iam.lock(), project_number(&project));
    let ours = state.accounts.iter().filter(|(_, it)| it.project == number);
    let ours: Vec<Value> = ours.filter_map(|(email, _)| state.account(email)).collect();
    Ok(Json(if ours.is_empty() { json!({}) } else { json!({"accounts": ours}) }))
}

/// `GET /v1/projects/P/serviceAccounts/E`.
pub(super) async fn get(
    Shared(iam): Shared<Iam>,
    Path((_, email)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let on = Resource::account(&email);
    iam.caller(&headers)?.known()?.check("iam.serviceAccounts.get", &on)?;
    let account = iam.lock().account(&email);
    let missing = || Refusal::NotFound(format!("Unknown service account: {email}"));
    account.map(Json).ok_or_else(missing)
}
