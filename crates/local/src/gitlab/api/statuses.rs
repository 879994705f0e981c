//! Commit statuses.

use axum::extract::Path;
use serde_json::{Value, json};

use super::page::paginate;
use super::params::Params;
use super::users::render_id;
use super::{Answer, Api, created, pipelines};
use crate::gitlab::commit_status::StatusUpdate;
use crate::gitlab::error::Error;
use crate::gitlab::pipeline::{Job, JobKind, Status};
use crate::gitlab::state::{State, iso};

pub(super) async fn create(
    api: Api,
    Path((project, sha)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let invalid = || Error::Parameter("state does not have a valid value".to_owned());
    let name = params.text("name")?.or(params.text("context")?);
    let update = StatusUpdate {
        state: Status::parse(&params.required("state")?).ok_or_else(invalid)?,
        name: name.unwrap_or_else(|| "default".to_owned()),
        reference: params.text("ref")?,
        pipeline_id: params.parsed("pipeline_id")?,
        target_url: params.text("target_url")?,
        description: params.text("description")?,
        coverage: params.parsed("coverage")?,
    };
    let mut state = api.state();
    let project = state.project_by(&project)?.id;
    let job = state.set_commit_status(project, &sha, &api.user, update)?;
    created(render(&state, &job))
}

pub(super) async fn list(
    api: Api,
    Path((project, sha)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let (reference, name) = (params.text("ref")?, params.text("name")?);
    let (in_stage, pipeline) = (params.text("stage")?, params.parsed::<u64>("pipeline_id")?);
    let by_pipeline = params.one_of("order_by", &["id", "pipeline_id"])? == "pipeline_id";
    let descending = params.one_of("sort", &["asc", "desc"])? == "desc";
    let all = params.flag("all")?;
    let state = api.state();
    let project = state.project_by(&project)?.id;
    let sha = &state.resolve(project, &sha)?.sha;
    let wanted = |it: &&Job| {
        it.project_id == project
            && it.sha == *sha
            && (all || !it.retried)
            && reference.as_ref().is_none_or(|wanted| it.reference == *wanted)
            && name.as_ref().is_none_or(|wanted| it.name == *wanted)
            && in_stage.as_ref().is_none_or(|wanted| pipelines::stage(it) == wanted)
            && pipeline.is_none_or(|wanted| it.pipeline_id == wanted)
    };
    let mut jobs: Vec<&Job> = state.jobs.values().filter(wanted).collect();
    if by_pipeline {
        jobs.sort_by_key(|it| (it.pipeline_id, it.id));
    }
    if descending {
        jobs.reverse();
    }
    paginate(&state, &params, jobs, |it| render(&state, it))
}

fn render(state: &State, job: &Job) -> Value {
    let target_url = match job.kind {
        JobKind::External => job.target_url.clone(),
        JobKind::Build => Some(pipelines::job_url(state, job)),
    };
    json!({
        "id": job.id,
        "sha": job.sha,
        "ref": job.reference,
        "status": job.status.name(),
        "name": job.name,
        "target_url": target_url,
        "description": job.description,
        "created_at": iso(job.created_at),
        "started_at": job.started_at.map(iso),
        "finished_at": job.finished_at.map(iso),
        "allow_failure": false,
        "coverage": job.coverage,
        "pipeline_id": job.pipeline_id,
        "author": render_id(state, Some(job.user_id)),
    })
}
