//! A dead letter and what became of it, as they are stored: immutable, created once. Pure.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use branchline_contract::{LetterId, RunId, Sha256};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::grounds::Proven;
use crate::queue::name_of_time;

/// The claim that names the operator who wrote a message.
pub const OPERATOR: &str = "operator";

/// A message that could not be handled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Its id in the archive.
    pub id: LetterId,
    /// Why, in a word.
    pub reason: String,
    /// What kind of failure.
    pub class: String,
    /// Why, in a sentence.
    pub detail: String,
    /// Whose message it was.
    pub role: Role,
    /// The subscription that it came from, `projects/P/subscriptions/S`, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// The topic that a replay goes to, `projects/P/topics/T`.
    pub topic: String,
    /// How often it was delivered, where that was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// When Pub/Sub took it in first.
    pub first_published: Timestamp,
    /// What it is about, as far as it says so. Nothing proves it.
    pub about: About,
    /// What its token proved when it was put away.
    pub origin: Origin,
    /// How often it had been replayed before it came here.
    #[serde(default)]
    pub replays: u32,
    /// The replay that it is the message of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<Sent>,
    /// SHA-256 of the body as it is kept.
    pub sha256: Sha256,
    /// The body, without its ID token.
    pub data: Base64,
    /// The attributes that it came with.
    pub attributes: BTreeMap<String, String>,
    /// The ordering key, or nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ordering_key: String,
}

/// Who could not handle a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A request for a run.
    Worker,
    /// A run event.
    Notifier,
}

/// What a message says that it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Path of the GitLab project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Id of the GitLab project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<u64>,
    /// The commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha: Option<String>,
}

/// What is known of where a message comes from, and stays known when its token has expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Origin {
    /// Its ID token proved it.
    Proven {
        /// What the token said.
        #[serde(flatten)]
        proven: Proven,
        /// Tells one token from another.
        token: Sha256,
    },
    /// An operator wrote it.
    Operator {
        /// Address of the operator, as proven.
        email: String,
    },
    /// Nothing proves it.
    Unproven {
        /// Why not.
        why: String,
    },
}

/// Something that happened to a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// The request that asked for it.
    pub request: String,
    /// Who asked.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When, by the leader's clock.
    pub time: Timestamp,
    /// What.
    #[serde(flatten)]
    pub deed: Deed,
}

/// What happened, by kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Deed {
    /// It is published again, from then on.
    Replayed {
        /// Where to.
        topic: String,
        /// SHA-256 of what is sent.
        sha256: Sha256,
        /// Where what is sent comes from.
        origin: Origin,
        /// When Pub/Sub took the message in first: what it asks for was asked for then.
        first_published: Timestamp,
        /// How often it has been replayed, this time counted.
        replays: u32,
    },
    /// It has another body, which is what is replayed.
    Edited {
        /// SHA-256 of the new body.
        sha256: Sha256,
        /// Who wrote it, as proven.
        editor: String,
        /// The new body.
        data: Base64,
    },
    /// Pub/Sub would not have what was to be sent again.
    Refused {
        /// Its words.
        why: String,
    },
    /// Nothing is to become of it.
    Discarded {},
}

/// One replay: a dead letter, and the position of the act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Sent {
    /// The dead letter.
    pub letter: LetterId,
    /// Position of the act.
    pub position: u32,
}

/// Bytes that are written as Pub/Sub's JSON writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Base64(pub Bytes);

impl Letter {
    /// The id of a message that Pub/Sub took in at that time. Messages of the dead-letter topic
    /// have ids of their own, and `mark` keeps them apart from those of others.
    pub fn id(published: Timestamp, mark: &str, message_id: &str) -> LetterId {
        let time = name_of_time(published);
        let plain = message_id.len() <= 64
            && message_id.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_');
        let message = match message_id {
            "" => "none".to_owned(),
            id if plain => id.to_owned(),
            id => Sha256::of(id.as_bytes()).to_string(),
        };
        LetterId::parse(format!("{time}-{mark}{message}")).expect("a time, letters and digits")
    }
}

impl Origin {
    /// What a policy decides by: of an operator, the claim `operator` and no other.
    pub fn proven(&self) -> Proven {
        match self {
            Self::Proven { proven, .. } => proven.clone(),
            Self::Operator { email } => Proven {
                claims: BTreeMap::from([(OPERATOR.to_owned(), email.clone())]),
                groups_direct: None,
            },
            Self::Unproven { .. } => Proven::default(),
        }
    }

    /// Whether somebody stands behind it.
    pub const fn is_proven(&self) -> bool {
        match self {
            Self::Proven { .. } | Self::Operator { .. } => true,
            Self::Unproven { .. } => false,
        }
    }
}

impl Deed {
    /// The kind, as on the wire.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Replayed { .. } => "replayed",
            Self::Edited { .. } => "edited",
            Self::Refused { .. } => "refused",
            Self::Discarded {} => "discarded",
        }
    }
}

impl Role {
    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Notifier => "notifier",
        }
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.letter, self.position)
    }
}

impl Sent {
    /// The replay that a message names.
    pub fn parse(text: &str) -> Option<Self> {
        let (letter, position) = text.split_once('/')?;
        let (letter, position) = (LetterId::parse(letter).ok()?, position.parse().ok()?);
        Some(Self { letter, position }).filter(|it| it.to_string() == text)
    }
}

impl From<Sent> for String {
    fn from(it: Sent) -> Self {
        it.to_string()
    }
}

impl TryFrom<String> for Sent {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no replay (LETTER/POSITION)"))
    }
}

impl From<Base64> for String {
    fn from(it: Base64) -> Self {
        BASE64.encode(&it.0)
    }
}

impl TryFrom<String> for Base64 {
    type Error = base64::DecodeError;
    fn try_from(text: String) -> Result<Self, base64::DecodeError> {
        Ok(Self(BASE64.decode(text)?.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_made_of_any_message_id_and_order_by_time() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let id = Letter::id(at("2026-11-23T03:04:05.000006Z"), "", "17");
        assert_eq!(id.as_str(), "20261123T030405000006-17");
        assert!(Letter::id(at("2026-11-23T03:04:05.1Z"), "d", "3") > id);
        for strange in ["", "a/b", "../x", "ü", &"9".repeat(400)] {
            Letter::id(Timestamp::UNIX_EPOCH, "d", strange);
        }
    }

    #[test]
    fn a_replay_is_read_again_and_a_made_up_one_is_not() {
        let sent = Sent::parse("20261123T030405000006-17/2").unwrap();
        assert_eq!((sent.position, sent.to_string().as_str()), (2, "20261123T030405000006-17/2"));
        for made_up in ["", "/", "20261123T030405000006-17", "20261123T030405000006-17/+2", "x/2"] {
            assert_eq!(Sent::parse(made_up), None, "{made_up}");
        }
    }
}
