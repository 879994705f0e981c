//! Carries out what was asked for from outside, each request once, and writes
//! down what became of it.

use std::collections::BTreeMap;

use branchline_contract::{Actor, Ask, IdToken, Region, Request, RunId, Vertex as Domain};
use branchline_gcp::Error as GcpError;
use branchline_ledger::{
    Answer, Applied, Asked, Author, Base64, Body, Order, Pause, Queued, RequestName, Run, Verdict,
};
use branchline_service::redact;
use branchline_service::telemetry::chain;
use tracing::{error, info, warn};

use super::approvals::approve;
use super::leader::Leader;
use super::perform::{self, COLLISIONS_MAX};
use super::replays::Replays;
use super::step::Hold;

const NO_OPERATORS: &str = "nobody can do that: the workers' configuration names no operators";

/// What became of a request; `None` while it has to wait.
pub(super) type Told = Option<(Verdict, String)>;

/// What a request asks of a run, as it stands: a fact, or nothing more and this answer.
#[derive(Debug)]
pub(super) enum Next {
    Append(Body),
    Answer(Verdict, String),
}

impl Leader {
    /// Carries out every request and removes it. What cannot be one is removed
    /// too, so that it is in nobody's way; and what cannot be removed is not either.
    pub(super) async fn answer(
        &mut self,
        asked: Vec<Asked>,
        entries: &[Queued],
    ) -> Result<(), GcpError> {
        let mut first = Ok(());
        for asked in asked {
            let answered = self.answer_one(&asked, entries).await;
            self.step();
            if let Err(error) = answered {
                warn!(?asked, error = chain(&error), "request not answered; tried again");
                first = first.and(Err(error));
            }
        }
        first
    }

    async fn answer_one(&mut self, asked: &Asked, entries: &[Queued]) -> Result<(), GcpError> {
        let Some(name) = &asked.name else {
            warn!(?asked, "object among the requests is none; removed");
            return self.ledger.requests.remove(asked).await;
        };
        if self.replays.as_ref().is_some_and(|it| it.has(name)) {
            return Ok(());
        }
        if self.ledger.requests.answered(name).await?.is_none() {
            let Some(bytes) = self.ledger.requests.read(asked).await? else { return Ok(()) };
            let token = Request::decode(&bytes).ok().and_then(|it| it.id_token);
            let mut request = read(name, &bytes);
            let told = match &mut request {
                Ok(request) => self.decide(asked, name, (request, token), entries).await,
                Err(problem) => Ok(Some((Verdict::Refused, problem.clone()))),
            };
            let (verdict, message) = match told {
                Ok(Some(told)) => told,
                Ok(None) => return Ok(()),
                Err(error) => {
                    warn!(
                        request.id = name.id(),
                        error = chain(&error),
                        "request not carried out; tried again"
                    );
                    return Ok(());
                }
            };
            info!(request.id = name.id(), ?verdict, message, "request answered");
            let time = (self.settings.clock)();
            let counts = BTreeMap::new();
            let request = request.ok().map(Request::for_the_record);
            let answer = Answer { request, verdict, message, counts, time };
            self.ledger.requests.answer(name, &answer).await?;
        }
        self.ledger.requests.remove(asked).await
    }

    /// Carries a request out for whoever proves to be an operator. From here on the request
    /// names who that is.
    async fn decide(
        &mut self,
        asked: &Asked,
        name: &RequestName,
        (request, token): (&mut Request, Option<IdToken>),
        entries: &[Queued],
    ) -> Result<Told, perform::Error> {
        if let Some(operators) = self.trust.operators.clone() {
            let at = asked.at.unwrap_or_else(self.settings.clock);
            let who = match operators.identify(token.as_ref(), at).await {
                Ok(who) => who,
                Err(error) if error.is_transient() => {
                    warn!(request.id = name.id(), error = chain(&error), "asker not known yet");
                    return Ok(None);
                }
                Err(error) => return Ok(Some(refused(chain(&error)))),
            };
            match Actor::parse(who) {
                Ok(who) => request.actor = who,
                Err(error) => return Ok(Some(refused(error.to_string()))),
            }
        } else if matches!(request.ask, Ask::Approve { .. } | Ask::Edit { .. }) {
            return Ok(Some(refused(NO_OPERATORS.to_owned())));
        }
        self.carry_out(asked, name, request, entries).await
    }

    async fn carry_out(
        &mut self,
        asked: &Asked,
        name: &RequestName,
        request: &Request,
        entries: &[Queued],
    ) -> Result<Told, perform::Error> {
        match &request.ask {
            Ask::Cancel { run, attempt } => {
                let queued = entries.iter().any(|it| it.ticket.run == *run);
                let next = |it: &Run| cancel(it, *attempt, request);
                self.append_asked(request, run, queued, next).await
            }
            Ask::Approve { run, attempt } => {
                let queued = entries.iter().any(|it| it.ticket.run == *run);
                let operators = self.trust.operators.clone();
                let next = |it: &Run| {
                    let (operator, host) = (request.actor.as_str(), &it.request.gitlab.host);
                    let users = operators.as_ref().map(|them| them.users(operator, host));
                    approve(it, *attempt, request, &users.unwrap_or_default())
                };
                self.append_asked(request, run, queued, next).await
            }
            Ask::Retry(retry) => self.retry(asked, request, retry).await,
            Ask::Pause(domain) if !self.is_used(domain) => {
                let regions: Vec<_> =
                    self.settings.retry.regions.iter().map(Region::as_str).collect();
                let regions = regions.join(", ");
                let nobody = format!("no run is in {domain}, and runs are let in for {regions}");
                Ok(Some(refused(nobody)))
            }
            Ask::Pause(domain) | Ask::Resume(domain) => {
                let pause = Pause {
                    order: Order { asked_at: asked.at, request: name.as_str().to_owned() },
                    is_over: matches!(request.ask, Ask::Resume(_)),
                    actor: request.actor.to_string(),
                    reason: request.reason.to_string(),
                };
                let applied = self.ledger.pauses.apply(domain, &pause).await?;
                Ok(applied.map(|it| paused(domain, &pause, it)))
            }
            Ask::Replay { .. } | Ask::Edit { .. } | Ask::Discard { .. } => {
                if let Some(problem) = problem_with(&request.ask) {
                    return Ok(Some(refused(problem)));
                }
                let proven = self.trust.operators.is_some();
                let post = &self.post;
                if self.replays.as_ref().is_some_and(Replays::is_over) {
                    error!("the task for dead letters panicked; it is started again");
                    self.replays = None;
                }
                let replays = self.replays.get_or_insert_with(|| Replays::start(post.clone()));
                replays.take(asked, name, request, proven);
                Ok(None)
            }
        }
    }

    /// Whether runs may wait there: those of a region that none are let in for any more still do.
    fn is_used(&self, domain: &Domain) -> bool {
        self.settings.retry.regions.contains(&domain.region)
            || self.runs.values().any(|it| it.run.request.vertex == *domain)
    }

    /// Writes the fact down that the request asks of a run, and tells what the run then answers.
    async fn append_asked(
        &mut self,
        request: &Request,
        run: &RunId,
        queued: bool,
        next: impl Fn(&Run) -> Next,
    ) -> Result<Told, perform::Error> {
        let Some(mut it) = self.runs.remove(run) else {
            // Intake has yet to write it, or its ledger cannot be read now.
            return Ok((!queued).then(|| refused(format!("no run {run} is active"))));
        };
        let (actor, cause) = (request.actor.as_str(), request.id.as_str());
        let author = Author { actor, cause, trace: None };
        let mut told = Ok(None);
        for _ in 0..COLLISIONS_MAX {
            match next(&it.run) {
                Next::Answer(verdict, message) => {
                    told = Ok(Some((verdict, message)));
                    break;
                }
                Next::Append(body) => {
                    if let Err(error) = self.hands().append_for(&mut it, body, author).await {
                        told = Err(error);
                        break;
                    }
                }
            }
        }
        self.runs.insert(run.clone(), it);
        told
    }

    /// Tells every run whether its domain is paused.
    pub(super) async fn pause(&mut self) -> Result<(), GcpError> {
        let pauses = self.ledger.pauses.list().await?;
        let hold = |it: &Pause| Hold { request: it.order.request.clone(), reason: said(it) };
        for it in self.runs.values_mut() {
            it.memory.pause = pauses.get(&it.run.request.vertex).map(hold);
        }
        Ok(())
    }
}

/// Ends the attempt in force; the protocol does the rest.
fn cancel(run: &Run, attempt: Option<u32>, request: &Request) -> Next {
    let (run_id, in_force, id) = (&run.id, run.attempt, request.id.as_str());
    let (verdict, message) = match (run.ending(), &run.cancel) {
        _ if attempt.is_some_and(|it| it != in_force) => {
            refused(format!("the attempt in force of {run_id} is {in_force}"))
        }
        (Some(ending), _) => refused(format!("{run_id} has ended: {}", ending.outcome.as_str())),
        (None, Some(_)) if run.cancel_request.as_deref() == Some(id) => {
            done(format!("attempt {in_force} of {run_id} is being cancelled"))
        }
        (None, Some(reason)) => done(format!("{run_id} was being cancelled: {reason}")),
        (None, None) => {
            return Next::Append(Body::CancelRequested {
                reason: format!("{} (asked for by {})", request.reason, request.actor),
                request: Some(id.to_owned()),
            });
        }
    };
    Next::Answer(verdict, message)
}

/// The request of that name, or why it is none. The bytes may be anything, and no token that is
/// in them is in what is told or kept.
fn read(name: &RequestName, bytes: &[u8]) -> Result<Request, String> {
    let mut request =
        Request::decode(&redact(bytes)).map_err(|error| format!("it is no request: {error}"))?;
    request.id_token = None;
    if request.id.as_str() == name.id() {
        Ok(request)
    } else {
        Err(format!("it calls itself {}", request.id))
    }
}

/// What keeps a request about dead letters from being carried out, whatever the archive says.
fn problem_with(ask: &Ask) -> Option<String> {
    let count = match ask {
        Ask::Replay { letters, .. } | Ask::Discard { letters } => letters.len(),
        Ask::Edit { data, .. } => {
            let max = Request::EDIT_BYTES_MAX;
            return match Base64::try_from(data.clone()) {
                Err(_) => Some("the new body is not base64".to_owned()),
                Ok(it) if it.0.len() > max => Some(format!("a new body has at most {max} bytes")),
                Ok(_) => None,
            };
        }
        Ask::Cancel { .. }
        | Ask::Approve { .. }
        | Ask::Retry(_)
        | Ask::Pause(_)
        | Ask::Resume(_) => 0,
    };
    let max = Request::LETTERS_MAX;
    (count > max).then(|| format!("one request names at most {max} dead letters"))
}

pub(super) fn done(message: String) -> (Verdict, String) {
    (Verdict::Done, message)
}

pub(super) fn refused(message: String) -> (Verdict, String) {
    (Verdict::Refused, message)
}

fn paused(domain: &Domain, pause: &Pause, applied: Applied) -> (Verdict, String) {
    match applied {
        Applied::Late(since) => refused(format!("{domain} was {} since", said(&since))),
        Applied::Stands(_) if !pause.is_over => done(format!("{domain} is {}", said(pause))),
        Applied::Stands(Some(before)) if !before.is_over => {
            done(format!("{domain} goes on; it was {}", said(&before)))
        }
        Applied::Stands(_) => done(format!("{domain} was not paused")),
    }
}

fn said(it: &Pause) -> String {
    let how = if it.is_over { "resumed" } else { "paused" };
    format!("{how} by {}: {}", it.actor, it.reason)
}
