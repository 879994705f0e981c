//! What operators and the notifier ask of the leader: an object each, in a
//! bucket in which they may only create.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::artifact_ready::IdToken;
use crate::origin::Vertex;
use crate::run_id::RunId;
use crate::text::text_type;

text_type!(
    /// Names a request, so that it is carried out once.
    RequestId,
    "a request id (lower-case letters, digits and -; at most 96)",
    96,
    "^[a-z0-9][a-z0-9-]*$"
);
text_type!(
    /// Who asks. A claim, where no token proves it.
    Actor,
    "the name of an actor (one line of at most 200 bytes)",
    200,
    r"^[^\x00-\x1f\x7f-\x9f]+$"
);
text_type!(
    /// Why it is asked for.
    Reason,
    "a reason (one line of at most 1000 bytes)",
    1000,
    r"^[^\x00-\x1f\x7f-\x9f]+$"
);
text_type!(
    /// Names a dead letter in its archive: when Pub/Sub took the message in, and its id.
    LetterId,
    "the id of a dead letter (TIME-MESSAGE, as `branchline dlq list` prints it)",
    96,
    "^[0-9]{8}T[0-9]{12}-[A-Za-z0-9_]+$"
);

/// A request from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its own id.
    pub id: RequestId,
    /// Who asks, as they say.
    pub actor: Actor,
    /// Google's ID token of whoever asks. It is looked at once and kept nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_token: Option<IdToken>,
    /// Why.
    pub reason: Reason,
    /// What for.
    #[serde(flatten)]
    pub ask: Ask,
}

/// What is asked for, by kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Ask {
    /// A run is to end.
    Cancel {
        /// The run.
        run: RunId,
        /// Only this attempt of it; otherwise the one that is in force.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempt: Option<u32>,
    },
    /// A run that is held may train, as far as an operator has to say so.
    Approve {
        /// The run.
        run: RunId,
        /// Only this attempt of it; otherwise the one that is in force.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempt: Option<u32>,
    },
    /// A run that has ended is to be tried once more.
    Retry(Retry),
    /// No run of a project and region is to be dispatched.
    Pause(Vertex),
    /// Its runs may be dispatched again.
    Resume(Vertex),
    /// Dead letters are to be published again.
    Replay {
        /// Which.
        letters: Vec<Pick>,
        /// At most so many a second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        per_second: Option<NonZeroU32>,
        /// Even those that were replayed again and again and came back.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        force: bool,
    },
    /// A dead letter is to have another body when it is replayed.
    Edit {
        /// Which.
        letter: Pick,
        /// The new body, in base64.
        data: String,
    },
    /// Nothing is to become of these dead letters any more.
    Discard {
        /// Which.
        letters: Vec<Pick>,
    },
}

/// A dead letter as an operator has seen it: what is asked for is done only if nothing happened to
/// it since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pick {
    /// Which.
    pub id: LetterId,
    /// Position of the last thing that is on record about it; 0 where it only came.
    pub seen: u32,
    /// Position of the body that is meant: 0 for the one it came with, or that of an edit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub body: u32,
    /// Bytes of the larger of its records that are read, and no more are.
    pub size: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_zero(it: &u32) -> bool {
    *it == 0
}

/// The run that is to be tried once more. It has no queue entry, so its place in the ledger is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// The run.
    pub run: RunId,
    /// Its GitLab project.
    pub project_id: u64,
    /// Only behind this attempt of it; otherwise behind the one that is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Also where it succeeded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

impl Request {
    /// A larger object is no request.
    pub const BYTES_MAX: u64 = 1 << 20;
    /// A larger body is not edited.
    pub const EDIT_BYTES_MAX: usize = 512 << 10;
    /// As many dead letters one request names: those of one that was cut short may be sent twice.
    pub const LETTERS_MAX: usize = 200;

    /// What of it stays on record, which is for ever: no token, and nothing that may be anything.
    #[must_use]
    pub fn for_the_record(mut self) -> Self {
        self.id_token = None;
        match &mut self.ask {
            Ask::Edit { data, .. } => data.clear(),
            Ask::Replay { letters, .. } | Ask::Discard { letters } => {
                letters.truncate(Self::LETTERS_MAX);
            }
            Ask::Cancel { .. }
            | Ask::Approve { .. }
            | Ask::Retry(_)
            | Ask::Pause(_)
            | Ask::Resume(_) => {}
        }
        self
    }

    /// The content of its object.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a request is plain data")
    }

    /// Reads that content.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}
