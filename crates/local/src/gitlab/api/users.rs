//! Users, and which version this is.

use axum::extract::Path;
use serde_json::{Value, json};

use super::page::paginate;
use super::params::Params;
use super::{Answer, Api, id, ok};
use crate::gitlab::state::State;
use crate::gitlab::user::User;

pub(super) async fn version() -> Answer {
    ok(json!({"version": "18.9.0", "revision": "embedded"}))
}

pub(super) async fn current(api: Api) -> Answer {
    let body = render(&api.state(), &api.user);
    ok(body)
}

/// The token that the caller has.
pub(super) async fn token(api: Api) -> Answer {
    ok(json!({
        "id": api.user.id,
        "name": api.user.username,
        "revoked": false,
        "active": true,
        "scopes": api.user.scopes,
        "user_id": api.user.id,
        "expires_at": null,
    }))
}

pub(super) async fn one(api: Api, Path(user): Path<String>) -> Answer {
    let state = api.state();
    ok(render(&state, state.user(id(&user)?)?))
}

pub(super) async fn list(api: Api, params: Params) -> Answer {
    let username = params.text("username")?;
    let state = api.state();
    let wanted = |it: &&User| username.as_ref().is_none_or(|name| it.username == *name);
    let users = state.users.values().filter(wanted).collect();
    paginate(&state, &params, users, |it| render(&state, it))
}

pub(super) fn render(state: &State, user: &User) -> Value {
    json!({
        "id": user.id,
        "username": user.username,
        "name": user.name,
        "state": "active",
        "locked": false,
        "avatar_url": null,
        "web_url": format!("{}/{}", state.external_url, user.username),
        "bot": user.bot,
    })
}

/// A user by id, or null where there is none.
pub(super) fn render_id(state: &State, user_id: Option<u64>) -> Value {
    let user = user_id.and_then(|it| state.users.get(&it));
    user.map_or(Value::Null, |it| render(state, it))
}
