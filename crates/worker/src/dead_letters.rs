//! Puts dead letters into their archive: what intake gives up, and what came over the dead-letter
//! topic, where Pub/Sub moves what nobody settled and the notifier puts what it cannot report.
//! With each goes what its token proves now: that is believed when it is replayed, however late.

use std::collections::BTreeMap;
use std::sync::Arc;

use branchline_contract::{
    ArtifactReady, CommitSha, DATA_MAX, Envelope, IdToken, LetterId, ProjectPath, RunId, Sha256,
};
use branchline_gcp::Error as GcpError;
use branchline_gitlab::signing_keys::Unproven;
use branchline_ledger::{About, Archive, Base64, Clock, Letter, Origin, Role};
use branchline_service::dead_letter::{
    self, ATTEMPTS, COMES_AGAIN_WITHIN, DETAIL, FIRST_PUBLISHED, REASON, SUBSCRIPTION,
};
use branchline_service::telemetry::chain;
use branchline_service::{
    Failure, Health, Message, Metrics, Reason, Settlement, consume, redact, redact_text,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::provenance::{self, REPLAY};
use crate::trust::Trust;

/// What Pub/Sub adds to the attributes of what it moves.
const SOURCE: &str = "CloudPubSubDeadLetterSource";
/// Pub/Sub's own limit.
const VALUE_MAX: usize = 1024;
/// Keys that cannot be had for so long do not keep a letter from being seen.
const KEYS_WITHIN: SignedDuration = SignedDuration::from_hours(1);

/// The archive, and what has to be known to put letters there. Cheap to clone.
#[derive(Clone)]
pub(crate) struct DeadLetters {
    /// Where they lie.
    pub archive: Archive,
    /// Who is believed.
    pub trust: Trust,
    /// The subscription of requests: what comes from another one is the notifier's.
    pub subscription: String,
    /// Where requests are replayed to.
    pub artifact_topic: String,
    /// Where run events are replayed to.
    pub run_event_topic: String,
    /// What is wrong for everybody.
    pub health: Health,
    /// The time on the wall.
    pub clock: Clock,
}

/// A letter that was not put away.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Archive(#[from] GcpError),
    #[error("what its token proves is not known yet")]
    Keys(#[source] Unproven),
}

/// What is known of a message besides itself.
struct Found {
    id: LetterId,
    role: Role,
    subscription: Option<String>,
    failure: Failure,
    attempts: Option<u32>,
    first_published: Timestamp,
    /// When it can be put away without knowing what its token proves.
    keys_may_lack: bool,
}

impl DeadLetters {
    /// Puts away what intake gives up.
    pub(crate) async fn bury(&self, message: &Message, failure: Failure) -> Result<(), Error> {
        let found = Found {
            id: Letter::id(message.publish_time, "", &message.id),
            role: Role::Worker,
            subscription: Some(self.subscription.clone()),
            // It came again and again for want of the same keys.
            keys_may_lack: failure.reason == Reason::IssuerUnavailable,
            failure,
            attempts: message.delivery_attempt,
            first_published: message.publish_time,
        };
        let mut message = message.clone();
        take_added(&mut message.attributes);
        self.file(message, found).await
    }

    /// Puts away what comes over the dead-letter topic, until `stop`. It stays there until it is.
    pub(crate) async fn drain(
        self,
        source: consume::Source,
        options: consume::Options,
        metrics: &Metrics,
        stop: CancellationToken,
    ) {
        let handle = move |message: Arc<Message>| {
            let letters = self.clone();
            async move { letters.put_away(&message).await }
        };
        // There is no other dead-letter topic behind it.
        let keep = async |_, failure: Failure| Err(Kept(failure.detail));
        consume(source, options, metrics, stop, handle, keep).await;
    }

    async fn put_away(&self, message: &Message) -> Settlement {
        let mut message = message.clone();
        let found = self.found(&mut message);
        match self.file(message, found).await {
            Ok(()) => Settlement::Ack,
            Err(error) => Settlement::Retry(error.failure()),
        }
    }

    /// What the attributes tell, which are then those that it came with first.
    fn found(&self, message: &mut Message) -> Found {
        let id = Letter::id(message.publish_time, "d", &message.id);
        let added = take_added(&mut message.attributes);
        // What Pub/Sub moves has its word on it, and whatever else a sender wrote there is a lie.
        let moved = added.keys().any(|it| it.starts_with(SOURCE));
        let text = |name: &str| added.get(name).filter(|it| !moved && !it.is_empty());
        let source = |name: &str| added.get(&format!("{SOURCE}{name}"));
        let subscription = text(SUBSCRIPTION).cloned().or_else(|| {
            let (project, short) = (source("SubscriptionProject")?, source("Subscription")?);
            // It may be the full name already.
            let short = short.rsplit('/').next().unwrap_or_default();
            Some(format!("projects/{project}/subscriptions/{short}"))
        });
        let role = match &subscription {
            Some(it) if *it == self.subscription => Role::Worker,
            Some(_) => Role::Notifier,
            None if Envelope::decode_run_event(&message.data, &message.attributes).is_ok() => {
                Role::Notifier
            }
            None => Role::Worker,
        };
        let time = text(FIRST_PUBLISHED).or_else(|| source("TopicPublishTime"));
        let time = time.and_then(|it| it.parse().ok()).unwrap_or(message.publish_time);
        let reason = text(REASON).and_then(|it| Reason::named(it));
        let detail = text(DETAIL).or_else(|| source("DeliveryErrorMessage")).cloned();
        let attempts = text(ATTEMPTS).or_else(|| source("DeliveryCount"));
        Found {
            id,
            role,
            subscription,
            failure: Failure {
                reason: reason.unwrap_or(Reason::DeliveriesExhausted),
                detail: detail.unwrap_or_else(|| "nobody settled it, or said why".to_owned()),
            },
            attempts: attempts.and_then(|it| it.parse().ok()),
            first_published: time.min(message.publish_time),
            keys_may_lack: (self.clock)().duration_since(message.publish_time) > KEYS_WITHIN,
        }
    }

    async fn file(&self, message: Message, found: Found) -> Result<(), Error> {
        let filed = self.try_file(message, found).await;
        match &filed {
            Ok(()) => self.health.ok(dead_letter::CONDITION),
            Err(Error::Archive(error)) => {
                self.health.denied(dead_letter::CONDITION, error, COMES_AGAIN_WITHIN);
            }
            Err(Error::Keys(_)) => {}
        }
        filed
    }

    async fn try_file(&self, message: Message, found: Found) -> Result<(), Error> {
        let mut letter = Letter {
            id: found.id,
            reason: found.failure.reason.as_str().to_owned(),
            class: found.failure.class().as_str().to_owned(),
            detail: redact_text(&found.failure.detail),
            role: found.role,
            subscription: found.subscription,
            topic: match found.role {
                Role::Worker => self.artifact_topic.clone(),
                Role::Notifier => self.run_event_topic.clone(),
            },
            attempts: found.attempts,
            first_published: found.first_published,
            about: about(&message, found.role),
            origin: Origin::Unproven { why: String::new() },
            replays: 0,
            replay_of: None,
            sha256: Sha256([0; 32]),
            data: Base64::default(),
            attributes: BTreeMap::new(),
            ordering_key: message.ordering_key.clone(),
        };
        match message.attributes.get(REPLAY) {
            Some(name) => self.comes_back(&message, name, &mut letter).await?,
            None => letter.origin = self.origin(&message, &letter, found.keys_may_lack).await?,
        }
        letter.data = Base64(redact(&message.data).into());
        letter.sha256 = Sha256::of(&letter.data.0);
        let attributes = message.attributes.into_iter().filter(|(name, _)| name != REPLAY);
        let kept = |it: &str| {
            let mut it = redact_text(it);
            // What was redacted may be longer than Pub/Sub takes back.
            it.truncate(it.floor_char_boundary(VALUE_MAX));
            it
        };
        letter.attributes = attributes.map(|(name, it)| (name, kept(&it))).collect();
        Ok(self.archive.file(&letter).await?)
    }

    /// It was replayed, and is back: what was known of it is still.
    async fn comes_back(
        &self,
        message: &Message,
        name: &str,
        letter: &mut Letter,
    ) -> Result<(), Error> {
        match provenance::replayed(&self.archive, message, name).await {
            Ok(it) => {
                (letter.origin, letter.replays) = (it.origin, it.replays);
                (letter.first_published, letter.replay_of) = (it.first_published, Some(it.sent));
                Ok(())
            }
            Err(provenance::Error::Archive(error)) => Err(error.into()),
            Err(error) => {
                letter.origin = Origin::Unproven { why: chain(&error) };
                Ok(())
            }
        }
    }

    async fn origin(
        &self,
        message: &Message,
        letter: &Letter,
        keys_may_lack: bool,
    ) -> Result<Origin, Error> {
        let unproven = |why: &str| Ok(Origin::Unproven { why: why.to_owned() });
        if letter.role == Role::Notifier {
            return unproven("a run event says nothing that the ledger does not");
        }
        let decoded = Envelope::decode_artifact_ready(&message.data, &message.attributes);
        let Ok(mut request) = decoded else { return unproven("it does not decode") };
        let Some(IdToken(token)) = request.id_token.take() else {
            return unproven("it carries no ID token");
        };
        let published = letter.first_published;
        match provenance::prove_token(&self.trust, &token, published, &request).await {
            Ok(origin) => Ok(origin),
            Err(provenance::Error::Unproven(error @ Unproven::Transient { .. }))
                if !keys_may_lack =>
            {
                Err(Error::Keys(error))
            }
            Err(error) => unproven(&redact_text(&chain(&error))),
        }
    }
}

/// Takes out what the way to the archive adds to the attributes of a message.
fn take_added(attributes: &mut BTreeMap<String, String>) -> BTreeMap<String, String> {
    let ours = [REASON, DETAIL, SUBSCRIPTION, FIRST_PUBLISHED, ATTEMPTS];
    let is_added = |name: &str| name.starts_with(SOURCE) || ours.contains(&name);
    let (added, theirs) = std::mem::take(attributes).into_iter().partition(|it| is_added(&it.0));
    *attributes = theirs;
    added
}

impl Error {
    fn failure(&self) -> Failure {
        let (reason, lacking) = match self {
            Self::Archive(source) => (source.class().into(), source.lacking()),
            Self::Keys(_) => (Reason::IssuerUnavailable, None),
        };
        let lacking = lacking.map(|it| format!("{it}; ")).unwrap_or_default();
        Failure { reason, detail: format!("{lacking}{}", chain(self)) }
    }
}

/// What a message says that it is about, as far as that is what it has to be.
fn about(message: &Message, role: Role) -> About {
    if message.data.len() > DATA_MAX {
        return About::default();
    }
    let request = match role {
        Role::Worker => Envelope::decode_artifact_ready(&message.data, &message.attributes).ok(),
        Role::Notifier => None,
    };
    let value: Value = serde_json::from_slice(&message.data).unwrap_or_default();
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let subject = || message.attributes.get("ce-subject").map(String::as_str);
    let run = match request.as_ref().map(|it: &ArtifactReady| RunId::derive(it).0) {
        Some(run) => Some(run),
        None => text("/run_id").or_else(subject).and_then(|it| RunId::parse(it).ok()),
    };
    About {
        run,
        project: text("/gitlab/project_path")
            .and_then(|it| ProjectPath::parse(it).ok())
            .map(|it| it.to_string()),
        project_id: value.pointer("/gitlab/project_id").and_then(Value::as_u64),
        sha: text("/gitlab/sha").and_then(|it| CommitSha::parse(it).ok()).map(|it| it.to_string()),
    }
}

/// It stays where it is.
#[derive(Debug, thiserror::Error)]
#[error("a dead letter stays in its subscription: {0}")]
struct Kept(String);
