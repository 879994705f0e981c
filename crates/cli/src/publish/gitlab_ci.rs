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
    let origin = Gitlab {
        host: variables.host()?,
        project_id: variables.parse("CI_PROJECT_ID")?,
        project_path: variables.parse("CI_PROJECT_PATH")?,
        // In a merged results pipeline a temporary merge commit: it is what is checked out, what
        // the ID token names, and what GitLab knows the pipeline by.
        sha: variables.parse("CI_COMMIT_SHA")?,
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

    /// Host and, where it is not the scheme's own, port. `CI_SERVER_HOST` lacks the port.
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

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const SHA: &str = "1111111111111111111111111111111111111111";
    const MERGED: &str = "2222222222222222222222222222222222222222";

    fn check(changes: &[(&str, &str)], expect: &Expect) {
        let job = [
            ("CI_SERVER_URL", "https://gitlab.example.com"),
            ("CI_PROJECT_ID", "42"),
            ("CI_PROJECT_PATH", "ml/iris"),
            ("CI_COMMIT_SHA", SHA),
            ("CI_COMMIT_REF_NAME", "topic"),
            ("CI_PIPELINE_ID", "7"),
            ("CI_JOB_ID", "70"),
        ];
        let all = job.iter().chain(changes);
        let environment = all.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let shown = match read(&environment) {
            Err(error) => error.to_string(),
            Ok(Job { origin: it, .. }) => {
                let into = it.merge_request.map_or_else(
                    || "no merge request".to_owned(),
                    |it| format!("!{} into {:?}", it.iid, it.target_branch.map(String::from)),
                );
                format!("{} {:.4} {into}", it.host, it.sha.as_str())
            }
        };
        expect.assert_eq(&shown);
    }

    #[test]
    fn the_host_has_a_port_where_it_is_not_the_usual_one() {
        check(
            &[("CI_SERVER_URL", "https://git.example.com:443")],
            &expect!["git.example.com 1111 no merge request"],
        );
        check(
            &[("CI_SERVER_URL", "http://127.0.0.1:8080/gitlab")],
            &expect!["127.0.0.1:8080 1111 no merge request"],
        );
        check(
            &[("CI_SERVER_URL", "https://")],
            &expect![[r#"CI_SERVER_URL: "" is not a host name, with or without a port"#]],
        );
    }

    #[test]
    fn a_merge_request_pipeline_is_about_the_commit_that_is_checked_out() {
        let pipeline = [
            ("CI_MERGE_REQUEST_IID", "3"),
            ("CI_MERGE_REQUEST_PROJECT_PATH", "ml/iris"),
            ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main"),
        ];
        check(&pipeline, &expect![[r#"gitlab.example.com 1111 !3 into Some("main")"#]]);
        let merged = [("CI_COMMIT_SHA", MERGED), ("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", SHA)];
        check(
            &[&pipeline[..], &merged].concat(),
            &expect![[r#"gitlab.example.com 2222 !3 into Some("main")"#]],
        );
    }

    #[test]
    fn a_branch_pipeline_belongs_to_the_open_merge_request_of_its_project() {
        check(
            &[("CI_OPEN_MERGE_REQUESTS", "up/iris!9,ml/iris!4,ml/iris!5")],
            &expect!["gitlab.example.com 1111 !4 into None"],
        );
        check(
            &[("CI_OPEN_MERGE_REQUESTS", "up/iris!9")],
            &expect!["gitlab.example.com 1111 no merge request"],
        );
        check(&[], &expect!["gitlab.example.com 1111 no merge request"]);
    }

    #[test]
    fn a_forks_merge_request_is_not_a_merge_request_of_the_fork() {
        let fork = [
            ("CI_MERGE_REQUEST_IID", "9"),
            ("CI_MERGE_REQUEST_PROJECT_PATH", "up/iris"),
            ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main"),
        ];
        check(&fork, &expect!["gitlab.example.com 1111 no merge request"]);
    }
}
