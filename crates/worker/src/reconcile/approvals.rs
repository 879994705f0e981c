//! Approvals of held runs: an operator's, as one asks for it, and those that GitLab knows of the
//! merge request. Who asked for a run does not approve it, nor the operator who had it tried again,
//! nor who opened the merge request; who else wrote a commit of it is for GitLab's own settings to
//! keep out.

use std::time::Duration;

use branchline_contract::{Request, RunId};
use branchline_gitlab::{Client, Error as GitlabError};
use branchline_ledger::{Approval, Author, Body, Run, State, Wanted};
use branchline_service::telemetry::chain;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tracing::warn;

use super::leader::{AT_ONCE, Leader};
use super::perform::{ACTOR, CAUSE};
use super::requests::{Next, done, refused};
use crate::merge_requests::{self, Asked};
use crate::operators::Operators;

/// Between two questions about one run, in rounds.
const EVERY: u32 = 15;
/// A question that GitLab does not answer is dropped after so long.
const LOOK_MAX: Duration = Duration::from_secs(30);

/// What GitLab says of an attempt: the fact of its approval, if it has all that are wanted.
pub(super) struct Looked {
    run: RunId,
    attempt: u32,
    approved: Result<Result<Option<Body>, GitlabError>, Elapsed>,
}

impl Leader {
    /// Asks GitLab about the merge requests of held runs, and takes in what it said since the
    /// last round. No round waits for an answer.
    pub(super) async fn approvals(&mut self) {
        let Some(gitlab) = self.trust.gitlab.clone() else { return };
        while let Some(looked) = self.looks.try_join_next() {
            match looked {
                Ok(looked) => self.take_in(looked).await,
                Err(error) => warn!(%error, "question about approvals not finished"),
            }
        }
        let (now, operators) = (self.started.elapsed(), self.trust.operators.clone());
        let due = self
            .runs
            .values_mut()
            .filter(|it| is_told_by(gitlab.host(), &it.run) && now >= it.memory.approvals_at);
        for it in due.take(AT_ONCE.saturating_sub(self.looks.len())) {
            it.memory.approvals_at = now + LOOK_MAX + self.settings.tick * EVERY;
            let (gitlab, run) = (gitlab.clone(), it.run.clone());
            let asked = asked(&run, operators.as_deref());
            self.looks.spawn(async move {
                let approved = timeout(LOOK_MAX, look(&gitlab, &run, &asked)).await;
                Looked { run: run.id, attempt: run.attempt, approved }
            });
        }
    }

    async fn take_in(&mut self, looked: Looked) {
        let Looked { run, attempt, approved } = looked;
        let Some(mut it) = self.runs.remove(&run) else { return };
        it.memory.approvals_at = self.started.elapsed() + self.settings.tick * EVERY;
        match approved {
            Ok(Ok(Some(body))) if is_still_asked(&it.run, attempt) => {
                let author = Author { actor: ACTOR, cause: CAUSE, trace: None };
                if let Err(error) = self.hands().append_for(&mut it, body, author).await {
                    warn!(run.id = %run, error = chain(&error), "run not approved; tried again");
                }
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                warn!(run.id = %run, error = chain(&error), "approvals not read; tried again");
            }
            Err(_) => warn!(run.id = %run, "approvals not read in time; tried again"),
        }
        self.step();
        self.runs.insert(run, it);
    }
}

/// Whether it waits for approvals, and that GitLab is its own: ids of another mean others.
fn is_told_by(host: &str, run: &Run) -> bool {
    waits_for_merge_request(run) && run.request.gitlab.host.as_str() == host
}

fn waits_for_merge_request(run: &Run) -> bool {
    matches!(run.state, State::Held(_)) && run.wanted.merge_request > 0 && run.cancel.is_none()
}

/// Whether an answer about an attempt is of use. Another attempt has another requester, whose own
/// approval would not count.
fn is_still_asked(run: &Run, attempt: u32) -> bool {
    run.attempt == attempt && waits_for_merge_request(run)
}

/// Lets a held run go on, for an operator who did not ask for it and is these users of its GitLab.
pub(super) fn approve(run: &Run, attempt: Option<u32>, request: &Request, users: &[u64]) -> Next {
    let (id, in_force, operator) = (&run.id, run.attempt, request.actor.as_str());
    let was_wanted = run.grounds.as_ref().and_then(|it| it.wanted).is_some_and(|it| it.operator);
    let (verdict, message) = match &run.state {
        _ if attempt.is_some_and(|it| it != in_force) => {
            refused(format!("the attempt in force of {id} is {in_force}"))
        }
        State::Finished(ending) => refused(format!("{id} has ended: {}", ending.outcome.as_str())),
        State::Requested | State::Stalled(_) | State::Verified => {
            refused(format!("{id} is still being checked; ask again"))
        }
        _ if was_wanted && !run.wanted.operator => done(match run.wanted {
            Wanted::NOTHING => format!("attempt {in_force} of {id} is approved"),
            wanted => format!("attempt {in_force} of {id} is approved by an operator; {wanted}"),
        }),
        State::Held(_) if run.wanted.operator => match partial(run, operator, users) {
            Some(why) => refused(why),
            None => {
                return Next::Append(Body::Approved {
                    given: Approval::Operator,
                    by: vec![operator.to_owned()],
                    reason: request.reason.to_string(),
                });
            }
        },
        State::Held(_) | State::Admitted | State::Intended | State::Submitted | State::Running => {
            refused(format!("{id} wants no operator's approval"))
        }
    };
    Next::Answer(verdict, message)
}

/// The fact that a merge request of the run has all approvals that are wanted.
async fn look(gitlab: &Client, run: &Run, asked: &Asked) -> Result<Option<Body>, GitlabError> {
    let found = merge_requests::of(gitlab, &run.request.gitlab, asked).await?;
    let wanted = usize::try_from(run.wanted.merge_request).unwrap_or(usize::MAX);
    Ok(found.into_iter().find(|it| it.approvers.len() >= wanted).map(|it| Body::Approved {
        given: Approval::MergeRequest,
        by: it.approvers,
        reason: format!("approvals of merge request !{}", it.merge_request.iid),
    }))
}

/// Whose approvals do not count, and which are too old. An operator who is no user of that GitLab as
/// far as anybody knows could be each of them.
fn asked(run: &Run, operators: Option<&Operators>) -> Asked {
    let claims = run.grounds.as_ref().map(|it| &it.claims);
    let requester: Option<u64> = claims.and_then(|it| it.get("user_id")?.parse().ok());
    let Some(operator) = &run.retried_by else {
        return Asked { by: requester.map(|it| vec![it]), anew: None };
    };
    let users = operators.map(|it| it.users(operator, &run.request.gitlab.host));
    let users = users.filter(|it| !it.is_empty());
    let by = requester.zip(users).map(|(requester, mut users)| {
        users.push(requester);
        users
    });
    Asked { by, anew: Some(run.asked_at) }
}

/// Why an operator must not approve a run: they asked for it, or cannot be told from who did. Whoever
/// asked is known by their id in GitLab, for everybody can change their name and address there.
fn partial(run: &Run, operator: &str, users: &[u64]) -> Option<String> {
    let (id, host) = (&run.id, &run.request.gitlab.host);
    let claim = |name| run.grounds.as_ref()?.claims.get(name);
    let asked = || Some(format!("{operator} asked for {id}: another has to approve it"));
    let is_operator = |it: &String| it.eq_ignore_ascii_case(operator);
    if run.retried_by.as_ref().is_some_and(is_operator) {
        return asked();
    }
    // What an operator wrote, by a proven address.
    if let Some(writer) = claim("operator") {
        return is_operator(writer).then(asked).flatten();
    }
    let Some(requester) = claim("user_id").and_then(|it| it.parse().ok()) else {
        return Some(format!("it is not on record who asked for {id}"));
    };
    if users.is_empty() {
        return Some(format!(
            "the workers' configuration does not say which user of {host} {operator} is, so nothing \
             tells them from who asked for {id}"
        ));
    }
    let same_address = claim("user_email").is_some_and(is_operator);
    (users.contains(&requester) || same_address).then(asked).flatten()
}

#[cfg(test)]
mod tests;
