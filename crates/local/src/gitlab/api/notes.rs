//! Notes on merge requests.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::page::paginate;
use super::params::Params;
use super::users::render_id;
use super::{Answer, Api, created, id, ok};
use crate::gitlab::error::Error;
use crate::gitlab::note::Note;
use crate::gitlab::state::{State, iso};

pub(super) async fn list(
    api: Api,
    Path((project, iid)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let by_update = params.one_of("order_by", &["created_at", "updated_at"])? == "updated_at";
    let descending = params.one_of("sort", &["desc", "asc"])? == "desc";
    let state = api.state();
    let (project, iid) = (state.project_by(&project)?.id, id(&iid)?);
    state.merge_request(project, iid)?;
    let mut notes: Vec<&Note> = state.notes_on(project, iid).collect();
    if by_update {
        notes.sort_by_key(|it| (it.updated_at, it.id));
    }
    if descending {
        notes.reverse();
    }
    paginate(&state, &params, notes, |it| render(&state, it))
}

pub(super) async fn create(
    api: Api,
    Path((project, iid)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let body = params.required("body")?;
    let mut state = api.state();
    let (project, iid) = (state.project_by(&project)?.id, id(&iid)?);
    let note = state.add_note(project, iid, &api.user, body)?;
    created(render(&state, state.note(project, iid, note)?))
}

type NotePath = Path<(String, String, String)>;

pub(super) async fn one(api: Api, path: NotePath) -> Answer {
    let state = api.state();
    ok(render(&state, &find(&state, path)?))
}

pub(super) async fn edit(api: Api, path: NotePath, params: Params) -> Answer {
    let body = params.required("body")?;
    let mut state = api.state();
    let note = find(&state, path)?;
    let (project, iid, id) = (note.project_id, note.merge_request_iid, note.id);
    state.edit_note(note, &api.user, body)?;
    ok(render(&state, state.note(project, iid, id)?))
}

pub(super) async fn delete(api: Api, path: NotePath) -> Answer {
    let mut state = api.state();
    let note = find(&state, path)?;
    state.delete_note(note, &api.user)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn find(state: &State, Path((project, iid, note)): NotePath) -> Result<Note, Error> {
    let project = state.project_by(&project)?.id;
    state.note(project, id(&iid)?, id(&note)?).cloned()
}

fn render(state: &State, note: &Note) -> Value {
    let merge_request = state.merge_request(note.project_id, note.merge_request_iid).ok();
    json!({
        "id": note.id,
        "type": null,
        "body": note.body,
        "author": render_id(state, Some(note.author_id)),
        "created_at": iso(note.created_at),
        "updated_at": iso(note.updated_at),
        "system": false,
        "noteable_id": merge_request.map(|it| it.id),
        "noteable_iid": note.merge_request_iid,
        "noteable_type": "MergeRequest",
        "project_id": note.project_id,
        "resolvable": false,
        "confidential": false,
        "internal": false,
    })
}
