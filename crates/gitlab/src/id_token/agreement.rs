//! Whether a message says what its token proves. Pure.

use branchline_contract::Gitlab;

use super::forgery::{Subject, shown};
use super::{Check, Checks, Claims, Finding, Forgery};

/// A genuine token, and the message that it came with.
pub(super) struct Said<'a> {
    token: &'a Claims,
    message: &'a Gitlab,
}

pub(super) type OfAgreement = fn(&Said<'_>) -> Finding;

pub(super) const OF_AGREEMENT: [(Check, OfAgreement); 7] = [
    (Check::Host, host),
    (Check::Project, project),
    (Check::ProjectPath, project_path),
    (Check::Sha, sha),
    (Check::Ref, git_ref),
    (Check::Pipeline, pipeline),
    (Check::Job, job),
];

/// Refuses a message that says something else about its origin than its token.
///
/// The project is the one in which the job runs. In a merge request pipeline both sides name the
/// source branch. The merge request is not in the token: it stays what the message says.
pub fn agree(claims: &Claims, message: &Gitlab) -> Result<(), Forgery> {
    agree_by(Checks::default(), claims, message)
}

pub(super) fn agree_by(checks: Checks, token: &Claims, message: &Gitlab) -> Finding {
    let said = Said { token, message };
    checks.run(&OF_AGREEMENT, |rule| rule(&said))
}

fn host(it: &Said<'_>) -> Finding {
    same(Subject::Host, &it.token.host, it.message.host.as_str())
}

fn project(it: &Said<'_>) -> Finding {
    same_id(Subject::Project, it.token.job_project().0, it.message.project_id)
}

fn project_path(it: &Said<'_>) -> Finding {
    same(Subject::ProjectPath, it.token.job_project().1, it.message.project_path.as_str())
}

fn sha(it: &Said<'_>) -> Finding {
    same(Subject::Sha, &it.token.sha, it.message.sha.as_str())
}

fn git_ref(it: &Said<'_>) -> Finding {
    same(Subject::Ref, &it.token.git_ref, it.message.git_ref.as_str())
}

fn pipeline(it: &Said<'_>) -> Finding {
    same_id(Subject::Pipeline, it.token.pipeline_id, it.message.pipeline_id)
}

fn job(it: &Said<'_>) -> Finding {
    same_id(Subject::Job, it.token.job_id, it.message.job_id)
}

fn same(what: Subject, token: &str, message: &str) -> Finding {
    if token == message {
        return Ok(());
    }
    Err(Forgery::Differs { what, token: shown(token), message: shown(message) })
}

fn same_id(what: Subject, token: u64, message: u64) -> Finding {
    same(what, &token.to_string(), &message.to_string())
}
