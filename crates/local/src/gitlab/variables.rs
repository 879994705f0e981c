//! The predefined variables that a CI job finds in its environment.

use std::collections::BTreeMap;

use super::error::Error;
use super::merge_request::{MergeRequest, MergeState};
use super::pipeline::{Job, Pipeline, Source};
use super::project::Project;
use super::state::{State, iso};

/// Variables by name.
pub type Variables = BTreeMap<String, String>;

const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

impl State {
    pub(super) fn variables(&self, pipeline: &Pipeline, job: &Job) -> Result<Variables, Error> {
        let project = self.project(pipeline.project_id)?;
        let merge_request = match pipeline.merge_request_iid {
            Some(iid) => Some(self.merge_request(project.id, iid)?),
            None => None,
        };
        let mut all = Variables::new();
        self.server(&mut all);
        self.project_variables(project, &mut all);
        self.commit_variables(project, pipeline, merge_request, &mut all)?;
        self.job_variables(project, pipeline, job, &mut all)?;
        if let Some(merge_request) = merge_request {
            self.merge_request_variables(project, merge_request, &mut all);
        }
        Ok(all)
    }

    fn server(&self, all: &mut Variables) {
        let url = &self.external_url;
        let (protocol, fqdn) = url.split_once("://").unwrap_or(("http", url));
        let (host, port) = fqdn.split_once(':').unwrap_or((fqdn, default_port(protocol)));
        set(all, "CI", "true");
        set(all, "GITLAB_CI", "true");
        set(all, "CI_API_V4_URL", format!("{url}/api/v4"));
        set(all, "CI_SERVER", "yes");
        set(all, "CI_SERVER_NAME", "GitLab");
        set(all, "CI_SERVER_URL", url);
        set(all, "CI_SERVER_PROTOCOL", protocol);
        set(all, "CI_SERVER_HOST", host);
        set(all, "CI_SERVER_PORT", port);
        set(all, "CI_SERVER_FQDN", fqdn);
    }

    fn project_variables(&self, project: &Project, all: &mut Variables) {
        set(all, "CI_PROJECT_ID", project.id.to_string());
        set(all, "CI_PROJECT_NAME", project.name());
        set(all, "CI_PROJECT_TITLE", project.name());
        set(all, "CI_PROJECT_NAMESPACE", project.namespace());
        set(all, "CI_PROJECT_PATH", &project.path);
        set(all, "CI_PROJECT_PATH_SLUG", slug(&project.path));
        set(all, "CI_PROJECT_URL", self.project_url(project));
        set(all, "CI_PROJECT_VISIBILITY", "private");
        set(all, "CI_DEFAULT_BRANCH", &project.default_branch);
        set(all, "CI_CONFIG_PATH", ".gitlab-ci.yml");
    }

    fn commit_variables(
        &self,
        project: &Project,
        pipeline: &Pipeline,
        merge_request: Option<&MergeRequest>,
        all: &mut Variables,
    ) -> Result<(), Error> {
        let commit = self.resolve(project.id, &pipeline.sha)?;
        let tag = project.is_tag(&pipeline.reference);
        // In a merge request pipeline the ref's name is the source branch, but the
        // pipeline belongs to no branch: CI_COMMIT_BRANCH does not exist there.
        let name = merge_request.map_or(&pipeline.reference, |it| &it.source_branch);
        let before = if merge_request.is_some() { None } else { commit.parents.first() };
        set(all, "CI_COMMIT_SHA", &commit.sha);
        set(all, "CI_COMMIT_SHORT_SHA", &commit.sha[..8]);
        set(all, "CI_COMMIT_BEFORE_SHA", before.map_or(NO_COMMIT, String::as_str));
        set(all, "CI_COMMIT_REF_NAME", name);
        set(all, "CI_COMMIT_REF_SLUG", slug(name));
        let protected = !tag && project.is_protected(name);
        set(all, "CI_COMMIT_REF_PROTECTED", protected.to_string());
        set(all, "CI_COMMIT_TITLE", commit.title());
        set(all, "CI_COMMIT_MESSAGE", &commit.message);
        set(all, "CI_COMMIT_TIMESTAMP", iso(commit.created_at));
        let author = format!("{} <{}>", commit.author_name, commit.author_email);
        set(all, "CI_COMMIT_AUTHOR", author);
        if tag {
            set(all, "CI_COMMIT_TAG", &pipeline.reference);
            return Ok(());
        }
        if pipeline.source != Source::MergeRequestEvent {
            set(all, "CI_COMMIT_BRANCH", name);
        }
        let open = self.merge_requests.values().filter(|it| {
            it.project_id == project.id
                && it.state == MergeState::Opened
                && it.source_branch == *name
        });
        let open: Vec<_> = open.take(4).map(|it| format!("{}!{}", project.path, it.iid)).collect();
        if !open.is_empty() {
            set(all, "CI_OPEN_MERGE_REQUESTS", open.join(","));
        }
        Ok(())
    }

    fn job_variables(
        &self,
        project: &Project,
        pipeline: &Pipeline,
        job: &Job,
        all: &mut Variables,
    ) -> Result<(), Error> {
        let user = self.user(pipeline.user_id)?;
        let url = self.project_url(project);
        set(all, "CI_PIPELINE_ID", pipeline.id.to_string());
        set(all, "CI_PIPELINE_IID", pipeline.iid.to_string());
        set(all, "CI_PIPELINE_SOURCE", pipeline.source.name());
        set(all, "CI_PIPELINE_URL", format!("{url}/-/pipelines/{}", pipeline.id));
        set(all, "CI_PIPELINE_CREATED_AT", iso(pipeline.created_at));
        set(all, "CI_JOB_ID", job.id.to_string());
        set(all, "CI_JOB_NAME", &job.name);
        set(all, "CI_JOB_STAGE", "test");
        set(all, "CI_JOB_STATUS", "running");
        set(all, "CI_JOB_URL", format!("{url}/-/jobs/{}", job.id));
        set(all, "CI_JOB_STARTED_AT", iso(job.started_at.unwrap_or(job.created_at)));
        set(all, "GITLAB_USER_ID", user.id.to_string());
        set(all, "GITLAB_USER_LOGIN", &user.username);
        set(all, "GITLAB_USER_NAME", &user.name);
        set(all, "GITLAB_USER_EMAIL", user.email());
        Ok(())
    }

    fn merge_request_variables(
        &self,
        project: &Project,
        merge_request: &MergeRequest,
        all: &mut Variables,
    ) {
        let url = self.project_url(project);
        let (source, target) = (&merge_request.source_branch, &merge_request.target_branch);
        let mut set = |name: &str, value: &str| {
            set(all, &format!("CI_MERGE_REQUEST_{name}"), value);
        };
        set("ID", &merge_request.id.to_string());
        set("IID", &merge_request.iid.to_string());
        set("REF_PATH", &merge_request.ref_path());
        set("TITLE", &merge_request.title);
        set("EVENT_TYPE", "detached");
        set("DIFF_BASE_SHA", self.diff(merge_request).base.as_deref().unwrap_or_default());
        set("SOURCE_BRANCH_NAME", source);
        set("SOURCE_BRANCH_PROTECTED", &project.is_protected(source).to_string());
        set("TARGET_BRANCH_NAME", target);
        set("TARGET_BRANCH_PROTECTED", &project.is_protected(target).to_string());
        // The branches' shas are filled in merged results pipelines only.
        set("SOURCE_BRANCH_SHA", "");
        set("TARGET_BRANCH_SHA", "");
        for prefix in ["", "SOURCE_"] {
            set(&format!("{prefix}PROJECT_ID"), &project.id.to_string());
            set(&format!("{prefix}PROJECT_PATH"), &project.path);
            set(&format!("{prefix}PROJECT_URL"), &url);
        }
    }
}

fn set(all: &mut Variables, name: &str, value: impl Into<String>) {
    all.insert(name.to_owned(), value.into());
}

fn default_port(protocol: &str) -> &'static str {
    if protocol == "https" { "443" } else { "80" }
}

/// Lower case, at most 63 bytes, anything but letters and digits a dash.
fn slug(text: &str) -> String {
    let dashed = |it: char| {
        if it.is_ascii_alphanumeric() { it.to_ascii_lowercase() } else { '-' }
    };
    let text: String = text.chars().map(dashed).take(63).collect();
    text.trim_matches('-').to_owned()
}
