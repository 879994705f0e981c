//! Where a request comes from: what its ID token proves now, or what the archive of dead letters
//! says was proven of a message that is published again.

use branchline_contract::{ArtifactReady, Sha256};
use branchline_gcp::Error as GcpError;
use branchline_gitlab::id_token::agree;
use branchline_gitlab::signing_keys::Unproven;
use branchline_ledger::{Act, Archive, Deed, Origin, Sent, Tokens};
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
        return believe(replayed(archive, message, name).await?);
    }
    let token = token.ok_or(Error::Anonymous)?;
    prove_token(trust, &token.0, message.publish_time, request).await
}

/// What a token proves that came with a request at that time.
pub(crate) async fn prove_token(
    trust: &Trust,
    token: &str,
    published: Timestamp,
    request: &ArtifactReady,
) -> Result<Provenance, Error> {
    let claims = trust.keys.prove(token, published).await?;
    agree(&claims, &request.gitlab).map_err(Unproven::Forgery)?;
    let token = Tokens::tell((&claims.issuer, &claims.token_id));
    let origin = Origin::Proven { claims: claims.written(), token };
    Ok(Provenance { origin, asked_at: published })
}

/// The replay that a message names, if it has that content. What only workers write is believed.
pub(crate) async fn replayed(
    archive: &Archive,
    message: &Message,
    name: &str,
) -> Result<Act, Error> {
    let unknown = || Error::NoReplay(name.chars().take(128).collect());
    let sent = Sent::parse(name).ok_or_else(unknown)?;
    let act = archive.acted(&sent.letter, sent.position).await?.ok_or_else(unknown)?;
    match &act.deed {
        Deed::Replayed { sha256, .. } if *sha256 == Sha256::of(&message.data) => Ok(act),
        Deed::Replayed { .. } | Deed::Edited { .. } | Deed::Discarded {} => Err(unknown()),
    }
}

fn believe(act: Act) -> Result<Provenance, Error> {
    match act.deed {
        Deed::Replayed { origin: Origin::Unproven { why }, .. } => Err(Error::ReplayUnproven(why)),
        Deed::Replayed { origin, first_published, .. } => {
            Ok(Provenance { origin, asked_at: first_published })
        }
        Deed::Edited { .. } | Deed::Discarded {} => Err(Error::NoReplay(String::new())),
    }
}
