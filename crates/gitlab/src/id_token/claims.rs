//! What a token says, in types of our own. Pure.
//!
//! GitLab writes ids and booleans as texts; numbers and booleans are read as well.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::object::Object;
use super::{Check, Checks, Forgery, Standing};

/// In bytes; what GitLab itself allows is shorter.
const TEXT_MAX: usize = 1024;
const JTI_MAX: usize = 128;
const AUDIENCES_MAX: usize = 10;
/// GitLab writes no more either.
const GROUPS_MAX: usize = 200;

/// Every claim that is on record and that a policy reads, where GitLab writes it.
pub const NAMES: [&str; 33] = [
    "iss",
    "sub",
    "project_id",
    "project_path",
    "project_visibility",
    "namespace_id",
    "namespace_path",
    "user_id",
    "user_login",
    "user_email",
    "user_access_level",
    GROUPS,
    "sha",
    "ref",
    "ref_type",
    "ref_path",
    "ref_protected",
    "pipeline_id",
    "pipeline_source",
    "job_id",
    "job_project_id",
    "job_project_path",
    "job_namespace_id",
    "job_namespace_path",
    "job_source",
    "environment",
    "environment_protected",
    "environment_action",
    "deployment_tier",
    "runner_id",
    "runner_environment",
    "ci_config_ref_uri",
    "ci_config_sha",
];
/// The one that is a list.
pub const GROUPS: &str = "groups_direct";

/// The claims of a GitLab job's ID token. What GitLab does not always write is optional.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `iss`: URL of the GitLab instance.
    pub issuer: String,
    /// Host of the instance: the issuer's, unless that is configured to sign for another one.
    pub host: String,
    /// `sub`: composed of other claims as the project is configured to.
    pub subject: String,
    /// `aud`: in verified claims Branchline's own audience, and nothing else.
    pub audience: Vec<String>,
    /// `jti`: the token's own id.
    pub token_id: String,
    /// `iat`.
    pub issued_at: Timestamp,
    /// `nbf`.
    pub not_before: Timestamp,
    /// `exp`.
    pub expires_at: Timestamp,
    /// The project whose code runs; in a fork's merge request pipeline, the fork.
    pub project_id: u64,
    /// Path of that project.
    pub project_path: String,
    /// Group or user that the project belongs to.
    pub namespace_id: u64,
    /// Path of that namespace.
    pub namespace_path: String,
    /// Who started the job.
    pub user_id: u64,
    /// Name of that user.
    pub user_login: String,
    /// E-mail address of that user.
    pub user_email: Option<String>,
    /// Role of that user in the project, lower case.
    pub user_access_level: Option<String>,
    /// Groups of which that user is a direct member.
    pub groups_direct: Option<Vec<String>>,
    /// Who may see the project.
    pub project_visibility: Option<String>,
    /// The commit that the job works on.
    pub sha: String,
    /// Branch or tag; in a merge request pipeline, the source branch.
    pub git_ref: String,
    /// What the ref is.
    pub ref_type: RefType,
    /// Full name of the ref.
    pub ref_path: Option<String>,
    /// Whether the ref is protected.
    pub ref_protected: bool,
    /// The job's pipeline.
    pub pipeline_id: u64,
    /// What started the pipeline, such as `push` or `merge_request_event`.
    pub pipeline_source: String,
    /// The job.
    pub job_id: u64,
    /// The project in which the job runs, where GitLab tells it (since 18.4).
    pub job_project: Option<(u64, String)>,
    /// Group or user that the project belongs to in which the job runs.
    pub job_namespace_id: Option<u64>,
    /// Path of that namespace.
    pub job_namespace_path: Option<String>,
    /// What put the job into the pipeline.
    pub job_source: Option<String>,
    /// Environment that the job deploys to.
    pub environment: Option<String>,
    /// Whether that environment is protected.
    pub environment_protected: Option<bool>,
    /// What the job does to that environment, such as `start`.
    pub environment_action: Option<String>,
    /// Tier of that environment.
    pub deployment_tier: Option<String>,
    /// The runner.
    pub runner_id: Option<u64>,
    /// `gitlab-hosted` or `self-hosted`.
    pub runner_environment: Option<String>,
    /// Where the pipeline's configuration comes from.
    pub ci_config_ref_uri: Option<String>,
    /// Commit of that configuration.
    pub ci_config_sha: Option<String>,
}

/// What a ref is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefType {
    /// A branch.
    #[default]
    Branch,
    /// A tag.
    Tag,
}

impl Claims {
    /// Id and path of the project in which the job runs. In a fork's merge request pipeline
    /// the code is another project's.
    pub fn job_project(&self) -> (u64, &str) {
        let of_code = (self.project_id, self.project_path.as_str());
        self.job_project.as_ref().map_or(of_code, |(id, path)| (*id, path))
    }

    /// Whether the job runs the code of another project than the one in which it runs.
    pub fn is_of_a_fork(&self) -> bool {
        self.job_project().0 != self.project_id
    }

    /// As GitLab writes them, where ids and booleans are texts: what is on record, and what a
    /// policy reads, beside the groups. Times, audience and the token's own id are not among them.
    pub fn written(&self) -> BTreeMap<String, String> {
        let (job_project_id, job_project_path) = self.job_project();
        let ref_type = match self.ref_type {
            RefType::Branch => "branch",
            RefType::Tag => "tag",
        };
        let always = [
            ("iss", self.issuer.clone()),
            ("sub", self.subject.clone()),
            ("project_id", self.project_id.to_string()),
            ("project_path", self.project_path.clone()),
            ("namespace_id", self.namespace_id.to_string()),
            ("namespace_path", self.namespace_path.clone()),
            ("user_id", self.user_id.to_string()),
            ("user_login", self.user_login.clone()),
            ("sha", self.sha.clone()),
            ("ref", self.git_ref.clone()),
            ("ref_type", ref_type.to_owned()),
            ("ref_protected", self.ref_protected.to_string()),
            ("pipeline_id", self.pipeline_id.to_string()),
            ("pipeline_source", self.pipeline_source.clone()),
            ("job_id", self.job_id.to_string()),
            ("job_project_id", job_project_id.to_string()),
            ("job_project_path", job_project_path.to_owned()),
        ];
        let sometimes = [
            ("user_email", self.user_email.clone()),
            ("user_access_level", self.user_access_level.clone()),
            ("project_visibility", self.project_visibility.clone()),
            ("ref_path", self.ref_path.clone()),
            ("job_namespace_id", self.job_namespace_id.map(|it| it.to_string())),
            ("job_namespace_path", self.job_namespace_path.clone()),
            ("job_source", self.job_source.clone()),
            ("environment", self.environment.clone()),
            ("environment_protected", self.environment_protected.map(|it| it.to_string())),
            ("environment_action", self.environment_action.clone()),
            ("deployment_tier", self.deployment_tier.clone()),
            ("runner_id", self.runner_id.map(|it| it.to_string())),
            ("runner_environment", self.runner_environment.clone()),
            ("ci_config_ref_uri", self.ci_config_ref_uri.clone()),
            ("ci_config_sha", self.ci_config_sha.clone()),
        ];
        let sometimes = sometimes.into_iter().filter_map(|(name, it)| Some((name, it?)));
        always.into_iter().chain(sometimes).map(|(name, it)| (name.to_owned(), it)).collect()
    }

    pub(super) fn standing(&self) -> Standing<'_> {
        Standing {
            audience: &self.audience,
            issued_at: self.issued_at,
            not_before: self.not_before,
            expires_at: self.expires_at,
        }
    }

    pub(super) fn read(checks: Checks, claims: &Object) -> Result<Self, Forgery> {
        let it = Reader { checks, claims };
        let job_project = match it.optional("job_project_id", number)? {
            Some(id) => Some((id, it.required("job_project_path", text)?)),
            None => None,
        };
        let issuer = it.required("iss", text)?;
        Ok(Self {
            host: host_of(&issuer).to_owned(),
            issuer,
            subject: it.required("sub", text)?,
            audience: it.required("aud", audience)?,
            token_id: it.required("jti", |it| text(it).filter(|it| it.len() <= JTI_MAX))?,
            issued_at: it.required("iat", time)?,
            not_before: it.required("nbf", time)?,
            expires_at: it.required("exp", time)?,
            project_id: it.required("project_id", number)?,
            project_path: it.required("project_path", text)?,
            namespace_id: it.required("namespace_id", number)?,
            namespace_path: it.required("namespace_path", text)?,
            user_id: it.required("user_id", number)?,
            user_login: it.required("user_login", text)?,
            user_email: it.optional("user_email", text)?,
            user_access_level: it.optional("user_access_level", text)?,
            groups_direct: it.optional(GROUPS, groups)?,
            project_visibility: it.optional("project_visibility", text)?,
            sha: it.required("sha", text)?,
            git_ref: it.required("ref", text)?,
            ref_type: it.required("ref_type", ref_type)?,
            ref_path: it.optional("ref_path", text)?,
            ref_protected: it.required("ref_protected", flag)?,
            pipeline_id: it.required("pipeline_id", number)?,
            pipeline_source: it.required("pipeline_source", text)?,
            job_id: it.required("job_id", number)?,
            job_project,
            job_namespace_id: it.optional("job_namespace_id", number)?,
            job_namespace_path: it.optional("job_namespace_path", text)?,
            job_source: it.optional("job_source", text)?,
            environment: it.optional("environment", text)?,
            environment_protected: it.optional("environment_protected", flag)?,
            environment_action: it.optional("environment_action", text)?,
            deployment_tier: it.optional("deployment_tier", text)?,
            runner_id: it.optional("runner_id", number)?,
            runner_environment: it.optional("runner_environment", text)?,
            ci_config_ref_uri: it.optional("ci_config_ref_uri", text)?,
            ci_config_sha: it.optional("ci_config_sha", text)?,
        })
    }
}

pub(super) struct Reader<'a> {
    pub(super) checks: Checks,
    pub(super) claims: &'a Object,
}

impl Reader<'_> {
    pub(super) fn required<T: Default>(
        &self,
        name: &'static str,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, Forgery> {
        let missing = || self.checks.refuse(Check::Present, Forgery::Missing(name));
        self.optional(name, parse)?.map_or_else(missing, Ok)
    }

    fn optional<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, Forgery> {
        let there = |it: &&Value| !it.is_null() && it.as_str() != Some("");
        let Some(value) = self.claims.get(name).filter(there) else { return Ok(None) };
        let wrong = || self.checks.refuse(Check::Value, Forgery::Value(name));
        parse(value).map_or_else(wrong, |it| Ok(Some(it)))
    }
}

pub(super) fn text(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let clean = text.len() <= TEXT_MAX && !text.contains(char::is_control);
    clean.then(|| text.to_owned())
}

fn number(value: &Value) -> Option<u64> {
    let digits = |it: &&str| it.bytes().all(|it| it.is_ascii_digit());
    value.as_u64().or_else(|| value.as_str().filter(digits)?.parse().ok())
}

pub(super) fn flag(value: &Value) -> Option<bool> {
    value.as_bool().or_else(|| value.as_str()?.parse().ok())
}

pub(super) fn time(value: &Value) -> Option<Timestamp> {
    Timestamp::from_second(value.as_i64()?).ok()
}

fn ref_type(value: &Value) -> Option<RefType> {
    match value.as_str()? {
        "branch" => Some(RefType::Branch),
        "tag" => Some(RefType::Tag),
        _ => None,
    }
}

/// Host of an issuer, with its port where it is not the usual one.
pub(crate) fn host_of(issuer: &str) -> &str {
    let (scheme, rest) = issuer.split_once("://").unwrap_or_default();
    let authority = rest.split('/').next().unwrap_or_default();
    let usual = if scheme == "http" { ":80" } else { ":443" };
    authority.strip_suffix(usual).unwrap_or(authority)
}

fn groups(value: &Value) -> Option<Vec<String>> {
    let groups = value.as_array().filter(|it| it.len() <= GROUPS_MAX)?;
    groups.iter().map(text).collect()
}

/// One text, or a list of them.
pub(super) fn audience(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(all) if all.len() <= AUDIENCES_MAX => all.iter().map(text).collect(),
        one => Some(vec![text(one)?]),
    }
}
