//! Offset pagination: `page` and `per_page` in, `Link` and `X-*` headers out.

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use serde_json::Value;

use super::Answer;
use super::params::Params;
use crate::gitlab::error::Error;
use crate::gitlab::state::State;

const PER_PAGE_MAX: usize = 100;

/// Answers with one page of the rows, rendering only what is on it.
pub(super) fn paginate<T>(
    state: &State,
    params: &Params,
    rows: Vec<T>,
    render: impl FnMut(T) -> Value,
) -> Answer {
    let per_page = params.parsed("per_page")?.unwrap_or(20).clamp(1, PER_PAGE_MAX);
    let page = params.parsed("page")?.unwrap_or(1).max(1);
    let total = rows.len();
    let pages = total.div_ceil(per_page).max(1);
    let skip = per_page.checked_mul(page - 1).unwrap_or(total);
    let body: Vec<Value> = rows.into_iter().skip(skip).take(per_page).map(render).collect();
    let next = (page < pages).then(|| page + 1);
    let previous = (page > 1).then(|| page - 1);

    let (base, uri) = (&state.external_url, &params.uri);
    let link = |page: usize, relation: &str| {
        let others = uri.query().unwrap_or_default().split('&').filter(|it| {
            !it.is_empty() && !it.starts_with("page=") && !it.starts_with("per_page=")
        });
        let own = [format!("page={page}"), format!("per_page={per_page}")];
        let query: Vec<&str> = others.chain(own.iter().map(String::as_str)).collect();
        format!("<{base}{}?{}>; rel=\"{relation}\"", uri.path(), query.join("&"))
    };
    let links: Vec<String> = [(previous, "prev"), (next, "next"), (Some(1), "first")]
        .into_iter()
        .chain([(Some(pages), "last")])
        .filter_map(|(page, relation)| Some(link(page?, relation)))
        .collect();

    let mut response = Json(body).into_response();
    let optional = |page: Option<usize>| page.map_or_else(String::new, |it| it.to_string());
    for (name, value) in [
        (header::LINK.as_str(), links.join(", ")),
        ("x-page", page.to_string()),
        ("x-per-page", per_page.to_string()),
        ("x-prev-page", optional(previous)),
        ("x-next-page", optional(next)),
        ("x-total", total.to_string()),
        ("x-total-pages", pages.to_string()),
    ] {
        let invalid = |_| Error::Parameter("query is invalid".to_owned());
        let value = HeaderValue::try_from(value).map_err(invalid)?;
        response.headers_mut().insert(name_of(name), value);
    }
    Ok(response)
}

fn name_of(name: &str) -> header::HeaderName {
    header::HeaderName::try_from(name).expect("the names above are valid")
}
