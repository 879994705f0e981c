//! Requests from outside and what became of them.
//!
//! `requests/<time>-<request id>` lies in a bucket of its own, in which others
//! may create and nothing else. `answers/<time>-<request id>` lies in the
//! ledger's bucket, is created once and stays: it is the record of who asked
//! for what, and it keeps a request from being carried out twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use branchline_contract::{Request, RequestId};
use branchline_gcp::storage::Objects;
use branchline_gcp::{Class, Error as GcpError};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bucket::{Bucket, found};
use crate::queue::name_of_time;

const REQUESTS: &str = "requests/";
const ANSWERS: &str = "answers/";
/// What is asked for beyond this waits for the next round.
const REQUESTS_MAX: usize = 1_000;
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// The two buckets.
#[derive(Clone)]
pub struct Requests {
    requests: Bucket,
    answers: Bucket,
}

/// Name of a request: the time is the asker's, and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestName(String);

/// A request as it was listed.
#[derive(Clone, Debug)]
pub struct Asked {
    object: String,
    generation: i64,
    /// When Cloud Storage took it in: the order in which requests are carried out.
    pub at: Option<Timestamp>,
    /// Its name, unless a stranger made it up.
    pub name: Option<RequestName>,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The request, where it could be read.
    pub request: Option<Request>,
    /// Whether it was carried out.
    pub verdict: Verdict,
    /// What was done, or why nothing was.
    pub message: String,
    /// How many dead letters became what, where it is about them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
    /// When, by the leader's clock. Nothing is decided by it.
    pub time: Timestamp,
}

/// Whether a request was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It was, or there was nothing left to do.
    Done,
    /// It was not, and will not be.
    Refused,
}

impl RequestName {
    /// The name of a request that is made at that time.
    pub fn new(time: Timestamp, id: &RequestId) -> Self {
        Self(format!("{}-{id}", name_of_time(time)))
    }

    /// The id in it.
    pub fn id(&self) -> &str {
        self.0.split_once('-').expect("checked when parsed").1
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(object: &str) -> Option<Self> {
        let name = object.strip_prefix(REQUESTS)?;
        let (time, id) = name.split_once('-')?;
        let timely = time.len() == name_of_time(Timestamp::UNIX_EPOCH).len();
        let timely = timely && time.bytes().all(|it| it.is_ascii_digit() || it == b'T');
        (timely && RequestId::parse(id).is_ok()).then(|| Self(name.to_owned()))
    }
}

impl Requests {
    /// The requests in one bucket, and their answers in the ledger's.
    pub fn new(storage: Arc<dyn Objects>, bucket: String, ledger_bucket: String) -> Self {
        let requests = Bucket::new(storage.clone(), bucket);
        Self { requests, answers: Bucket::new(storage, ledger_bucket) }
    }

    /// Writes a request. One of that name that is there already stands for it.
    pub async fn ask(&self, name: &RequestName, request: &Request) -> Result<(), GcpError> {
        let object = format!("{REQUESTS}{}", name.0);
        self.requests.create(&object, request.encode().into(), BTreeMap::new()).await.map(drop)
    }

    /// What was asked for, in the order in which Cloud Storage took it in.
    pub async fn list(&self) -> Result<Vec<Asked>, GcpError> {
        let objects = self.requests.list(REQUESTS, REQUESTS_MAX).await?;
        let asked = objects.into_iter().map(|it| Asked {
            name: RequestName::parse(&it.name),
            object: it.name,
            generation: it.generation,
            at: it.created,
        });
        let mut asked: Vec<_> = asked.collect();
        asked.sort_by(|a, b| (a.at, &a.object).cmp(&(b.at, &b.object)));
        Ok(asked)
    }

    /// Reads the content of a request, which may be anything; `None` when it is gone.
    pub async fn read(&self, asked: &Asked) -> Result<Option<Bytes>, GcpError> {
        let generation = Some(asked.generation);
        let read = self.requests.read(&asked.object, generation, Request::BYTES_MAX).await;
        found(match read {
            // It is too large: no request then.
            Err(error) if error.class() == Class::Refused => Ok(Bytes::new()),
            read => read,
        })
    }

    /// Removes a request that is answered, if it is still the one that was listed.
    pub async fn remove(&self, asked: &Asked) -> Result<(), GcpError> {
        self.requests.remove(&asked.object, asked.generation).await
    }

    /// Writes down what became of a request, unless that is done.
    pub async fn answer(&self, name: &RequestName, answer: &Answer) -> Result<(), GcpError> {
        let bytes = serde_json::to_vec(answer).expect("an answer is plain data");
        let object = format!("{ANSWERS}{}", name.0);
        self.answers.create(&object, bytes.into(), BTreeMap::new()).await.map(drop)
    }

    /// What became of a request, once that is written down.
    pub async fn answered(&self, name: &RequestName) -> Result<Option<Answer>, GcpError> {
        let object = format!("{ANSWERS}{}", name.0);
        let bytes = found(self.answers.read(&object, None, ANSWER_BYTES_MAX).await)?;
        Ok(bytes.and_then(|it| serde_json::from_slice(&it).ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_again_and_a_made_up_one_is_not() {
        let id = RequestId::parse("0a-cancel").unwrap();
        let name = RequestName::new("2026-11-23T03:04:05.000006Z".parse().unwrap(), &id);
        assert_eq!(name.as_str(), "20261123T030405000006-0a-cancel");
        assert_eq!(name.id(), "0a-cancel");
        assert_eq!(RequestName::parse(&format!("requests/{}", name.0)), Some(name));
        for made_up in [
            "requests/",
            "requests/x",
            "requests/20261123T030405000006-",
            "requests/20261123T030405000006-../../lease",
            "requests/2026-11-23-a",
            "other/20261123T030405000006-a",
        ] {
            assert_eq!(RequestName::parse(made_up), None, "{made_up}");
        }
    }
}
