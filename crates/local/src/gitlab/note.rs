//! Notes on merge requests.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::{Error, FORBIDDEN};
use super::state::State;
use super::user::{AccessLevel, User};

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) id: u64,
    pub(super) project_id: u64,
    pub(super) merge_request_iid: u64,
    pub(super) author_id: u64,
    pub(super) body: String,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    /// The row stays, so that an id is never given away twice.
    deleted: bool,
}

/// The longest note, in characters.
const BODY_MAX: usize = 1_000_000;

impl State {
    pub(super) fn notes_on(&self, project_id: u64, iid: u64) -> impl Iterator<Item = &Note> {
        let on_this = move |it: &&Note| (it.project_id, it.merge_request_iid) == (project_id, iid);
        self.notes.values().filter(on_this).filter(|it| !it.deleted)
    }

    pub(super) fn note(&self, project_id: u64, iid: u64, id: u64) -> Result<&Note, Error> {
        self.merge_request(project_id, iid)?;
        let mut notes = self.notes_on(project_id, iid);
        notes.find(|it| it.id == id).ok_or(Error::NotFound("Note"))
    }

    pub(super) fn add_note(
        &mut self,
        project_id: u64,
        iid: u64,
        author: &User,
        body: String,
    ) -> Result<u64, Error> {
        self.merge_request(project_id, iid)?;
        check_body(&body)?;
        let now = Timestamp::now();
        let note = Note {
            id: self.notes.next_id(),
            project_id,
            merge_request_iid: iid,
            author_id: author.id,
            body,
            created_at: now,
            updated_at: now,
            deleted: false,
        };
        let id = note.id;
        self.notes.put(id, note)?;
        Ok(id)
    }

    pub(super) fn edit_note(
        &mut self,
        mut note: Note,
        user: &User,
        body: String,
    ) -> Result<(), Error> {
        check_may_change(&note, user)?;
        check_body(&body)?;
        (note.body, note.updated_at) = (body, Timestamp::now());
        self.notes.put(note.id, note)?;
        Ok(())
    }

    pub(super) fn delete_note(&mut self, mut note: Note, user: &User) -> Result<(), Error> {
        check_may_change(&note, user)?;
        note.deleted = true;
        self.notes.put(note.id, note)?;
        Ok(())
    }
}

fn check_may_change(note: &Note, user: &User) -> Result<(), Error> {
    let may = note.author_id == user.id || user.access_level >= AccessLevel::Maintainer;
    may.then_some(()).ok_or(FORBIDDEN)
}

fn check_body(body: &str) -> Result<(), Error> {
    let problem = if body.trim().is_empty() {
        "can't be blank".to_owned()
    } else if body.chars().count() > BODY_MAX {
        format!("is too long (maximum is {BODY_MAX} characters)")
    } else {
        return Ok(());
    };
    let text = format!("400 Bad request - Note {{:note=>[\"{problem}\"]}}");
    Err(Error::Refused(text.into()))
}
