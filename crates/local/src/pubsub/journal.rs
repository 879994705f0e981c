//! The journal of lasting changes: what was answered survives a killed process.
//!
//! One file of frames: length, CRC32C, a kind, and one of Google's own request
//! or resource messages. A process can die in the middle of its last frame,
//! which it has then not answered; anything else that does not read is damage.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    AcknowledgeRequest, DeleteSubscriptionRequest, DeleteTopicRequest, PublishRequest,
    PubsubMessage,
};
use prost::{DecodeError, Message};

use super::core::Record;

/// Appended bytes after which the journal is written anew, without what is settled.
const APPENDED_BYTES_MAX: u64 = 64 * 1024 * 1024;

const HEADER_BYTES: usize = 8;

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// What the file holds in whole frames.
    length: u64,
    appended: u64,
    /// Frames that could not be written yet.
    unsaved: Vec<u8>,
    /// Held for as long as this process owns the directory.
    _lock: File,
}

impl Journal {
    /// Opens the journal of a directory and reads what it holds.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, Vec<Record>)> {
        fs::create_dir_all(directory)?;
        let lock = File::create(directory.join("lock"))?;
        lock.try_lock().map_err(|_| {
            io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("{} is in use by another process", directory.display()),
            )
        })?;
        let path = directory.join("journal");
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (records, length) = decode(&bytes).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
        })?;
        let journal = Self { path, file, length, appended: 0, unsaved: Vec::new(), _lock: lock };
        journal.file.set_len(length)?;
        Ok((journal, records))
    }

    /// Makes changes durable. What fails is kept and written with the next call.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        for record in records {
            encode(record, &mut self.unsaved);
        }
        if self.unsaved.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.file.write_all(&self.unsaved) {
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length += self.unsaved.len() as u64;
        self.appended += self.unsaved.len() as u64;
        self.unsaved.clear();
        Ok(())
    }

    pub(super) fn wants_snapshot(&self) -> bool {
        self.appended > APPENDED_BYTES_MAX
    }

    /// Replaces everything by the records of a snapshot, at once.
    pub(super) fn replace(&mut self, snapshot: &[Record]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for record in snapshot {
            encode(record, &mut bytes);
        }
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, &bytes)?;
        let file = OpenOptions::new().append(true).open(&fresh)?;
        fs::rename(&fresh, &self.path)?;
        (self.file, self.length, self.appended) = (file, bytes.len() as u64, 0);
        self.unsaved.clear();
        Ok(())
    }
}

fn encode(record: &Record, out: &mut Vec<u8>) {
    let publish = |name: &str, messages: &[Arc<PubsubMessage>]| {
        let messages = messages.iter().map(|it| PubsubMessage::clone(it)).collect();
        PublishRequest { topic: name.to_owned(), messages }.encode_to_vec()
    };
    let (kind, body) = match record {
        Record::Topic(topic) => (1, topic.encode_to_vec()),
        Record::TopicDeleted(topic) => {
            (2, DeleteTopicRequest { topic: topic.clone() }.encode_to_vec())
        }
        Record::Subscription(subscription) => (3, subscription.encode_to_vec()),
        Record::SubscriptionDeleted(subscription) => {
            (4, DeleteSubscriptionRequest { subscription: subscription.clone() }.encode_to_vec())
        }
        Record::Published { topic, messages } => (5, publish(topic, messages)),
        Record::Pending { subscription, messages } => (6, publish(subscription, messages)),
        Record::Settled { subscription, messages } => {
            let ack_ids = messages.iter().map(u64::to_string).collect();
            (7, AcknowledgeRequest { subscription: subscription.clone(), ack_ids }.encode_to_vec())
        }
    };
    let length =
        u32::try_from(body.len() + 1).expect("a record is bounded by the size of requests");
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&[kind]), &body);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum.to_le_bytes());
    out.push(kind);
    out.extend_from_slice(&body);
}

/// Reads all whole frames, and tells how many bytes they take.
fn decode(bytes: &[u8]) -> Result<(Vec<Record>, u64), String> {
    let mut records = Vec::new();
    let mut position = 0;
    while let Some((checksum, payload)) = frame(&bytes[position..]) {
        let intact = crc32c::crc32c(payload) == checksum;
        match payload.split_first().filter(|_| intact).map(|(kind, body)| record(*kind, body)) {
            Some(Ok(Some(record))) => records.push(record),
            Some(Ok(None) | Err(_)) | None => return Err(format!("damaged at byte {position}")),
        }
        position += HEADER_BYTES + payload.len();
    }
    Ok((records, position as u64))
}

/// The checksum and payload of the frame at the start of `bytes`, if it is whole.
fn frame(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    Some((u32::from_le_bytes(*checksum), rest.get(..length)?))
}

fn record(kind: u8, body: &[u8]) -> Result<Option<Record>, DecodeError> {
    let publish = || {
        let request = PublishRequest::decode(body)?;
        let messages = request.messages.into_iter().map(Arc::new).collect();
        Ok::<_, DecodeError>((request.topic, messages))
    };
    Ok(Some(match kind {
        1 => Record::Topic(Box::new(Message::decode(body)?)),
        2 => Record::TopicDeleted(DeleteTopicRequest::decode(body)?.topic),
        3 => Record::Subscription(Box::new(Message::decode(body)?)),
        4 => Record::SubscriptionDeleted(DeleteSubscriptionRequest::decode(body)?.subscription),
        5 => {
            let (topic, messages) = publish()?;
            Record::Published { topic, messages }
        }
        6 => {
            let (subscription, messages) = publish()?;
            Record::Pending { subscription, messages }
        }
        7 => {
            let AcknowledgeRequest { subscription, ack_ids } = Message::decode(body)?;
            Record::Settled {
                subscription,
                messages: ack_ids.iter().filter_map(|it| it.parse().ok()).collect(),
            }
        }
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(messages: Vec<u64>) -> Record {
        Record::Settled { subscription: "projects/p/subscriptions/sub".to_owned(), messages }
    }

    #[test]
    fn what_was_appended_is_read_again_also_after_a_snapshot() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, records) = Journal::open(directory.path()).unwrap();
        assert_eq!(records, []);
        journal.append(&[settled(vec![1]), settled(vec![2, 3])]).unwrap();
        journal.replace(&[settled(vec![9])]).unwrap();
        journal.append(&[settled(vec![10])]).unwrap();
        drop(journal);
        let (_, records) = Journal::open(directory.path()).unwrap();
        assert_eq!(records, [settled(vec![9]), settled(vec![10])]);
    }

    #[test]
    fn a_frame_cut_short_is_dropped_and_a_damaged_one_is_an_error() {
        let mut bytes = Vec::new();
        encode(&settled(vec![1]), &mut bytes);
        let whole = bytes.len();
        encode(&settled(vec![2]), &mut bytes);
        for length in whole..bytes.len() {
            assert_eq!(
                decode(&bytes[..length]),
                Ok((vec![settled(vec![1])], whole as u64)),
                "{length}"
            );
        }
        bytes[whole - 1] ^= 1;
        assert_eq!(decode(&bytes), Err("damaged at byte 0".to_owned()));
    }

    #[test]
    fn after_a_frame_cut_short_the_journal_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let mut bytes = Vec::new();
        encode(&settled(vec![1]), &mut bytes);
        fs::write(directory.path().join("journal"), [&bytes[..], &bytes[..5]].concat()).unwrap();
        let (mut journal, _) = Journal::open(directory.path()).unwrap();
        journal.append(&[settled(vec![2])]).unwrap();
        drop(journal);
        let (_, records) = Journal::open(directory.path()).unwrap();
        assert_eq!(records, [settled(vec![1]), settled(vec![2])]);
    }

    #[test]
    fn a_directory_has_one_owner() {
        let directory = tempfile::tempdir().unwrap();
        let owner = Journal::open(directory.path()).unwrap();
        assert_eq!(
            Journal::open(directory.path()).unwrap_err().kind(),
            io::ErrorKind::ResourceBusy
        );
        drop(owner);
        Journal::open(directory.path()).unwrap();
    }
}
