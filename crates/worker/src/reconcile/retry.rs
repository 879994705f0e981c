//! An operator has a run tried once more that has ended. No CI job asks, so nothing is proven anew:
//! the policy in force decides on what the ID token of the attempt before proved, and on what GitLab
//! told then. Its inputs are looked at again before a job is created, as always.

use std::collections::BTreeSet;

use branchline_contract::{Outcome, Region, Request, Retry};
use branchline_gcp::Class;
use branchline_gitlab::Client;
use branchline_ledger::{
    Appended, Asked, Author, Body, Entry, Grounds, History, Reopened, Run, State, Ticket,
};
use branchline_policy::Policy;
use branchline_service::telemetry::chain;
use jiff::Timestamp;
use tracing::info;

use super::leader::Leader;
use super::perform::{self, COLLISIONS_MAX};
use super::requests::{Told, done, refused};
use crate::{admission, staging};

/// What an attempt has to meet that no CI job asks for, by the worker's configuration.
#[derive(Clone, Debug)]
pub(crate) struct Conditions {
    /// Regions that runs may use.
    pub regions: BTreeSet<Region>,
    /// Whether jobs read copies.
    pub staging: bool,
    /// Whether contents are compared with their SHA-256.
    pub verify_sha256: bool,
}

impl Leader {
    /// Begins the next attempt of a run that has ended, once for each request: the fact that begins
    /// it names the request. As in intake, the queue entry stands before the fact and is asserted
    /// behind it, so that whoever crashes in between leaves the request, and all of this is done again.
    pub(super) async fn retry(
        &mut self,
        asked: &Asked,
        request: &Request,
        retry: &Retry,
    ) -> Result<Told, perform::Error> {
        let Retry { run, project_id, .. } = retry;
        let asked_at = asked.at.unwrap_or_else(self.settings.clock);
        let (actor, cause) = (request.actor.as_str(), request.id.as_str());
        let author = Author { actor, cause, trace: None };
        for _ in 0..COLLISIONS_MAX {
            let history = match self.ledger.store.load(*project_id, run).await {
                Ok(Some(history)) => history,
                Ok(None) => {
                    let message = format!("there is no run {run} of GitLab project {project_id}");
                    return Ok(Some(refused(message)));
                }
                // A ledger that does not fold stays so.
                Err(error) if error.class() == Class::Refused => {
                    return Ok(Some(refused(chain(&error))));
                }
                Err(error) => return Err(error.into()),
            };
            if let Some(attempt) = began(&history.entries, request) {
                self.ledger.queue.hand_over(&history.run).await?;
                let told = done(begun(&history.run, attempt));
                if let Some(it) = self.runs.get_mut(run) {
                    it.refresh(history);
                }
                return Ok(Some(told));
            }
            let body = match self.next_attempt(&history, request, retry, asked_at).await? {
                Ok(body) => body,
                Err(reason) => return Ok(Some(refused(reason))),
            };
            let ticket = Ticket::new(asked_at, run.clone(), history.run.attempt + 1);
            self.ledger.queue.ensure(&ticket, *project_id).await?;
            // Whether it is written, or somebody else was faster, the ledger tells.
            let appended = self.ledger.store.append(&history.run, body, author).await?;
            if let Appended::Written(entry) = appended {
                info!(run.id = %run, run.sequence = entry.fact.sequence, "run tried once more");
            }
        }
        Ok(None)
    }

    /// The fact that begins the next attempt, or why none may begin.
    async fn next_attempt(
        &mut self,
        history: &History,
        request: &Request,
        retry: &Retry,
        asked_at: Timestamp,
    ) -> Result<Result<Body, String>, perform::Error> {
        if let Err(reason) = may_begin(&history.run, retry) {
            return Ok(Err(reason));
        }
        if let Some(reason) = self.would_supersede(&history.run).await? {
            return Ok(Err(format!("it would be {reason}")));
        }
        let policy = (&*self.trust.policy, self.trust.gitlab.as_ref().map(Client::host));
        let grounds = match decide(history, &self.settings.retry, policy) {
            Ok(grounds) => Box::new(grounds),
            Err(reason) => return Ok(Err(reason)),
        };
        let (operator, host) = (request.actor.as_str(), &history.run.request.gitlab.host);
        let users = self.trust.operators.as_ref().map(|it| it.users(operator, host));
        let is_known = users.is_some_and(|it| !it.is_empty());
        if grounds.wanted.is_some_and(|it| it.merge_request > 0) && !is_known {
            return Ok(Err(format!(
                "it wants an approval of its merge request by somebody else, and the workers' \
                 configuration does not say which user of {host} {operator} is: its CI job has to \
                 ask again"
            )));
        }
        let operator = Some(Box::new(Reopened {
            request: request.id.to_string(),
            by: request.actor.to_string(),
            reason: request.reason.to_string(),
            grounds,
        }));
        Ok(Ok(Body::Retried { request: None, reason: None, operator, asked_at }))
    }
}

/// The attempt that a request began, if it did.
fn began(entries: &[Entry], request: &Request) -> Option<u32> {
    entries.iter().map(|it| &it.fact).find_map(|fact| match &fact.body {
        Body::Retried { operator: Some(it), .. } if it.request == request.id.as_str() => {
            Some(fact.attempt)
        }
        _ => None,
    })
}

/// Whether another attempt may begin, as far as the run itself tells; otherwise why not.
fn may_begin(run: &Run, retry: &Retry) -> Result<(), String> {
    let (id, in_force) = (&run.id, run.attempt);
    if retry.attempt.is_some_and(|it| it != in_force) {
        return Err(format!("the attempt in force of {id} is {in_force}"));
    }
    let Some(ending) = run.ending() else {
        return Err(format!("attempt {in_force} of {id} has not ended"));
    };
    match ending.outcome {
        Outcome::Succeeded if !retry.force => {
            Err(format!("{id} has succeeded; --force has it tried again all the same"))
        }
        Outcome::Rejected => {
            Err(format!("{id} was rejected, and is let in by nobody but its CI job, asking again"))
        }
        Outcome::Succeeded | Outcome::Failed | Outcome::Cancelled | Outcome::Expired => Ok(()),
    }
}

/// Decides anew, by the policy that is in force; or tells why it may not train.
fn decide(
    history: &History,
    conditions: &Conditions,
    (policy, host): (&Policy, Option<&str>),
) -> Result<Grounds, String> {
    let run = &history.run;
    let Some(grounds) = &run.grounds else {
        return Err(format!(
            "attempt {} of {} ended before it was let in, so nothing is proven of it: its CI job \
             has to ask again",
            run.attempt, run.id
        ));
    };
    let (proven, known) = (grounds.proven(), grounds.merge_requests.clone());
    let (mut reasons, grounds) =
        admission::decide(&run.request, &conditions.regions, policy, host, &proven, known);
    reasons.extend(unchecked(history, conditions));
    if reasons.is_empty() {
        Ok(grounds)
    } else {
        Err(format!("it may not train now: {}", reasons.join("; ")))
    }
}

/// What intake would do now with its inputs and did not do then.
fn unchecked(history: &History, conditions: &Conditions) -> Vec<String> {
    let run = &history.run;
    let compared = history.entries.iter().rev().find_map(|it| match it.fact.body {
        Body::Verified { contents_read, .. } => Some(contents_read),
        _ => None,
    });
    let mut reasons = Vec::new();
    if conditions.staging {
        reasons.extend(staging::problems(&run.request));
        if run.staged.is_empty() && !run.request.artifacts.is_empty() {
            reasons.push("its inputs were never staged: its CI job has to ask again".to_owned());
        }
    }
    if conditions.verify_sha256 && compared != Some(true) && !run.request.artifacts.is_empty() {
        reasons.push("its contents were never compared: its CI job has to ask again".to_owned());
    }
    reasons
}

fn begun(run: &Run, attempt: u32) -> String {
    let id = &run.id;
    match &run.state {
        _ if attempt != run.attempt => format!("attempt {attempt} of {id} was begun"),
        State::Held(reason) => format!("attempt {attempt} of {id} is held: {reason}"),
        State::Finished(it) => {
            format!("attempt {attempt} of {id} has ended: {}", it.outcome.as_str())
        }
        State::Requested
        | State::Stalled(_)
        | State::Verified
        | State::Admitted
        | State::Intended
        | State::Submitted
        | State::Running => format!("attempt {attempt} of {id} was begun and waits in line"),
    }
}

#[cfg(test)]
mod tests;
