//! One page of a list: filtered, ordered, cut.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::entry::Entry;
use super::filter::Filter;
use crate::vertex::project_number;

/// Entries on one page, unless fewer are asked for; and the most.
const PAGE: usize = 50;
const PAGE_MAX: usize = 1_000;

/// The body of `entries:list`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Request {
    resource_names: Vec<String>,
    filter: String,
    order_by: String,
    page_size: i64,
    page_token: String,
}

/// What a client asks for.
pub(super) struct Query {
    projects: Vec<String>,
    filter: Filter,
    descending: bool,
    size: usize,
    after: Option<Place>,
}

/// Where an entry stands: its time, then its id.
type Place = (String, String);

impl Query {
    /// What a request asks for, or why it cannot.
    pub(super) fn of(request: &Request) -> Result<Self, String> {
        let projects = request.resource_names.iter().map(|it| {
            let project = it.strip_prefix("projects/").filter(|it| !it.contains('/'));
            let project = project.filter(|it| !it.is_empty()).map(project_number);
            project.ok_or_else(|| format!("resource_names: '{it}' is no projects/PROJECT"))
        });
        let projects = projects.collect::<Result<Vec<_>, _>>()?;
        if projects.is_empty() {
            return Err("resource_names: a project is required".to_owned());
        }
        let descending = match request.order_by.as_str() {
            "" | "timestamp asc" => false,
            "timestamp desc" => true,
            other => return Err(format!("order_by: '{other}' is not known")),
        };
        let size = match usize::try_from(request.page_size) {
            Ok(0) => PAGE,
            Ok(size) if size <= PAGE_MAX => size,
            _ => return Err(format!("page_size has to be between 0 and {PAGE_MAX}")),
        };
        let token = Some(request.page_token.as_str()).filter(|it| !it.is_empty());
        let after = token.map(|it| {
            let json = URL_SAFE_NO_PAD.decode(it).ok();
            let place = json.and_then(|it| serde_json::from_slice(&it).ok());
            place.ok_or_else(|| "page_token is invalid".to_owned())
        });
        Ok(Self {
            projects,
            filter: Filter::parse(&request.filter).map_err(|it| format!("filter: {it}"))?,
            descending,
            size,
            after: after.transpose()?,
        })
    }

    /// The page in the API's shape.
    pub(super) fn page(&self, entries: &[Arc<Entry>]) -> Value {
        let entries = entries.iter().filter(|it| self.projects.contains(&it.project));
        let mut found: Vec<(Place, Value)> = entries
            .map(|it| it.json())
            .filter(|it| self.filter.matches(it))
            .map(|it| {
                let text = |field: &str| it[field].as_str().unwrap_or_default().to_owned();
                ((text("timestamp"), text("insertId")), it)
            })
            .filter(|(place, _)| {
                self.after
                    .as_ref()
                    .is_none_or(|after| if self.descending { place < after } else { place > after })
            })
            .collect();
        found.sort_by(|(a, _), (b, _)| if self.descending { b.cmp(a) } else { a.cmp(b) });
        let more = found.len() > self.size;
        found.truncate(self.size);
        let mut page = json!({});
        if let (true, Some((last, _))) = (more, found.last()) {
            page["nextPageToken"] = URL_SAFE_NO_PAD.encode(json!(last).to_string()).into();
        }
        // Google leaves empty lists out.
        if !found.is_empty() {
            page["entries"] = found.into_iter().map(|(_, it)| it).collect();
        }
        page
    }
}
