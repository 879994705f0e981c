//! The archive of dead letters, in a bucket of its own that only workers write.
//!
//! `letters/<id>/000000.json` is the letter, and what happens to it lies behind it, position by
//! position, as facts do behind a request: of two who act on one letter at once, one learns it.
//! What a listing has to tell is in the objects' metadata, so looking reads nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use branchline_contract::{LetterId, Pick, RunId};
use branchline_gcp::Error as GcpError;
use branchline_gcp::storage::{Object, Objects};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bucket::{Bucket, found};
use crate::letter::{Act, Letter};
use crate::queue::name_of_time;

const PREFIX: &str = "letters/";
/// Pub/Sub's largest message in base64, with as many attributes as there can be, where all of it is
/// tokens that were made longer when they were taken out.
pub const LETTER_BYTES_MAX: u64 = 32 << 20;
/// As much of a sentence as a listing shows.
const DETAIL_MAX: usize = 512;
/// As much of any other text.
const TEXT_MAX: usize = 256;

/// The archive in a bucket.
#[derive(Clone)]
pub struct Archive(Bucket);

/// A dead letter as it was listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Filed {
    /// Its id.
    pub id: LetterId,
    /// When it was put away, by Cloud Storage's clock.
    pub put_away: Option<Timestamp>,
    /// Why it is one, in a word.
    pub reason: String,
    /// What kind of failure.
    pub class: String,
    /// Why, in the beginning of a sentence.
    pub detail: String,
    /// Whose message it was: `worker` or `notifier`.
    pub role: String,
    /// Where a replay goes.
    pub topic: String,
    /// How often it was delivered.
    pub attempts: Option<u32>,
    /// When Pub/Sub took it in first.
    pub first_published: Option<Timestamp>,
    /// The run that it says it is about.
    pub run: Option<RunId>,
    /// Path of that run's GitLab project.
    pub project: Option<String>,
    /// Id of that run's GitLab project.
    pub project_id: Option<u64>,
    /// That run's commit.
    pub sha: Option<String>,
    /// Whether its origin was proven.
    pub proven: bool,
    /// How often it had been replayed before it came here.
    pub replays: u32,
    /// Bytes of its body.
    pub bytes: u64,
    /// Bytes of its object.
    #[serde(skip)]
    pub size: u64,
    /// What happened to it, oldest first.
    pub acts: Vec<FiledAct>,
}

/// Something that happened to a dead letter, as it was listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FiledAct {
    /// Its position behind the letter; the first is 1.
    pub position: u32,
    /// `replayed`, `edited` or `discarded`.
    pub kind: String,
    /// Who asked for it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When Cloud Storage took it in.
    pub time: Option<Timestamp>,
    /// Bytes of its object.
    #[serde(skip)]
    pub size: u64,
}

/// What became of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acted {
    /// It is on record at its position.
    Recorded,
    /// Something else happened to the letter first.
    Taken(Option<Box<Act>>),
}

impl Filed {
    /// What stands about it: `open`, or the kind of what happened last.
    pub fn state(&self) -> &str {
        self.acts.last().map_or("open", |it| it.kind.as_str())
    }

    /// Whether somebody has yet to decide what becomes of it.
    pub fn is_unresolved(&self) -> bool {
        !matches!(self.state(), "replayed" | "discarded")
    }

    /// As a request names it: with its newest body, and all that has happened seen.
    pub fn pick(&self) -> Pick {
        let edit = self.acts.iter().rev().find(|it| it.kind == "edited");
        Pick {
            id: self.id.clone(),
            seen: self.acts.last().map_or(0, |it| it.position),
            body: edit.map_or(0, |it| it.position),
            size: self.size.max(edit.map_or(0, |it| it.size)),
        }
    }
}

impl Archive {
    /// The archive in that bucket.
    pub const fn new(storage: Arc<dyn Objects>, bucket: String) -> Self {
        Self(Bucket::new(storage, bucket))
    }

    /// Puts a letter away. One that is there already is the same message.
    pub async fn file(&self, letter: &Letter) -> Result<(), GcpError> {
        let metadata = [
            ("reason", Some(letter.reason.clone())),
            ("class", Some(letter.class.clone())),
            ("detail", Some(cut(&letter.detail, DETAIL_MAX))),
            ("role", Some(letter.role.as_str().to_owned())),
            ("topic", Some(letter.topic.clone())),
            ("attempts", letter.attempts.map(|it| it.to_string())),
            ("first-published", Some(letter.first_published.to_string())),
            ("run", letter.about.run.as_ref().map(ToString::to_string)),
            ("project", letter.about.project.clone()),
            ("project-id", letter.about.project_id.map(|it| it.to_string())),
            ("sha", letter.about.sha.clone()),
            ("proven", Some(letter.origin.is_proven().to_string())),
            ("replays", Some(letter.replays.to_string())),
            ("bytes", Some(letter.data.0.len().to_string())),
        ];
        let name = object(&letter.id, 0);
        self.0.create(&name, encode(letter), texts(metadata)).await.map(drop)
    }

    /// Writes down what happens to a letter, at that position and no other.
    pub async fn act(
        &self,
        letter: &LetterId,
        position: u32,
        act: &Act,
    ) -> Result<Acted, GcpError> {
        let metadata = [
            ("kind", Some(act.deed.kind().to_owned())),
            ("actor", Some(act.actor.clone())),
            ("reason", Some(act.reason.clone())),
        ];
        if self.0.create(&object(letter, position), encode(act), texts(metadata)).await? {
            return Ok(Acted::Recorded);
        }
        // It may be our own, from before a crash or from a repeated call.
        let found = self.acted(letter, position, LETTER_BYTES_MAX).await?;
        Ok(match found {
            Some(found) if found.request == act.request => Acted::Recorded,
            found => Acted::Taken(found.map(Box::new)),
        })
    }

    /// What happened to a letter at that position, if that has no more bytes.
    pub async fn acted(
        &self,
        letter: &LetterId,
        position: u32,
        bytes_max: u64,
    ) -> Result<Option<Act>, GcpError> {
        self.read(&object(letter, position), bytes_max).await
    }

    /// A letter, whole, if that has no more bytes.
    pub async fn letter(&self, id: &LetterId, bytes_max: u64) -> Result<Option<Letter>, GcpError> {
        self.read(&object(id, 0), bytes_max).await
    }

    /// One letter as a listing tells it.
    pub async fn find(&self, id: &LetterId) -> Result<Option<Filed>, GcpError> {
        let objects = self.0.list(&format!("{PREFIX}{id}/"), usize::MAX).await?;
        Ok(filed(&objects).pop())
    }

    /// Every letter that Pub/Sub took in since then, oldest first.
    pub async fn list(&self, since: Option<Timestamp>) -> Result<Vec<Filed>, GcpError> {
        let mut letters = Vec::new();
        self.each(since, |it| letters.push(it)).await?;
        Ok(letters)
    }

    /// The same, one by one: however many there are, a page of them is in memory.
    pub async fn each(
        &self,
        since: Option<Timestamp>,
        mut take: impl FnMut(Filed) + Send,
    ) -> Result<(), GcpError> {
        let start = since.map(|it| format!("{PREFIX}{}", name_of_time(it)));
        let (mut listing, mut page_token) = (Listing::default(), None);
        loop {
            let page = self.0.page(PREFIX, start.as_deref(), page_token).await?;
            page.objects.iter().filter_map(|it| listing.take_in(it)).for_each(&mut take);
            page_token = page.next;
            if page_token.is_none() {
                listing.0.into_iter().for_each(take);
                return Ok(());
            }
        }
    }

    async fn read<T: DeserializeOwned>(
        &self,
        name: &str,
        bytes_max: u64,
    ) -> Result<Option<T>, GcpError> {
        let bytes = found(self.0.read(name, None, bytes_max).await)?;
        // What only workers write decodes; what does not is nobody's letter.
        Ok(bytes.and_then(|it| serde_json::from_slice(&it).ok()))
    }
}

/// Puts together what is listed, object by object: what happened to a letter lies behind it. Objects of
/// other names, and acts without a letter, are nobody's.
#[derive(Default)]
struct Listing(Option<Filed>);

impl Listing {
    /// The letter before, once another begins.
    fn take_in(&mut self, object: &Object) -> Option<Filed> {
        let (id, position) = place(&object.name)?;
        if position == 0 {
            return self.0.replace(letter(id, object));
        }
        if let Some(last) = self.0.as_mut().filter(|it| it.id == id) {
            last.acts.push(act(position, object));
        }
        None
    }
}

/// The same of a whole listing.
fn filed(objects: &[Object]) -> Vec<Filed> {
    let mut listing = Listing::default();
    let mut letters: Vec<_> = objects.iter().filter_map(|it| listing.take_in(it)).collect();
    letters.extend(listing.0);
    letters
}

fn letter(id: LetterId, object: &Object) -> Filed {
    let text = |name| object.metadata.get(name).cloned();
    let number = |name| object.metadata.get(name).and_then(|it| it.parse().ok());
    Filed {
        id,
        put_away: object.created,
        reason: text("reason").unwrap_or_default(),
        class: text("class").unwrap_or_default(),
        detail: text("detail").unwrap_or_default(),
        role: text("role").unwrap_or_default(),
        topic: text("topic").unwrap_or_default(),
        attempts: number("attempts").and_then(|it| u32::try_from(it).ok()),
        first_published: text("first-published").and_then(|it| it.parse().ok()),
        run: text("run").and_then(|it| RunId::parse(it).ok()),
        project: text("project"),
        project_id: number("project-id"),
        sha: text("sha"),
        proven: text("proven").as_deref() == Some("true"),
        replays: number("replays").and_then(|it| u32::try_from(it).ok()).unwrap_or_default(),
        bytes: number("bytes").unwrap_or_default(),
        size: u64::try_from(object.size).unwrap_or_default(),
        acts: Vec::new(),
    }
}

fn act(position: u32, object: &Object) -> FiledAct {
    let text = |name| object.metadata.get(name).cloned().unwrap_or_default();
    FiledAct {
        position,
        kind: text("kind"),
        actor: text("actor"),
        reason: text("reason"),
        time: object.created,
        size: u64::try_from(object.size).unwrap_or_default(),
    }
}

fn object(id: &LetterId, position: u32) -> String {
    format!("{PREFIX}{id}/{position:06}.json")
}

fn place(name: &str) -> Option<(LetterId, u32)> {
    let (id, file) = name.strip_prefix(PREFIX)?.split_once('/')?;
    let (id, position) = (LetterId::parse(id).ok()?, file.strip_suffix(".json")?.parse().ok()?);
    (object(&id, position) == name).then_some((id, position))
}

fn encode(it: &impl Serialize) -> Bytes {
    serde_json::to_vec(it).expect("it is plain data").into()
}

fn texts<const N: usize>(pairs: [(&str, Option<String>); N]) -> BTreeMap<String, String> {
    let known = pairs.into_iter().filter_map(|(name, it)| Some((name, it?)));
    known
        .map(|(name, it)| {
            let max = if name == "detail" { DETAIL_MAX } else { TEXT_MAX };
            (name.to_owned(), cut(&it, max))
        })
        .collect()
}

fn cut(text: &str, max: usize) -> String {
    text[..text.floor_char_boundary(max)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str, metadata: &[(&str, &str)]) -> Object {
        let pairs = metadata.iter().map(|(name, it)| ((*name).to_owned(), (*it).to_owned()));
        Object {
            bucket: "b".to_owned(),
            name: name.to_owned(),
            generation: 1,
            metageneration: 1,
            size: 7,
            crc32c: None,
            metadata: pairs.collect(),
            created: None,
        }
    }

    #[test]
    fn a_listing_tells_what_became_of_each_letter() {
        let (a, b) = ("20261123T030405000006-1", "20261123T030405000006-2");
        let letters = filed(&[
            listed(&format!("letters/{a}/000000.json"), &[("reason", "no-token"), ("bytes", "3")]),
            listed(&format!("letters/{a}/000001.json"), &[("kind", "edited")]),
            listed(&format!("letters/{a}/000002.json"), &[("kind", "replayed"), ("actor", "ann")]),
            listed(&format!("letters/{b}/000000.json"), &[("reason", "panic")]),
            // Neither a letter nor an act of one.
            listed("letters/20261123T030405000006-3/000001.json", &[("kind", "discarded")]),
            listed("letters/x/000000.json", &[]),
            listed(&format!("letters/{b}/1.json"), &[("kind", "discarded")]),
        ]);
        let states: Vec<_> =
            letters.iter().map(|it| (it.id.as_str(), it.state(), it.is_unresolved())).collect();
        assert_eq!(states, [(a, "replayed", false), (b, "open", true)]);
        let pick = letters[0].pick();
        assert_eq!((pick.seen, pick.body), (2, 1));
        assert_eq!((letters[1].pick().seen, letters[1].pick().body), (0, 0));
    }

    #[test]
    fn what_a_listing_tells_fits_into_metadata() {
        let texts = texts([("detail", Some("ü".repeat(5_000))), ("sha", Some("x".repeat(5_000)))]);
        assert_eq!((texts["detail"].len(), texts["sha"].len()), (512, 256));
    }
}
