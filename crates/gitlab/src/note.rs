//! Notes on merge requests, and who writes them.

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::json;

use crate::error::Error;
use crate::http::{Call, Client};

/// 100 notes each: a longer discussion is not searched.
const PAGES_MAX: u32 = 50;

/// A user, as far as it tells one from others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct User {
    /// Id within the instance.
    pub id: u64,
    /// Name to log in with; it may change.
    #[serde(default)]
    pub username: String,
}

/// A note as GitLab tells it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Note {
    /// Id within the instance.
    pub id: u64,
    /// Markdown.
    pub body: String,
    /// Who wrote it.
    pub author: User,
    /// Whether GitLab wrote it by itself.
    #[serde(default)]
    pub system: bool,
}

impl Client {
    /// The user that the token stands for.
    pub async fn current_user(&self) -> Result<User, Error> {
        self.get("read the current user", "user", &[]).await?.json()
    }

    /// The oldest note on a merge request for which `wanted` holds. Page by page, so
    /// that no discussion has to fit into memory.
    pub async fn find_note(
        &self,
        project_id: u64,
        iid: u64,
        wanted: impl Fn(&Note) -> bool,
    ) -> Result<Option<Note>, Error> {
        let name = "list the notes of a merge request";
        let path = notes(project_id, iid);
        for page in 1..=PAGES_MAX {
            let query = [
                ("order_by", "created_at".to_owned()),
                ("sort", "asc".to_owned()),
                ("per_page", "100".to_owned()),
                ("page", page.to_string()),
            ];
            let answer = self.get(name, &path, &query).await?;
            if let Some(note) = answer.json::<Vec<Note>>()?.into_iter().find(&wanted) {
                return Ok(Some(note));
            }
            // A page may hold fewer notes than asked for and not be the last.
            if answer.headers.get("x-next-page").is_none_or(HeaderValue::is_empty) {
                return Ok(None);
            }
        }
        Err(Error::TooMany { call: name, max: PAGES_MAX })
    }

    /// Writes a new note.
    pub async fn create_note(&self, project_id: u64, iid: u64, body: &str) -> Result<Note, Error> {
        let call = Call {
            name: "write a note",
            method: &Method::POST,
            path: &notes(project_id, iid),
            query: &[],
            body: Some(&json!({"body": body})),
            part: None,
            trace: None,
        };
        self.call(call).await?.json()
    }

    /// Replaces the text of a note.
    pub async fn update_note(
        &self,
        project_id: u64,
        iid: u64,
        note: u64,
        body: &str,
    ) -> Result<Note, Error> {
        let call = Call {
            name: "update a note",
            method: &Method::PUT,
            path: &format!("{}/{note}", notes(project_id, iid)),
            query: &[],
            body: Some(&json!({"body": body})),
            part: None,
            trace: None,
        };
        self.call(call).await?.json()
    }
}

fn notes(project_id: u64, iid: u64) -> String {
    format!("projects/{project_id}/merge_requests/{iid}/notes")
}
