//! Where a request comes from: what its ID token proves now, or what the archive of dead letters
//! says was proven of a message that is published again.

use branchline_contract::{ArtifactReady, Sha256};
use branchline_gcp::Error as GcpError;
use branchline_gitlab::id_token::agree;
use branchline_gitlab::signing_keys::Unproven;
use branchline_ledger::{Archive, Deed, LETTER_BYTES_MAX, Origin, Proven, Sent, Tokens};
use branchline_service::Message;
use jiff::Timestamp;

use crate::trust::Trust;

/// The attribute by which a message names the replay that it is.
pub(crate) const REPLAY: &str = "branchline-replay";

/// What is known of where a message comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Provenance {
    /// Who stands behind it.
    pub origin: Origin,
    /// When Pub/Sub took it in first.
    pub asked_at: Timestamp,
    /// What the facts that it leads to are caused by: the message, or the replay.
    pub cause: String,
}

/// Why nobody is believed to stand behind a message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("it carries no ID token, so nothing proves where it comes from")]
    Anonymous,
    #[error(transparent)]
    Unproven(#[from] Unproven),
    #[error("it names the replay {0:?}, and the archive of dead letters has none of that content")]
    NoReplay(String),
    #[error("nothing proved where it comes from before it was replayed: {0}")]
    ReplayUnproven(String),
    #[error("looking the replay up")]
    Archive(#[from] GcpError),
}

/// Takes the ID token out of a request, and believes nobody without it or a replay. The token
/// proves the origin and is then forgotten: it never reaches the ledger.
pub(crate) async fn prove(
    trust: &Trust,
    archive: &Archive,
    message: &Message,
    request: &mut ArtifactReady,
) -> Result<Provenance, Error> {
    let token = request.id_token.take();
    if let Some(name) = message.attributes.get(REPLAY) {
        let Replayed { sent, origin, first_published, .. } =
            replayed(archive, message, name).await?;
        if let Origin::Unproven { why } = origin {
            return Err(Error::ReplayUnproven(why));
        }
        return Ok(Provenance {
            origin,
            asked_at: first_published,
            cause: format!("replay {sent}"),
        });
    }
    let token = token.ok_or(Error::Anonymous)?;
    let origin = prove_token(trust, &token.0, message.publish_time, request).await?;
    Ok(Provenance { origin, asked_at: message.publish_time, cause: message.id.clone() })
}

/// What a token proves that came with a request at that time.
pub(crate) async fn prove_token(
    trust: &Trust,
    token: &str,
    published: Timestamp,
    request: &ArtifactReady,
) -> Result<Origin, Error> {
    let claims = trust.keys.prove(token, published).await?;
    agree(&claims, &request.gitlab).map_err(Unproven::Forgery)?;
    let token = Tokens::tell((&claims.issuer, &claims.token_id));
    let proven = Proven { claims: claims.written(), groups_direct: claims.groups_direct };
    Ok(Origin::Proven { proven, token })
}

/// The replay that a message is.
pub(crate) struct Replayed {
    /// Its place in the archive.
    pub sent: Sent,
    /// Who stands behind it.
    pub origin: Origin,
    /// When Pub/Sub took the message in first.
    pub first_published: Timestamp,
    /// How often it has been replayed.
    pub replays: u32,
}

/// The replay that a message names, if it has that content. What only workers write is believed.
pub(crate) async fn replayed(
    archive: &Archive,
    message: &Message,
    name: &str,
) -> Result<Replayed, Error> {
    let unknown = || Error::NoReplay(name.chars().take(128).collect());
    let sent = Sent::parse(name).ok_or_else(unknown)?;
    let act =
        archive.acted(&sent.letter, sent.position, LETTER_BYTES_MAX).await?.ok_or_else(unknown)?;
    match act.deed {
        Deed::Replayed { sha256, origin, first_published, replays, .. }
            if sha256 == Sha256::of(&message.data) =>
        {
            Ok(Replayed { sent, origin, first_published, replays })
        }
        Deed::Replayed { .. } | Deed::Edited { .. } | Deed::Refused { .. } | Deed::Discarded {} => {
            Err(unknown())
        }
    }
}
