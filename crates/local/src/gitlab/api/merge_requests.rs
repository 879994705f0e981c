//! Merge requests.

use axum::extract::Path;
use serde_json::{Value, json};

use super::page::paginate;
use super::params::Params;
use super::users::render_id;
use super::{Answer, Api, created, id, ok, pipelines};
use crate::gitlab::error::Error;
use crate::gitlab::merge_request::{MergeRequest, MergeState};
use crate::gitlab::project::Project;
use crate::gitlab::state::{State, iso};
use crate::gitlab::user::AccessLevel;

pub(super) async fn list(api: Api, Path(project): Path<String>, params: Params) -> Answer {
    let wanted = state_filter(&params)?;
    let (source, target) = (params.text("source_branch")?, params.text("target_branch")?);
    let iids = params.list("iids");
    let iids: Vec<_> = iids.iter().map(|it| it.to_string().trim_matches('"').to_owned()).collect();
    let by_update = params.one_of("order_by", &["created_at", "updated_at"])? == "updated_at";
    let ascending = params.one_of("sort", &["desc", "asc"])? == "asc";
    let state = api.state();
    let project = state.project_by(&project)?;
    let mut found: Vec<&MergeRequest> = state
        .merge_requests
        .values()
        .filter(|it| it.project_id == project.id && wanted(it.state))
        .filter(|it| source.as_ref().is_none_or(|name| it.source_branch == *name))
        .filter(|it| target.as_ref().is_none_or(|name| it.target_branch == *name))
        .filter(|it| iids.is_empty() || iids.contains(&it.iid.to_string()))
        .collect();
    if by_update {
        found.sort_by_key(|it| (it.updated_at, it.id));
    }
    if !ascending {
        found.reverse();
    }
    paginate(&state, &params, found, |it| render(&state, project, it))
}

pub(super) async fn one(api: Api, Path((project, iid)): Path<(String, String)>) -> Answer {
    let state = api.state();
    let project = state.project_by(&project)?;
    ok(render_one(&state, project, state.merge_request(project.id, id(&iid)?)?))
}

pub(super) async fn create(api: Api, Path(project): Path<String>, params: Params) -> Answer {
    api.require(AccessLevel::Developer)?;
    let (source, target) = (params.required("source_branch")?, params.required("target_branch")?);
    let title = params.required("title")?;
    let text = params.text("description")?.unwrap_or_default();
    let mut state = api.state();
    let project = state.project_by(&project)?.id;
    let iid = state.open_merge_request(project, &api.user, &source, &target, &title, &text)?;
    created(render_one(&state, state.project(project)?, state.merge_request(project, iid)?))
}

pub(super) async fn edit(
    api: Api,
    Path((project, iid)): Path<(String, String)>,
    params: Params,
) -> Answer {
    api.require(AccessLevel::Developer)?;
    let (title, description) = (params.text("title")?, params.text("description")?);
    let event = params.one_of("state_event", &["", "close", "reopen"])?;
    let mut state = api.state();
    let (project, iid) = (state.project_by(&project)?.id, id(&iid)?);
    let mut changed = state.merge_request(project, iid)?.clone();
    changed.title = title.unwrap_or(changed.title);
    changed.description = description.unwrap_or(changed.description);
    changed.updated_at = jiff::Timestamp::now();
    state.merge_requests.put(changed.id, changed)?;
    match event {
        "close" => state.close_merge_request(project, iid, &api.user)?,
        "reopen" => state.reopen_merge_request(project, iid)?,
        _ => {}
    }
    ok(render_one(&state, state.project(project)?, state.merge_request(project, iid)?))
}

pub(super) async fn merge(api: Api, Path((project, iid)): Path<(String, String)>) -> Answer {
    let mut state = api.state();
    let (project, iid) = (state.project_by(&project)?.id, id(&iid)?);
    let target = &state.merge_request(project, iid)?.target_branch;
    if !state.project(project)?.may_update(&api.user, target) {
        return Err(Error::Unauthorized); // GitLab's answer here, and not 403.
    }
    state.merge(project, iid, &api.user)?;
    ok(render_one(&state, state.project(project)?, state.merge_request(project, iid)?))
}

/// What `state` asks for.
pub(super) fn state_filter(params: &Params) -> Result<impl Fn(MergeState) -> bool, Error> {
    let wanted = params.one_of("state", &["all", "opened", "closed", "merged", "locked"])?;
    Ok(move |state: MergeState| wanted == "all" || state.name() == wanted)
}

pub(super) fn render(state: &State, project: &Project, merge_request: &MergeRequest) -> Value {
    let MergeRequest { iid, ended_at, ended_by, .. } = *merge_request;
    let ended_as = |wanted| merge_request.state == wanted;
    let merged_by = ended_by.filter(|_| ended_as(MergeState::Merged));
    let closed_by = ended_by.filter(|_| ended_as(MergeState::Closed));
    let opened = ended_as(MergeState::Opened);
    json!({
        "id": merge_request.id,
        "iid": iid,
        "project_id": project.id,
        "title": merge_request.title,
        "description": merge_request.description,
        "state": merge_request.state.name(),
        "created_at": iso(merge_request.created_at),
        "updated_at": iso(merge_request.updated_at),
        "merged_by": render_id(state, merged_by),
        "merge_user": render_id(state, merged_by),
        "merged_at": ended_at.filter(|_| merged_by.is_some()).map(iso),
        "closed_by": render_id(state, closed_by),
        "closed_at": ended_at.filter(|_| closed_by.is_some()).map(iso),
        "source_branch": merge_request.source_branch,
        "target_branch": merge_request.target_branch,
        "source_project_id": project.id,
        "target_project_id": project.id,
        "author": render_id(state, Some(merge_request.author_id)),
        "assignees": [],
        "reviewers": [],
        "labels": [],
        "draft": merge_request.title.starts_with("Draft:"),
        "user_notes_count": state.notes_on(project.id, iid).count(),
        "sha": state.diff(merge_request).head,
        "merge_commit_sha": merge_request.merge_commit_sha,
        "squash_commit_sha": null,
        "merge_status": "can_be_merged",
        "detailed_merge_status": if opened { "mergeable" } else { "not_open" },
        "reference": format!("!{iid}"),
        "web_url": format!("{}/-/merge_requests/{iid}", state.project_url(project)),
    })
}

fn render_one(state: &State, project: &Project, merge_request: &MergeRequest) -> Value {
    let diff = state.diff(merge_request);
    let last = pipelines::of(state, merge_request).next();
    let mut body = render(state, project, merge_request);
    body["diff_refs"] = json!({
        "base_sha": diff.base, "start_sha": diff.base, "head_sha": diff.head,
    });
    body["head_pipeline"] = last.map_or(Value::Null, |it| pipelines::render(state, it));
    body
}
