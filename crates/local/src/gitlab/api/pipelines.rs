//! Pipelines and CI jobs.

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::page::paginate;
use super::params::Params;
use super::users::render_id;
use super::{Answer, Api, id, ok};
use crate::gitlab::merge_request::MergeRequest;
use crate::gitlab::pipeline::{Job, JobKind, Pipeline};
use crate::gitlab::state::{State, iso};

pub(super) async fn list(api: Api, Path(project): Path<String>, params: Params) -> Answer {
    let (reference, sha) = (params.text("ref")?, params.text("sha")?);
    let (status, source) = (params.text("status")?, params.text("source")?);
    let ascending = params.one_of("sort", &["desc", "asc"])? == "asc";
    let state = api.state();
    let project = state.project_by(&project)?.id;
    let mut found: Vec<&Pipeline> = state
        .pipelines
        .values()
        .filter(|it| it.project_id == project)
        .filter(|it| reference.as_ref().is_none_or(|wanted| it.reference == *wanted))
        .filter(|it| sha.as_ref().is_none_or(|wanted| it.sha == *wanted))
        .filter(|it| source.as_ref().is_none_or(|wanted| it.source.name() == wanted))
        .filter(|it| status.as_ref().is_none_or(|it_is| state.pipeline_status(it).name() == it_is))
        .collect();
    if !ascending {
        found.reverse();
    }
    paginate(&state, &params, found, |it| render(&state, it))
}

pub(super) async fn one(api: Api, Path((project, pipeline)): Path<(String, String)>) -> Answer {
    let state = api.state();
    let project = state.project_by(&project)?;
    let pipeline = state.pipeline(project.id, id(&pipeline)?)?;
    let mut body = render(&state, pipeline);
    let rows: Vec<&Job> = state.jobs_of(pipeline.id).collect();
    body["user"] = render_id(&state, Some(pipeline.user_id));
    body["tag"] = project.is_tag(&pipeline.reference).into();
    body["started_at"] = rows.iter().filter_map(|it| it.started_at).min().map(iso).into();
    let unfinished = rows.iter().any(|it| it.finished_at.is_none() && !it.retried);
    let finished = rows.iter().filter_map(|it| it.finished_at).max();
    body["finished_at"] = finished.filter(|_| !unfinished).map(iso).into();
    ok(body)
}

pub(super) async fn of_merge_request(
    api: Api,
    Path((project, iid)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let state = api.state();
    let project = state.project_by(&project)?.id;
    let merge_request = state.merge_request(project, id(&iid)?)?;
    let found = of(&state, merge_request).collect();
    paginate(&state, &params, found, |it| render(&state, it))
}

/// The CI jobs of a pipeline; external statuses are not among them.
pub(super) async fn jobs(
    api: Api,
    Path((project, pipeline)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let (retried, scope) = (params.flag("include_retried")?, params.list("scope"));
    let state = api.state();
    let project = state.project_by(&project)?.id;
    let pipeline = state.pipeline(project, id(&pipeline)?)?;
    let mut found: Vec<&Job> = state
        .jobs_of(pipeline.id)
        .filter(|it| it.kind == JobKind::Build && (retried || !it.retried))
        .filter(|it| scope.is_empty() || scope.iter().any(|wanted| *wanted == it.status.name()))
        .collect();
    found.reverse();
    paginate(&state, &params, found, |it| render_job(&state, it))
}

pub(super) async fn job(api: Api, Path((project, job)): Path<(String, String)>) -> Answer {
    let state = api.state();
    let project = state.project_by(&project)?.id;
    ok(render_job(&state, state.job(project, id(&job)?)?))
}

/// A job's log, or a part of it: `Range: bytes=START-LAST`, or `bytes=START-`.
pub(super) async fn trace(
    api: Api,
    Path((project, job)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let state = api.state();
    let project = state.project_by(&project)?.id;
    let trace = state.job(project, id(&job)?)?.trace.clone().into_bytes();
    let text = [(header::CONTENT_TYPE, "text/plain".to_owned())];
    let range = headers.get(header::RANGE).and_then(|it| it.to_str().ok());
    let bounds = range.and_then(|it| {
        let (start, last) = it.strip_prefix("bytes=")?.split_once('-')?;
        let last = if last.is_empty() { usize::MAX } else { last.parse().ok()? };
        start.parse().ok().map(|start: usize| (start, last))
    });
    let Some((start, last)) = bounds.filter(|(start, last)| start <= last) else {
        return Ok((text, trace).into_response());
    };
    let len = trace.len();
    let range = |it: String| [(header::CONTENT_RANGE, it)];
    if start >= len {
        let range = range(format!("bytes */{len}"));
        return Ok((StatusCode::RANGE_NOT_SATISFIABLE, range).into_response());
    }
    let last = last.min(len - 1);
    let range = range(format!("bytes {start}-{last}/{len}"));
    Ok((StatusCode::PARTIAL_CONTENT, text, range, trace[start..=last].to_vec()).into_response())
}

/// The pipelines of a merge request's head, newest first.
pub(super) fn of<'a>(
    state: &'a State,
    merge_request: &MergeRequest,
) -> impl Iterator<Item = &'a Pipeline> {
    let (project, head) = (merge_request.project_id, state.diff(merge_request).head);
    let names = [merge_request.ref_path(), merge_request.source_branch.clone()];
    let pipelines = state.pipelines.values().rev();
    pipelines.filter(move |it| is_of(it, project, &head) && names.contains(&it.reference))
}

pub(super) fn is_of(pipeline: &Pipeline, project_id: u64, sha: &str) -> bool {
    pipeline.project_id == project_id && pipeline.sha == sha
}

pub(super) fn render(state: &State, pipeline: &Pipeline) -> Value {
    let project = state.projects.get(&pipeline.project_id);
    let url = project.map(|it| format!("{}/-/pipelines/{}", state.project_url(it), pipeline.id));
    json!({
        "id": pipeline.id,
        "iid": pipeline.iid,
        "project_id": pipeline.project_id,
        "sha": pipeline.sha,
        "ref": pipeline.reference,
        "status": state.pipeline_status(pipeline).name(),
        "source": pipeline.source.name(),
        "created_at": iso(pipeline.created_at),
        "updated_at": iso(state.pipeline_updated_at(pipeline)),
        "web_url": url,
    })
}

pub(super) fn job_url(state: &State, job: &Job) -> String {
    let project = state.projects.get(&job.project_id);
    let url = project.map_or_else(String::new, |it| state.project_url(it));
    format!("{url}/-/jobs/{}", job.id)
}

pub(super) const fn stage(job: &Job) -> &'static str {
    match job.kind {
        JobKind::Build => "test",
        JobKind::External => "external",
    }
}

fn render_job(state: &State, job: &Job) -> Value {
    let duration = job.started_at.zip(job.finished_at);
    let duration = duration.map(|(start, end)| end.duration_since(start).as_secs_f64());
    let project = state.projects.get(&job.project_id);
    let commit = project.zip(state.commits.get(&job.sha));
    json!({
        "id": job.id,
        "name": job.name,
        "stage": stage(job),
        "status": job.status.name(),
        "ref": job.reference,
        "tag": project.is_some_and(|it| it.is_tag(&job.reference)),
        "coverage": job.coverage,
        "allow_failure": false,
        "created_at": iso(job.created_at),
        "started_at": job.started_at.map(iso),
        "finished_at": job.finished_at.map(iso),
        "duration": duration,
        "user": render_id(state, Some(job.user_id)),
        "commit": commit.map(|(project, it)| super::commits::render(state, project, it)),
        "pipeline": state.pipelines.get(&job.pipeline_id).map(|it| render(state, it)),
        "web_url": job_url(state, job),
    })
}
