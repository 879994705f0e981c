//! Cloud Resource Manager: projects and their policies.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State as Shared};
use axum::http::HeaderMap;
use jiff::Timestamp;
use serde_json::json;

use super::api::{Answer, json_of, policy_call, verb};
use super::refusal::Refusal;
use super::resource::Resource;
use super::state::Project;
use super::{Error, Iam};
use crate::vertex::project_number;

impl Iam {
    /// Makes a project, unless it is there, and returns its number. The first one has the buckets
    /// that say nothing else.
    pub fn create_project(&self, id: &str) -> String {
        let mut state = self.lock();
        let number = project_number(id);
        state.first_project.get_or_insert_with(|| number.clone());
        state.projects.entry(number.clone()).or_insert_with(|| Project {
            id: id.to_owned(),
            created: Timestamp::now(),
            disabled: [].into(),
        });
        number
    }

    /// Says which project a bucket is in.
    pub fn place_bucket(&self, bucket: &str, project: &str) {
        self.lock().buckets.insert(bucket.to_owned(), project_number(project));
    }

    /// The policy of a resource, as its API answers it.
    pub fn policy_json(&self, on: &Resource) -> Result<serde_json::Value, Error> {
        let key =
            on.policy_key().ok_or_else(|| Error::invalid(format!("{on:?} has no policy.")))?;
        Ok(self.lock().policies.get(&key).cloned().unwrap_or_default().json(on))
    }
}

/// `GET /v1/projects/P`.
pub(super) async fn get_v1(
    Shared(iam): Shared<Iam>,
    Path(project): Path<String>,
    headers: HeaderMap,
) -> Answer {
    read(&iam, &project, &headers, |number, it| {
        json!({
            "projectNumber": number,
            "projectId": it.id,
            "lifecycleState": "ACTIVE",
            "name": it.id,
            "createTime": it.created,
        })
    })
}

/// `GET /v3/projects/P`.
pub(super) async fn get_v3(
    Shared(iam): Shared<Iam>,
    Path(project): Path<String>,
    headers: HeaderMap,
) -> Answer {
    read(&iam, &project, &headers, |number, it| {
        json!({
            "name": format!("projects/{number}"),
            "projectId": it.id,
            "state": "ACTIVE",
            "displayName": it.id,
            "createTime": it.created,
            "updateTime": it.created,
        })
    })
}

/// A project that is not there is refused like one that is not the caller's to see.
fn read(
    iam: &Iam,
    project: &str,
    headers: &HeaderMap,
    show: impl Fn(&str, &Project) -> serde_json::Value,
) -> Answer {
    let on = Resource::project(project);
    let permission = "resourcemanager.projects.get";
    let caller = iam.caller(headers)?.known()?;
    caller.check(permission, &on)?;
    let number = project_number(project);
    match iam.lock().projects.get(&number) {
        Some(it) => Ok(Json(show(&number, it))),
        None => Err(caller.denied(on.api(), permission, &on)),
    }
}

/// `POST /v1/projects/P:VERB` and `/v3/…`.
pub(super) async fn act(
    Shared(iam): Shared<Iam>,
    Path(project): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (project, verb) = verb(&project);
    let call = policy_call(verb, &json_of(&body)?);
    let call = call.ok_or_else(|| Refusal::NotFound("Method not found.".to_owned()))?;
    let caller = iam.caller(&headers)?.known()?;
    caller.policy(&Resource::project(project), call).map(Json)
}
