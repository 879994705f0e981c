//! Projects and their branches.

use axum::extract::Path;
use serde_json::{Value, json};

use super::page::paginate;
use super::params::Params;
use super::{Answer, Api, commits, created, ok};
use crate::gitlab::error::{Error, FORBIDDEN};
use crate::gitlab::project::{Branch, Project};
use crate::gitlab::repository::Changes;
use crate::gitlab::state::{State, iso};
use crate::gitlab::user::AccessLevel;

pub(super) async fn list(api: Api, params: Params) -> Answer {
    let search = params.text("search")?.unwrap_or_default();
    let state = api.state();
    let projects = state.projects.values().rev().filter(|it| it.path.contains(&search)).collect();
    paginate(&state, &params, projects, |it| render(&state, it))
}

pub(super) async fn one(api: Api, Path(project): Path<String>) -> Answer {
    let state = api.state();
    let project = state.project_by(&project)?;
    if api.user.access_level == AccessLevel::None {
        return Err(Error::NotFound("Project"));
    }
    let mut body = render(&state, project);
    let access = json!({"access_level": api.user.access_level.number(), "notification_level": 3});
    body["permissions"] = json!({"project_access": access, "group_access": null});
    ok(body)
}

/// A project in the caller's own namespace.
pub(super) async fn create(api: Api, params: Params) -> Answer {
    let (name, path) = (params.text("name")?, params.text("path")?);
    let missing = || {
        Error::Parameter(
            "name, path are missing, at least one parameter must be provided".to_owned(),
        )
    };
    let path = format!(
        "{}/{}",
        api.user.username,
        path.or_else(|| name.map(|it| it.to_lowercase().replace(' ', "-"))).ok_or_else(missing)?
    );
    let default_branch = params.text("default_branch")?.unwrap_or_else(|| "main".to_owned());
    let with_readme = params.flag("initialize_with_readme")?;
    let mut state = api.state();
    let id = state.create_project(&path, &default_branch)?;
    if with_readme {
        let text = format!("# {}\n", state.project(id)?.name());
        let changes = Changes::from([("README.md".to_owned(), Some(text.into_bytes()))]);
        state.commit(id, &default_branch, None, &api.user, "Initial commit", changes)?;
    }
    created(render(&state, state.project(id)?))
}

pub(super) async fn branches(api: Api, Path(project): Path<String>, params: Params) -> Answer {
    let state = api.state();
    let project = state.project_by(&project)?;
    let branches = project.branches.iter().collect();
    paginate(&state, &params, branches, |(name, tip)| {
        render_branch(&state, &api, project, name, tip)
    })
}

pub(super) async fn branch(api: Api, Path((project, name)): Path<(String, String)>) -> Answer {
    let state = api.state();
    let project = state.project_by(&project)?;
    let tip = project.branches.get(&name).ok_or(Error::NotFound("Branch"))?;
    ok(render_branch(&state, &api, project, &name, tip))
}

/// Refuses a push that the caller's role does not allow.
pub(super) fn check_push(api: &Api, project: &Project, branch: &str) -> Result<(), Error> {
    if project.may_update(&api.user, branch) {
        Ok(())
    } else if project.is_protected(branch) {
        Err(Error::Forbidden("You are not allowed to push into this branch"))
    } else {
        Err(FORBIDDEN)
    }
}

fn render(state: &State, project: &Project) -> Value {
    let url = state.project_url(project);
    let (name, namespace) = (project.name(), project.namespace());
    json!({
        "id": project.id,
        "name": name,
        "path": name,
        "description": null,
        "path_with_namespace": project.path,
        "name_with_namespace": format!("{namespace} / {name}"),
        "namespace": {"path": namespace, "full_path": namespace, "name": namespace},
        "default_branch": (!project.branches.is_empty()).then_some(&project.default_branch),
        "visibility": "private",
        "archived": false,
        "empty_repo": project.branches.is_empty(),
        "web_url": url,
        "http_url_to_repo": format!("{url}.git"),
        "created_at": iso(project.created_at),
    })
}

fn render_branch(state: &State, api: &Api, project: &Project, name: &str, tip: &Branch) -> Value {
    json!({
        "name": name,
        "commit": state.commits.get(&tip.sha).map(|it| commits::render(state, project, it)),
        "default": name == project.default_branch,
        "protected": tip.protected,
        "developers_can_push": false,
        "developers_can_merge": false,
        "merged": false,
        "can_push": project.may_update(&api.user, name),
        "web_url": format!("{}/-/tree/{name}", state.project_url(project)),
    })
}
