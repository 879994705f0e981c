//! Commits, the files in them, and the merge requests that they belong to.

use std::cmp::Reverse;

use axum::extract::Path;
use axum::http::header;
use axum::response::IntoResponse;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::page::paginate;
use super::params::Params;
use super::{Answer, Api, created, merge_requests, ok, pipelines, projects};
use crate::gitlab::error::Error;
use crate::gitlab::project::Project;
use crate::gitlab::repository::{Changes, Commit};
use crate::gitlab::state::{State, iso};

pub(super) async fn list(api: Api, Path(project): Path<String>, params: Params) -> Answer {
    let state = api.state();
    let project = state.project_by(&project)?;
    let name = params.text("ref_name")?.unwrap_or_else(|| project.default_branch.clone());
    let history = state.history(&state.resolve(project.id, &name)?.sha);
    let mut commits: Vec<&Commit> = history.iter().map(|sha| &state.commits[sha]).collect();
    commits.sort_by_key(|it| Reverse(it.depth));
    paginate(&state, &params, commits, |it| render(&state, project, it))
}

pub(super) async fn one(api: Api, Path((project, sha)): Path<(String, String)>) -> Answer {
    let state = api.state();
    let project = state.project_by(&project)?;
    let commit = state.resolve(project.id, &sha)?;
    let mut body = render(&state, project, commit);
    let of_commit = |it: &&_| pipelines::is_of(it, project.id, &commit.sha);
    let last = state.pipelines.values().rev().find(of_commit);
    body["project_id"] = project.id.into();
    body["status"] = last.map(|it| state.pipeline_status(it).name()).into();
    body["last_pipeline"] = last.map_or(Value::Null, |it| pipelines::render(&state, it));
    ok(body)
}

/// Commits a list of file actions to a branch.
pub(super) async fn create(api: Api, Path(project): Path<String>, params: Params) -> Answer {
    let (branch, message) = (params.required("branch")?, params.required("commit_message")?);
    let start = params.text("start_branch")?;
    let mut state = api.state();
    let project = state.project_by(&project)?;
    projects::check_push(&api, project, &branch)?;
    let base = if project.branches.contains_key(&branch) { Some(&branch) } else { start.as_ref() };
    let base = base.and_then(|it| state.resolve(project.id, it).ok());
    let mut changes = Changes::new();
    for action in params.list("actions") {
        let (path, content) = read_action(&action)?;
        let exists = base.is_some_and(|it| it.tree.contains_key(&path));
        match (text(&action, "action"), exists) {
            (Some("create"), true) => return Err(refused("A file with this name already exists")),
            (Some("update" | "delete"), false) => {
                return Err(refused("A file with this name doesn't exist"));
            }
            (Some("create" | "update"), _) => changes.insert(path, Some(content)),
            (Some("delete"), true) => changes.insert(path, None),
            (_, _) => {
                let text = "actions[0][action] does not have a valid value";
                return Err(Error::Parameter(text.to_owned()));
            }
        };
    }
    let id = project.id;
    let sha = state.commit(id, &branch, start.as_deref(), &api.user, &message, changes)?;
    created(render(&state, state.project(id)?, state.resolve(id, &sha)?))
}

pub(super) async fn merge_requests(
    api: Api,
    Path((project, sha)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let wanted = merge_requests::state_filter(&params)?;
    let state = api.state();
    let project = state.project_by(&project)?;
    let sha = &state.resolve(project.id, &sha)?.sha;
    let found =
        state.merge_requests.values().rev().filter(|it| {
            it.project_id == project.id && wanted(it.state) && state.contains(it, sha)
        });
    let found = found.collect();
    paginate(&state, &params, found, |it| merge_requests::render(&state, project, it))
}

pub(super) async fn raw_file(
    api: Api,
    Path((project, path)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let state = api.state();
    let project = state.project_by(&project)?;
    let name = params.text("ref")?.unwrap_or_else(|| project.default_branch.clone());
    let content = state.read_file(project.id, &name, &path)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], content).into_response())
}

pub(super) fn render(state: &State, project: &Project, commit: &Commit) -> Value {
    let time = iso(commit.created_at);
    json!({
        "id": commit.sha,
        "short_id": commit.sha[..8],
        "title": commit.title(),
        "message": commit.message,
        "parent_ids": commit.parents,
        "created_at": time,
        "author_name": commit.author_name,
        "author_email": commit.author_email,
        "authored_date": time,
        "committer_name": commit.author_name,
        "committer_email": commit.author_email,
        "committed_date": time,
        "web_url": format!("{}/-/commit/{}", state.project_url(project), commit.sha),
    })
}

fn read_action(action: &Value) -> Result<(String, Vec<u8>), Error> {
    let missing = |it| Error::Parameter(format!("actions[0][{it}] is missing"));
    let path = text(action, "file_path").ok_or_else(|| missing("file_path"))?;
    let content = text(action, "content").unwrap_or_default();
    let content = if text(action, "encoding") == Some("base64") {
        let invalid = |_| Error::Parameter("actions[0][content] is invalid".to_owned());
        BASE64_STANDARD.decode(content).map_err(invalid)?
    } else {
        content.as_bytes().to_vec()
    };
    Ok((path.to_owned(), content))
}

fn text<'a>(action: &'a Value, name: &str) -> Option<&'a str> {
    action.get(name).and_then(Value::as_str)
}

fn refused(text: &str) -> Error {
    Error::Refused(text.into())
}
