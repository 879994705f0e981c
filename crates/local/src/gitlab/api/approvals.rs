//! Approvals of merge requests, and the versions that they are of.

use axum::extract::Path;
use serde_json::{Value, json};

use super::page::paginate;
use super::params::Params;
use super::users::render_id;
use super::{Answer, Api, created, id, ok};
use crate::gitlab::merge_request::MergeRequest;
use crate::gitlab::state::{State, iso};
use crate::gitlab::user::AccessLevel;

pub(super) async fn list(api: Api, Path((project, iid)): Path<(String, String)>) -> Answer {
    let state = api.state();
    let project = state.project_by(&project)?;
    ok(render(&state, state.merge_request(project.id, id(&iid)?)?))
}

pub(super) async fn approve(api: Api, Path((project, iid)): Path<(String, String)>) -> Answer {
    api.require(AccessLevel::Developer)?;
    let mut state = api.state();
    let (project, iid) = (state.project_by(&project)?.id, id(&iid)?);
    state.approve(project, iid, &api.user)?;
    created(render(&state, state.merge_request(project, iid)?))
}

/// Newest first.
pub(super) async fn versions(
    api: Api,
    Path((project, iid)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let state = api.state();
    let project = state.project_by(&project)?.id;
    let merge_request = state.merge_request(project, id(&iid)?)?;
    let versions = merge_request.versions.iter().enumerate().rev().collect();
    paginate(&state, &params, versions, |(index, it)| {
        json!({
            "id": merge_request.id * 1_000 + index as u64,
            "head_commit_sha": it.head,
            "created_at": iso(it.created_at),
            "merge_request_id": merge_request.id,
            "state": "collected",
        })
    })
}

fn render(state: &State, merge_request: &MergeRequest) -> Value {
    let approvals = merge_request.approvals.iter();
    let approved_by: Vec<_> = approvals
        .map(|it| {
            json!({
                "user": render_id(state, Some(it.user_id)),
                "approved_at": iso(it.approved_at),
            })
        })
        .collect();
    json!({
        "user_has_approved": false,
        "user_can_approve": true,
        "approved": !approved_by.is_empty(),
        "approved_by": approved_by,
    })
}
