//! Intake, on every worker pod: decode → identify → request → verify → admit or hold → ack.
//!
//! Each fact is appended as it becomes known, so a redelivered request finds
//! its facts and completes only what is missing. Vertex AI is never called here.

mod error;

use std::sync::Arc;
use std::time::Duration;

use branchline_contract::{Artifact, ArtifactReady, Envelope, RunId, Sha256};
use branchline_gcp::pubsub::Publish;
use branchline_gcp::storage::Objects;
use branchline_gitlab::Client;
use branchline_ledger::{
    Appended, Archive, Author, Body, Entry, Fact, History, MergeRequest, Origin, Proven, Queue,
    Run, State, Store, Ticket, Tokens, Wanted,
};
use branchline_service::telemetry::chain;
use branchline_service::{Class, Health, Message, Settlement};
use jiff::Timestamp;
use tokio::time::timeout;
use tracing::{Span, field, info, warn};

use self::error::Error;
use crate::config::{Config, Staging};
use crate::provenance::Provenance;
use crate::reconcile::publish;
use crate::trust::Trust;
use crate::{admission, merge_requests, provenance, staging, verify};

/// Two pods at one run collide a few times at most.
const COLLISIONS_MAX: u32 = 32;
/// For the questions about one run.
const GITLAB_MAX: Duration = Duration::from_secs(30);
const ACTOR: &str = "branchline-worker";
const CONDITION: &str = "intake";

/// What intake works with.
#[derive(Clone)]
pub(crate) struct Intake {
    /// Where artifacts lie.
    pub storage: Arc<dyn Objects>,
    /// The run ledger.
    pub store: Store,
    /// The queue.
    pub queue: Queue,
    /// What each ID token has announced.
    pub tokens: Tokens,
    /// Where dead letters lie, and what is replayed of them.
    pub archive: Archive,
    /// Where the last event of a run is told once more.
    pub publisher: Arc<dyn Publish>,
    /// What is wrong for everybody.
    pub health: Health,
    /// Who is believed, and what is let in.
    pub trust: Trust,
    /// Rules and limits.
    pub config: Config,
}

impl Intake {
    /// Takes one message in.
    pub(crate) async fn handle(&self, message: &Message) -> Settlement {
        let Err(error) = self.admit(message).await else {
            self.health.ok(CONDITION);
            return Settlement::Ack;
        };
        let failure = error.failure();
        if failure.class() == Class::Permission {
            self.health.broken(CONDITION, failure.detail.clone());
        }
        let is_lost = match failure.class() {
            Class::Undecodable => false, // It names no run.
            Class::Refused => true,
            Class::Transient | Class::Permission | Class::Bug => self.is_last_attempt(message),
        };
        if is_lost && let Err(error) = self.stall(message, &failure.detail).await {
            warn!(error = chain(&error), "run not marked as stalled");
        }
        match failure.class() {
            Class::Undecodable | Class::Refused => Settlement::DeadLetter(failure),
            Class::Transient | Class::Permission | Class::Bug => Settlement::Retry(failure),
        }
    }

    fn is_last_attempt(&self, message: &Message) -> bool {
        let attempts_max = self.config.consume.attempts_max.get();
        message.delivery_attempt.is_some_and(|it| it >= attempts_max)
    }

    /// The message becomes a dead letter. If it opened the attempt in force, the run says so on its
    /// commit, and a replay or another CI job goes on. What nobody proves touches nothing that it
    /// names; that this very message was believed is on record, whatever its token proves by now.
    async fn stall(&self, message: &Message, reason: &str) -> Result<(), Error> {
        let mut request = Envelope::decode_artifact_ready(&message.data, &message.attributes)?;
        let cause = if message.attributes.contains_key(provenance::REPLAY) {
            // Anybody can name a replay.
            provenance::prove(&self.trust, &self.archive, message, &mut request).await?.cause
        } else {
            message.id.clone()
        };
        let (id, _) = RunId::derive(&request);
        let author = author(&cause, message);
        for _ in 0..COLLISIONS_MAX {
            let history = self.store.load(request.gitlab.project_id, &id).await?;
            let Some(History { run, entries, .. }) = history else { return Ok(()) };
            let open = matches!(run.state, State::Requested | State::Verified);
            if !open || !is_opened_by(&entries, &cause) {
                return Ok(());
            }
            let body = Body::Stalled { reason: reason.to_owned() };
            let run = self.append(run, body, author).await?;
            if matches!(run.state, State::Stalled(_)) {
                return self.hand_over(&run, false).await;
            }
        }
        Err(Error::Collisions(id))
    }

    async fn admit(&self, message: &Message) -> Result<(), Error> {
        let mut request = Envelope::decode_artifact_ready(&message.data, &message.attributes)?;
        let Provenance { origin, asked_at, cause } =
            provenance::prove(&self.trust, &self.archive, message, &mut request).await?;
        let (id, digest) = RunId::derive(&request);
        Span::current().record("run.id", field::display(&id));
        if let Origin::Proven { token, .. } = &origin
            && !self.tokens.announce(*token, &request.run, digest).await?
        {
            return Err(Error::TokenUsed(request.run));
        }
        let proven = origin.proven();
        let author = author(&cause, message);
        let mut run = self.request(asked_at, &request, (&id, digest), author).await?;
        for _ in 0..COLLISIONS_MAX {
            let ci_job = request.gitlab.job_id;
            let Some(body) = self.next_fact(&run, ci_job, &proven).await? else {
                return self.hand_over(&run, request.gitlab.merge_request.is_some()).await;
            };
            run = self.append(run, body, author).await?;
        }
        Err(Error::Collisions(id))
    }

    /// Makes sure that the request and the CI job behind it are on record.
    async fn request(
        &self,
        asked_at: Timestamp,
        request: &ArtifactReady,
        (id, digest): (&RunId, Sha256),
        author: Author<'_>,
    ) -> Result<Run, Error> {
        let (project_id, ci_job) = (request.gitlab.project_id, request.gitlab.job_id);
        for _ in 0..COLLISIONS_MAX {
            let Some(history) = self.store.load(project_id, id).await? else {
                // The entry comes first: a run that is requested is never without one.
                self.queue.ensure(&Ticket::new(asked_at, id.clone(), 1), project_id).await?;
                let request = Box::new(request.clone());
                let body = Body::Requested { request, digest, asked_at };
                if let Appended::Written(entry) =
                    self.store.begin(project_id, id, body, author).await?
                {
                    info!("run requested");
                    return Ok(Run::begin(&entry).expect("a request begins a run"));
                }
                continue;
            };
            // Whoever asked before the end asked for what has ended, however late the message comes.
            let asked_later = ended_at(&history.entries).is_some_and(|it| it < asked_at);
            let run = history.run;
            if run.digest != digest {
                return Err(Error::OtherRequest(id.clone(), run.digest));
            }
            if run.ci_jobs.contains(&ci_job) {
                return Ok(run);
            }
            let opens = if run.ended_badly() && asked_later {
                Some(asked_at)
            } else if matches!(run.state, State::Stalled(_)) && run.cancel.is_none() {
                // The CI job behind it is heard of no more. This one goes on in its place in line,
                // by its own request and claims: those of two are never mixed.
                Some(run.asked_at)
            } else {
                None
            };
            let body = if let Some(asked_at) = opens {
                let ticket = Ticket::new(asked_at, id.clone(), run.attempt + 1);
                self.queue.ensure(&ticket, project_id).await?;
                let request = Some(Box::new(request.clone()));
                Body::Retried { request, reason: None, operator: None, asked_at }
            } else {
                Body::Duplicate { ci_job, pipeline_id: Some(request.gitlab.pipeline_id) }
            };
            let run = self.append(run, body, author).await?;
            if run.ci_jobs.contains(&ci_job) {
                return Ok(run);
            }
        }
        Err(Error::Collisions(id.clone()))
    }

    /// The fact that intake owes the run, if any.
    async fn next_fact(
        &self,
        run: &Run,
        ci_job: u64,
        proven: &Proven,
    ) -> Result<Option<Body>, Error> {
        Ok(match run.state {
            // What another CI job proves decides nothing about what this one has asked for.
            State::Requested | State::Stalled(_) if ci_job != run.request.gitlab.job_id => None,
            State::Requested | State::Stalled(_) => {
                // Rules over the request come before the first object is read.
                let (regions, policy) = (&self.config.regions, &self.trust.policy);
                let host = self.trust.gitlab.as_ref().map(Client::host);
                let asker = proven.claims.get("user_id").and_then(|it| it.parse().ok());
                let known = self.merge_requests(run, asker).await?;
                let (mut reasons, grounds) =
                    admission::decide(&run.request, regions, policy, host, proven, known);
                let grounds = Some(Box::new(grounds));
                if self.config.staging.is_some() {
                    reasons.extend(staging::problems(&run.request));
                }
                if !reasons.is_empty() {
                    return Ok(Some(Body::Rejected { reasons, grounds }));
                }
                let contents_read = self.config.verify_sha256;
                Some(match self.inputs(run, contents_read).await? {
                    Ok(staged) => Body::Verified { contents_read, grounds, staged },
                    Err(reasons) => Body::Rejected { reasons, grounds },
                })
            }
            State::Verified => Some(match run.wanted {
                Wanted::NOTHING => Body::Admitted {},
                wanted => Body::Held { reason: wanted.to_string() },
            }),
            State::Held(_)
            | State::Admitted
            | State::Intended
            | State::Submitted
            | State::Running
            | State::Finished(_) => None,
        })
    }

    /// What GitLab tells of the commit, where the policy wants to know and we can ask.
    async fn merge_requests(
        &self,
        run: &Run,
        requester: Option<u64>,
    ) -> Result<Option<Vec<MergeRequest>>, Error> {
        let origin = &run.request.gitlab;
        let gitlab = self.trust.gitlab.as_ref().filter(|it| it.host() == origin.host.as_str());
        let Some(gitlab) = gitlab.filter(|_| self.trust.policy.names_merge_requests()) else {
            return Ok(None);
        };
        let asked = merge_requests::Asked { by: requester.map(|it| vec![it]), anew: None };
        let found = timeout(GITLAB_MAX, merge_requests::of(gitlab, origin, &asked)).await;
        let found = found.map_err(|_| Error::NoAnswer)??;
        Ok(Some(found.into_iter().map(MergeRequest::from).collect()))
    }

    /// Looks at every object, and stages copies where that is wanted; or tells what is wrong.
    async fn inputs(
        &self,
        run: &Run,
        read_contents: bool,
    ) -> Result<Result<Vec<Artifact>, Vec<String>>, Error> {
        let (storage, artifacts) = (self.storage.as_ref(), &run.request.artifacts);
        let differences = verify::differences(storage, artifacts, read_contents).await?;
        if !differences.is_empty() {
            return Ok(Err(differences));
        }
        match &self.config.staging {
            Some(Staging { bucket }) => {
                Ok(staging::stage(storage, bucket, run, read_contents).await?)
            }
            None => Ok(Ok(Vec::new())),
        }
    }

    async fn append(&self, mut run: Run, body: Body, author: Author<'_>) -> Result<Run, Error> {
        match self.store.append(&run, body, author).await? {
            Appended::Written(entry) => {
                run.apply(&entry).expect("it was written behind the head");
                Ok(run)
            }
            Appended::Taken => {
                let history = self.store.load(run.request.gitlab.project_id, &run.id).await?;
                Ok(history.expect("facts are never deleted").run)
            }
        }
    }

    /// Tells the leader, and asserts once more that there is an entry for it to find. The last
    /// event of a run that is over is told once more where a merge request asks for it.
    async fn hand_over(&self, run: &Run, from_merge_request: bool) -> Result<(), Error> {
        let told = self.queue.hand_over(run).await?;
        if !told && from_merge_request && run.ending().is_some() {
            // It may have been opened since, and then nobody has told it.
            let history = self.store.load(run.request.gitlab.project_id, &run.id).await?;
            if let Some(last) = history.as_ref().and_then(|it| it.events.last()) {
                let envelope = Envelope::run_event(last);
                publish(self.publisher.as_ref(), &self.config.run_event_topic, last, envelope)
                    .await?;
            }
        }
        Ok(())
    }
}

fn author<'a>(cause: &'a str, message: &Message) -> Author<'a> {
    Author { actor: ACTOR, cause, trace: message.trace() }
}

/// When the last attempt that ended did, by the clock of the pod that wrote it down. A clock that is
/// wrong makes a retry a duplicate, or a duplicate a retry, and nothing worse.
fn ended_at(entries: &[Entry]) -> Option<Timestamp> {
    let mut facts = entries.iter().rev().map(|it| &it.fact);
    let end = facts.find(|it| matches!(it.body, Body::Finished(_) | Body::Rejected { .. }));
    end.map(|it| it.time)
}

/// Whether that message opened the attempt in force.
fn is_opened_by(entries: &[Entry], message_id: &str) -> bool {
    let mut facts = entries.iter().rev().map(|it| &it.fact);
    let opens = |it: &&Fact| matches!(it.body, Body::Requested { .. } | Body::Retried { .. });
    facts.find(opens).is_some_and(|it| it.cause == message_id)
}
