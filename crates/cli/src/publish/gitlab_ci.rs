//! What GitLab CI tells a job about itself. The only file that knows its predefined variables.

use std::collections::BTreeMap;
use std::str::FromStr;

use branchline_contract::{Gitlab, GitlabHost, IdToken, Invalid, MergeRequest};

/// Variables that are not usable.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Not there, or empty.
    #[error(
        "{} {} not set; publish is made for a GitLab CI job, where GitLab sets {}",
        .0.join(", "),
        if .0.len() == 1 { "is" } else { "are" },
        if .0.len() == 1 { "it" } else { "them" }
    )]
    Missing(Vec<&'static str>),
    /// There, but not what GitLab would write.
    #[error("{name}: {why}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// The rule that it breaks.
        why: String,
    },
}

/// The job, and the token that proves what is said about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// Where the request comes from.
    pub(crate) origin: Gitlab,
    /// The job's id token, where `.gitlab-ci.yml` asks for one.
    pub(crate) id_token: Option<IdToken>,
}

/// Reads the job from its environment.
pub(crate) fn read(environment: &BTreeMap<String, String>) -> Result<Job, Error> {
    let variables = Variables(environment);
    let required = [
        "CI_SERVER_URL",
        "CI_PROJECT_ID",
        "CI_PROJECT_PATH",
        "CI_COMMIT_SHA",
        "CI_COMMIT_REF_NAME",
        "CI_PIPELINE_ID",
        "CI_JOB_ID",
    ];
    let missing: Vec<_> = required.into_iter().filter(|it| variables.get(it).is_none()).collect();
    if !missing.is_empty() {
        return Err(Error::Missing(missing));
    }
    // In a merged results pipeline CI_COMMIT_SHA is a temporary merge commit that no branch holds.
    let sha = match variables.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA") {
        Some(_) => variables.parse("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA")?,
        None => variables.parse("CI_COMMIT_SHA")?,
    };
    let origin = Gitlab {
        host: variables.host()?,
        project_id: variables.parse("CI_PROJECT_ID")?,
        project_path: variables.parse("CI_PROJECT_PATH")?,
        sha,
        git_ref: variables.parse("CI_COMMIT_REF_NAME")?,
        pipeline_id: variables.parse("CI_PIPELINE_ID")?,
        job_id: variables.parse("CI_JOB_ID")?,
        merge_request: variables.merge_request()?,
    };
    let id_token = variables.get("BRANCHLINE_ID_TOKEN").map(|it| IdToken(it.to_owned()));
    Ok(Job { origin, id_token })
}

struct Variables<'a>(&'a BTreeMap<String, String>);

impl<'a> Variables<'a> {
    /// GitLab sets some variables to nothing where they do not apply.
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(String::as_str).filter(|it| !it.is_empty())
    }

    fn parse<T: FromStr<Err: std::fmt::Display>>(&self, name: &'static str) -> Result<T, Error> {
        let text = self.get(name).ok_or_else(|| Error::Missing(vec![name]))?;
        text.parse().map_err(|error: T::Err| Error::Invalid { name, why: error.to_string() })
    }

    /// Host and, where it is not the scheme's own, port. CI_SERVER_HOST lacks the port.
    fn host(&self) -> Result<GitlabHost, Error> {
        let url = self.get("CI_SERVER_URL").unwrap_or_default();
        let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
        let authority = rest.split('/').next().unwrap_or_default();
        let usual = if scheme == "http" { ":80" } else { ":443" };
        let host = GitlabHost::parse(authority.strip_suffix(usual).unwrap_or(authority));
        host.map_err(|error: Invalid| Error::Invalid {
            name: "CI_SERVER_URL",
            why: error.to_string(),
        })
    }

    /// The merge request of this project that the pipeline belongs to, or that its branch has open.
    fn merge_request(&self) -> Result<Option<MergeRequest>, Error> {
        let project = self.get("CI_PROJECT_PATH");
        if self.get("CI_MERGE_REQUEST_IID").is_some() {
            // A fork's pipeline counts merge requests of the project that it would merge into.
            let target = self.get("CI_MERGE_REQUEST_PROJECT_PATH");
            if target.is_some() && target != project {
                return Ok(None);
            }
            return Ok(Some(MergeRequest {
                iid: self.parse("CI_MERGE_REQUEST_IID")?,
                target_branch: Some(self.parse("CI_MERGE_REQUEST_TARGET_BRANCH_NAME")?),
            }));
        }
        let open = self.get("CI_OPEN_MERGE_REQUESTS").unwrap_or_default().split(',');
        let mut ours = open.filter_map(|it| it.split_once('!')).filter(|it| Some(it.0) == project);
        let iid = ours.next().and_then(|(_, iid)| iid.parse().ok());
        Ok(iid.map(|iid| MergeRequest { iid, target_branch: None }))
    }
}
