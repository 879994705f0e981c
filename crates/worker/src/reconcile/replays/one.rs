//! What is done about one dead letter.

use branchline_contract::{Ask, LetterId, Pick, Sha256};
use branchline_gcp::pubsub::Message;
use branchline_gcp::{Class, Error as GcpError};
use branchline_ledger::{Act, Acted, Base64, Deed, LETTER_BYTES_MAX, Letter, Origin, Role, Sent};
use branchline_service::redact;
use branchline_service::telemetry::chain;

use super::{Limits, Post, Work};
use crate::provenance::REPLAY;

/// Replays of one message before it takes force.
const REPLAYS_MAX: u32 = 3;
/// Pub/Sub's own limits, with some room for what a call adds.
const ATTRIBUTES_MAX: usize = 100;
const NAME_MAX: usize = 256;
const VALUE_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 9_990_000;

/// What became of one letter, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Became {
    Replayed,
    Discarded,
    Edited,
    /// It was replayed since it was seen.
    ReplayedBefore,
    /// Something else happened to it since it was seen.
    Changed,
    /// The archive has none.
    Absent,
    /// Nothing proved where it comes from.
    Unproven,
    /// It came back too often.
    Looping,
    /// It has no room for the name of the replay, or is larger than Pub/Sub takes.
    Full,
    /// Pub/Sub would not have it.
    NotTaken,
    /// A run event is nobody's to edit.
    Event,
}

impl Became {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
            Self::Edited => "edited",
            Self::ReplayedBefore => "replayed by an earlier request",
            Self::Changed => "changed since it was looked at",
            Self::Absent => "not in the archive",
            Self::Unproven => "without a proven origin (edit it, or retry its CI job)",
            Self::Looping => "replayed three times and back (--force sends it again)",
            Self::Full => "too large to be sent with the name of the replay (export it)",
            Self::NotTaken => "not taken by Pub/Sub (dlq show says why)",
            Self::Event => "a run event, which nobody edits",
        }
    }

    pub(super) const fn is_done(self) -> bool {
        match self {
            Self::Replayed | Self::ReplayedBefore | Self::Discarded | Self::Edited => true,
            Self::Changed
            | Self::Absent
            | Self::Unproven
            | Self::Looping
            | Self::Full
            | Self::NotTaken
            | Self::Event => false,
        }
    }
}

impl Post {
    /// Does what is asked for one letter. `alone` tells that nothing else is under way.
    pub(super) async fn one(
        &self,
        work: &Work,
        pick: &Pick,
        limits: &Limits,
        alone: bool,
    ) -> (LetterId, Result<Became, GcpError>) {
        if let Ask::Replay { per_second: Some(rate), .. } = &work.request.ask {
            limits.pace.turn(*rate).await;
        }
        let kibibytes = (pick.size >> 10).clamp(1, LETTER_BYTES_MAX >> 10);
        let kibibytes = u32::try_from(kibibytes).expect("that of a letter");
        let _held = limits.memory.acquire_many(kibibytes).await.expect("never closed");
        let outcome = match &work.request.ask {
            Ask::Replay { force, .. } => self.replay(work, pick, *force, alone).await,
            Ask::Edit { data, .. } => self.edit(work, pick, data).await,
            _ => self.act(work, pick, 1, Deed::Discarded {}, Became::Discarded).await,
        };
        (pick.id.clone(), outcome)
    }

    async fn replay(
        &self,
        work: &Work,
        pick: &Pick,
        force: bool,
        alone: bool,
    ) -> Result<Became, GcpError> {
        let Some(letter) = self.letter(pick).await? else { return Ok(Became::Absent) };
        // Each replay of this letter, and those that brought it here.
        let replays = letter.replays + 1 + self.replays_before(pick).await?;
        if replays > REPLAYS_MAX && !force {
            return Ok(Became::Looping);
        }
        if letter.role == Role::Worker && !letter.origin.is_proven() {
            return Ok(Became::Unproven);
        }
        if !fits(&letter) {
            return Ok(Became::Full);
        }
        let topic = match letter.role {
            Role::Worker => &self.artifact_topic,
            Role::Notifier => &self.run_event_topic,
        };
        let deed = Deed::Replayed {
            topic: topic.clone(),
            sha256: letter.sha256,
            origin: letter.origin.clone(),
            first_published: letter.first_published,
            replays,
        };
        let outcome = self.act(work, pick, 1, deed, Became::Replayed).await?;
        if outcome != Became::Replayed {
            return Ok(outcome);
        }
        match self.publisher.publish(topic, outgoing(letter, pick)).await {
            Ok(_) => Ok(outcome),
            Err(error) if error.class() == Class::Refused && alone => {
                let deed = Deed::Refused { why: chain(&error) };
                self.act(work, pick, 2, deed, Became::NotTaken).await
            }
            Err(error) => Err(error),
        }
    }

    /// The letter with the body that is meant, if it is no larger than it was seen.
    async fn letter(&self, pick: &Pick) -> Result<Option<Letter>, GcpError> {
        let letter = as_seen(self.archive.letter(&pick.id, pick.size).await)?;
        let Some(mut letter) = letter else { return Ok(None) };
        if pick.body == 0 {
            return Ok(Some(letter));
        }
        let edit = as_seen(self.archive.acted(&pick.id, pick.body, pick.size).await)?;
        let Some(Deed::Edited { sha256, editor, data }) = edit.map(|it| it.deed) else {
            return Ok(None);
        };
        (letter.sha256, letter.data) = (sha256, data);
        letter.origin = Origin::Operator { email: editor };
        Ok(Some(letter))
    }

    /// A letter that nothing happened to was not replayed either.
    async fn replays_before(&self, pick: &Pick) -> Result<u32, GcpError> {
        if pick.seen == 0 {
            return Ok(0);
        }
        let filed = self.archive.find(&pick.id).await?;
        let acts = filed.map(|it| it.acts).unwrap_or_default();
        let replays = acts.iter().filter(|it| it.position <= pick.seen && it.kind == "replayed");
        Ok(u32::try_from(replays.count()).unwrap_or(u32::MAX))
    }

    /// An edit is believed on the word of whoever wrote it, so that has to be proven.
    async fn edit(&self, work: &Work, pick: &Pick, data: &str) -> Result<Became, GcpError> {
        let data = Base64::try_from(data.to_owned()).expect("it was looked at before");
        let data = Base64(redact(&data.0).into());
        let sha256 = Sha256::of(&data.0);
        let editor = work.request.actor.to_string();
        let Some(filed) = self.archive.find(&pick.id).await?.filter(|_| work.proven) else {
            return Ok(Became::Absent);
        };
        if filed.role == Role::Notifier.as_str() {
            return Ok(Became::Event);
        }
        let deed = Deed::Edited { sha256, editor, data };
        self.act(work, pick, 1, deed, Became::Edited).await
    }

    /// Puts a deed on record, so many positions behind what was seen.
    async fn act(
        &self,
        work: &Work,
        pick: &Pick,
        behind: u32,
        deed: Deed,
        became: Became,
    ) -> Result<Became, GcpError> {
        let act = Act {
            request: work.name.as_str().to_owned(),
            actor: work.request.actor.to_string(),
            reason: work.request.reason.to_string(),
            time: (self.clock)(),
            deed,
        };
        let position = pick.seen.saturating_add(behind);
        Ok(match self.archive.act(&pick.id, position, &act).await? {
            Acted::Recorded => became,
            Acted::Taken(Some(it)) if matches!(it.deed, Deed::Replayed { .. }) => {
                Became::ReplayedBefore
            }
            Acted::Taken(_) => Became::Changed,
        })
    }
}

/// What is larger than it was seen is none.
fn as_seen<T>(read: Result<Option<T>, GcpError>) -> Result<Option<T>, GcpError> {
    match read {
        Err(error) if error.class() == Class::Refused => Ok(None),
        read => read,
    }
}

/// What is sent: the message as it came first, and the name of the replay.
fn outgoing(letter: Letter, pick: &Pick) -> Message {
    let sent = Sent { letter: pick.id.clone(), position: pick.seen.saturating_add(1) };
    let mut attributes = letter.attributes;
    attributes.insert(REPLAY.to_owned(), sent.to_string());
    let ordering_key = Some(letter.ordering_key).filter(|it| !it.is_empty());
    Message { data: letter.data.0, attributes, ordering_key }
}

/// Whether Pub/Sub takes the message with one more attribute.
fn fits(letter: &Letter) -> bool {
    let attributes = || letter.attributes.iter();
    let bytes: usize = attributes().map(|(name, it)| name.len() + it.len()).sum();
    let bytes = bytes + letter.data.0.len() + letter.ordering_key.len();
    letter.attributes.len() < ATTRIBUTES_MAX
        && attributes().all(|(name, it)| name.len() <= NAME_MAX && it.len() <= VALUE_MAX)
        && bytes <= MESSAGE_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use branchline_contract::RunId;
    use branchline_ledger::About;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn only_what_pub_sub_takes_is_sent() {
        let letter = |attributes: &[(&str, usize)], bytes: usize| Letter {
            id: Letter::id(Timestamp::UNIX_EPOCH, "", "7"),
            reason: "panic".to_owned(),
            class: "bug".to_owned(),
            detail: String::new(),
            role: Role::Worker,
            subscription: None,
            topic: String::new(),
            attempts: None,
            first_published: Timestamp::UNIX_EPOCH,
            about: About { run: None::<RunId>, ..About::default() },
            origin: Origin::Unproven { why: String::new() },
            replays: 0,
            replay_of: None,
            sha256: Sha256::of(b""),
            data: Base64(vec![b'x'; bytes].into()),
            attributes: attributes
                .iter()
                .map(|(it, len)| ((*it).to_owned(), "x".repeat(*len)))
                .collect(),
            ordering_key: String::new(),
        };
        let long = "n".repeat(257);
        assert!(fits(&letter(&[("a", 1024)], 1_000)));
        assert!(!fits(&letter(&[("a", 1025)], 1_000)));
        assert!(!fits(&letter(&[(&long, 1)], 1_000)));
        assert!(!fits(&letter(&[], 9_990_001)));
        let mut full = letter(&[], 0);
        full.attributes =
            (0..100).map(|it| (it.to_string(), String::new())).collect::<BTreeMap<_, _>>();
        assert!(!fits(&full));
        full.attributes.pop_last();
        assert!(fits(&full));
    }
}
