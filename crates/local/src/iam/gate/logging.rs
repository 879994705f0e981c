//! What Cloud Logging's methods need.

use axum::http::Method;
use serde::Deserialize;

use super::{Asked, Demand};
use crate::iam::resource::Resource;

/// Of the body, what says whose entries are wanted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    #[serde(default)]
    resource_names: Vec<String>,
}

pub(super) fn demand(asked: &Asked<'_>) -> Option<Demand> {
    if asked.route != "/v2/entries:list" || *asked.method != Method::POST {
        return None;
    }
    // What names no project is the service's to refuse: it gives nothing away.
    let list: List = serde_json::from_slice(asked.body).ok()?;
    let projects = list.resource_names.iter().filter_map(|it| {
        let project = it.strip_prefix("projects/")?.split('/').next()?;
        Some(("logging.logEntries.list", Resource::project(project)))
    });
    Some(Demand::All(projects.collect()))
}
