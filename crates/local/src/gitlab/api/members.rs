//! Members of projects. A role is the same in every project of this instance.

use axum::extract::Path;
use serde_json::{Value, json};

use super::params::Params;
use super::users::render;
use super::{Answer, Api, created, id, ok};
use crate::gitlab::error::Error;
use crate::gitlab::user::AccessLevel;

/// Makes somebody a member who is none.
pub(super) async fn create(api: Api, Path(project): Path<String>, params: Params) -> Answer {
    let user = id(&params.required("user_id")?)?;
    let twice = Error::Conflict(json!("Member already exists"));
    created(set(&api, &project, user, &params, twice, |it| it == AccessLevel::None)?)
}

/// Gives a member another role.
pub(super) async fn edit(
    api: Api,
    Path((project, user)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let user = id(&user)?;
    let none = Error::NotFound("Member");
    ok(set(&api, &project, user, &params, none, |it| it != AccessLevel::None)?)
}

fn set(
    api: &Api,
    project: &str,
    user: u64,
    params: &Params,
    other: Error,
    fits: impl Fn(AccessLevel) -> bool,
) -> Result<Value, Error> {
    api.require(AccessLevel::Maintainer)?;
    let level: u32 = params.required("access_level")?.parse().unwrap_or_default();
    let level = AccessLevel::try_from(level)?;
    let mut state = api.state();
    state.project_by(project)?;
    let mut user = state.user(user)?.clone();
    if !fits(user.access_level) {
        return Err(other);
    }
    user.access_level = level;
    let mut body = render(&state, &user);
    body["access_level"] = json!(level.number());
    state.users.put(user.id, user)?;
    Ok(body)
}
