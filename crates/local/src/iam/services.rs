//! Service Usage: which APIs are enabled in a project.

use axum::Json;
use axum::extract::{Path, State as Shared};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::Iam;
use super::api::{Answer, done, verb};
use super::refusal::Refusal;
use super::resource::Resource;
use crate::vertex::project_number;

/// The APIs that are known here. They are enabled until someone disables them.
const KNOWN: [&str; 9] = [
    "aiplatform.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "logging.googleapis.com",
    "pubsub.googleapis.com",
    "serviceusage.googleapis.com",
    "storage.googleapis.com",
    "sts.googleapis.com",
];

impl Iam {
    /// Disables an API (`pubsub.googleapis.com`) in a project.
    pub fn disable_api(&self, project: &str, api: &str) {
        self.create_project(project);
        if let Some(it) = self.lock().projects.get_mut(&project_number(project)) {
            it.disabled.insert(api.to_owned());
        }
    }

    /// Enables it again.
    pub fn enable_api(&self, project: &str, api: &str) {
        if let Some(it) = self.lock().projects.get_mut(&project_number(project)) {
            it.disabled.remove(api);
        }
    }

    fn service(&self, project: &str, api: &str) -> Result<Value, Refusal> {
        if !KNOWN.contains(&api) {
            return Err(Refusal::NotFound(format!("Service '{api}' is not known here.")));
        }
        let number = project_number(project);
        let disabled = self.lock().is_disabled(api, &number);
        Ok(json!({
            "name": format!("projects/{number}/services/{api}"),
            "config": {"name": api},
            "state": if disabled { "DISABLED" } else { "ENABLED" },
            "parent": format!("projects/{number}"),
        }))
    }
}

/// `GET /v1/projects/P/services/S`.
pub(super) async fn get(
    Shared(iam): Shared<Iam>,
    Path((project, api)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let on = Resource::Service(format!("projects/{project}/services/{api}"));
    iam.caller(&headers)?.known()?.check("serviceusage.services.get", &on)?;
    iam.service(&project, &api).map(Json)
}

/// `POST /v1/projects/P/services/S:enable` and `:disable`.
pub(super) async fn act(
    Shared(iam): Shared<Iam>,
    Path((project, api)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let (api, verb) = verb(&api);
    let on = Resource::Service(format!("projects/{project}/services/{api}"));
    if !matches!(verb, "enable" | "disable") {
        return Err(Refusal::NotFound("Method not found.".to_owned()));
    }
    iam.caller(&headers)?.known()?.check(&format!("serviceusage.services.{verb}"), &on)?;
    iam.service(&project, api)?;
    if verb == "enable" {
        iam.enable_api(&project, api);
    } else {
        iam.disable_api(&project, api);
    }
    Ok(Json(done(&json!({"service": iam.service(&project, api)?}))))
}
