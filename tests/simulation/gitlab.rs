//! GitLab, as far as a report goes: commit statuses with their refused
//! transitions, one merge request per project, notes.

use branchline_gitlab::{Answer, Answering, Api, Call, Error};
use serde_json::{Value, json};

use crate::world::{Door, State};

/// The user that the notifier's token stands for.
const OWN: u64 = 7;

/// What GitLab shows.
#[derive(Default)]
pub(crate) struct Gitlab {
    statuses: Vec<Row>,
    /// Notes on the one merge request of every project: project and text.
    pub(crate) notes: Vec<(u64, String)>,
}

struct Row {
    sha: String,
    pipeline: u64,
    name: String,
    state: String,
}

fn is_terminal(state: &str) -> bool {
    matches!(state, "success" | "failed" | "canceled")
}

impl Gitlab {
    /// The newest status of that name on a commit.
    pub(crate) fn status(&self, sha: &str, name: &str) -> Option<&str> {
        let found = self.statuses.iter().rev().find(|it| it.sha == sha && it.name == name);
        found.map(|it| it.state.as_str())
    }

    fn set(&mut self, sha: &str, wanted: &Value) -> Result<Value, (u16, String)> {
        let text = |key: &str| wanted[key].as_str().unwrap_or_default().to_owned();
        let (name, state) = (text("name"), text("state"));
        let pipeline = wanted["pipeline_id"].as_u64().unwrap_or(1);
        let same = |it: &&mut Row| it.sha == sha && it.name == name && it.pipeline == pipeline;
        match self.statuses.iter_mut().rev().find(same) {
            Some(row) if !is_terminal(&row.state) => {
                let back = row.state == "running" && state == "pending";
                if row.state == state || back {
                    return Err((
                        400,
                        format!("Cannot transition status from :{} to :{state}", row.state),
                    ));
                }
                row.state = state;
            }
            Some(_) | None => {
                self.statuses.push(Row { sha: sha.to_owned(), pipeline, name, state });
            }
        }
        let id = self.statuses.len();
        Ok(row(id, self.statuses.last().expect("one was set")))
    }

    fn answer(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, (u16, String)> {
        let parts: Vec<&str> = path.split('/').collect();
        let project = parts.get(1).and_then(|it| it.parse().ok()).unwrap_or_default();
        let merge_request = json!({
            "iid": 1, "project_id": project, "state": "opened",
            "source_branch": "try", "target_branch": "main", "sha": null,
        });
        let note = |(id, (_, text)): (usize, &(u64, String))| json!({"id": id, "body": text, "author": {"id": OWN}});
        match (method, parts.as_slice()) {
            ("GET", ["user"]) => Ok(json!({"id": OWN})),
            ("GET", ["projects", _, "repository", "commits", sha, "statuses"]) => {
                let rows = self.statuses.iter().enumerate().rev().filter(|(_, it)| it.sha == *sha);
                Ok(rows.map(|(id, it)| row(id, it)).collect())
            }
            ("POST", ["projects", _, "statuses", sha]) => self.set(sha, body.expect("a body")),
            ("GET", ["projects", _, "merge_requests", "1"]) => Ok(merge_request),
            ("GET", ["projects", _, "repository", "commits", _, "merge_requests"]) => {
                Ok(json!([merge_request]))
            }
            ("GET", ["projects", _, "merge_requests", "1", "notes"]) => {
                let notes = self.notes.iter().enumerate().filter(|(_, it)| it.0 == project);
                Ok(notes.map(note).collect())
            }
            ("POST", ["projects", _, "merge_requests", "1", "notes"]) => {
                self.notes.push((project, text(body)));
                Ok(note((self.notes.len() - 1, &self.notes[self.notes.len() - 1])))
            }
            ("PUT", ["projects", _, "merge_requests", "1", "notes", id]) => {
                let id: usize = id.parse().expect("a number");
                self.notes[id].1 = text(body);
                Ok(note((id, &self.notes[id])))
            }
            _ => Err((404, format!("404 Not Found: {method} {path}"))),
        }
    }
}

fn row(id: usize, it: &Row) -> Value {
    json!({
        "id": id, "sha": it.sha, "name": it.name, "status": it.state, "pipeline_id": it.pipeline,
        "author": {"id": OWN}, "description": null, "target_url": null,
    })
}

fn text(body: Option<&Value>) -> String {
    body.and_then(|it| it["body"].as_str()).expect("a text").to_owned()
}

impl Api for Door {
    fn call<'a>(&'a self, call: Call<'a>) -> Answering<'a> {
        Box::pin(async move {
            let Call { name, method, path, body, .. } = call;
            let what = format!("{method} {path}");
            let mut answer = Err((502, "Bad Gateway".to_owned()));
            let mut carried_out = false;
            let carry_out = |state: &mut State| {
                // The client repeats by itself only what cannot happen twice.
                if method.is_idempotent() || !carried_out {
                    answer = state.gitlab.answer(method.as_str(), path, body);
                }
                carried_out = true;
                Ok(())
            };
            let carried = self.call(&what, carry_out).await;
            match (carried, answer) {
                (Ok(()), Ok(body)) => {
                    let body = body.to_string().into_bytes();
                    Ok(Answer { call: name, headers: [].into_iter().collect(), body, cut: false })
                }
                (Ok(()), Err((status, message))) => {
                    Err(Error::Status { call: name, status, message })
                }
                (Err(_), _) => Err(Error::Status {
                    call: name,
                    status: 502,
                    message: "Bad Gateway".to_owned(),
                }),
            }
        })
    }
}
