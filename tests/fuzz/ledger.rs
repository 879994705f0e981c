//! What lies in our own buckets: facts, queue entries, the lease.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use branchline_contract::{ArtifactReady, Envelope, Outcome, RunId};
use branchline_ledger::{
    Approval, Body, Decided, DecodeError, Ending, Entry, Fact, Grounds, History, Intent, Lease,
    Queue, Reopened, Run, Store, Ticket, Wanted,
};
use branchline_service::telemetry::chain;
use fastrand::Rng;
use futures::FutureExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::contract::{brief, refused};
use crate::corpus::DECODED;
use crate::json;
use crate::mutate::{pick, short_text, text};
use crate::objects::Shelf;
use crate::runner::Target;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "fact",
        weight: 60,
        memory: 200,
        make: |rng| json::bytes(rng, &FACTS),
        check: fact,
    },
    Target {
        name: "history",
        weight: 10,
        memory: 300,
        make: |rng| json::bytes(rng, &HISTORIES),
        check: history,
    },
    Target {
        name: "queue",
        weight: 200,
        memory: 200,
        make: |rng| text(rng, &ENTRIES).into_bytes(),
        check: queue,
    },
    Target {
        name: "lease",
        weight: 20,
        memory: 200,
        make: |rng| text(rng, &["free", "1234-00ff00ff00ff00ff", ""]).into_bytes(),
        check: lease,
    },
];

const ENTRIES: [&str; 4] = [
    "queue/20261123T030405000006-iris-small-0123456789abcdef0123-2",
    "queue/20260131T120000000000-train-636f38f3c36efd01c0eb-1",
    "queue/",
    "by-day/20260131/train-636f38f3c36efd01c0eb",
];

/// Histories that between them hold every kind of fact.
static HISTORIES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    DECODED
        .iter()
        .map(|request| {
            let facts = facts(request, "exit status 1", every_kind(request, "exit status 1"));
            facts.iter().map(|it| serde_json::to_value(it).unwrap()).collect()
        })
        .collect()
});

static FACTS: LazyLock<Vec<Value>> =
    LazyLock::new(|| HISTORIES.iter().flat_map(|it| it.as_array().unwrap().clone()).collect());

fn grounds(text: &str) -> Grounds {
    Grounds {
        decided: Decided::NeedsApproval,
        claims: [("user_login", text), ("user_email", text)]
            .map(|(name, it)| (name.to_owned(), it.to_owned()))
            .into(),
        groups_direct: Some(vec![text.to_owned()]),
        policy: "0".repeat(64),
        rules: vec![text.to_owned()],
        wanted: Some(Wanted { merge_request: 0, operator: true }),
        merge_requests: None,
    }
}

/// Every kind of fact but the first, with the text wherever there is room for a stranger's.
pub(crate) fn every_kind(request: &ArtifactReady, text: &str) -> Vec<Body> {
    let reason = || text.to_owned();
    let asked_at = Timestamp::from_second(1_800_000_000).unwrap();
    let intent = |nonce: &str| {
        let output = "gs://o/run/1-n/".to_owned();
        Body::Intended(Intent { nonce: nonce.to_owned(), duration_ms: 60_000, output })
    };
    let job = "projects/42/locations/europe-west4/customJobs/7771".to_owned();
    vec![
        Body::Stalled { reason: reason() },
        Body::Verified {
            contents_read: false,
            grounds: Some(Box::new(grounds(text))),
            staged: request.artifacts.clone(),
        },
        Body::Held { reason: reason() },
        Body::Approved { given: Approval::Operator, by: vec![reason()], reason: reason() },
        Body::Admitted {},
        Body::Duplicate { ci_job: 471_101, pipeline_id: Some(90_211) },
        Body::Blocked { reason: reason(), pause: Some("0a-pause".to_owned()) },
        Body::Unblocked {},
        intent("n"),
        Body::Refused { intent: "n".to_owned(), message: reason() },
        Body::Rejected { reasons: vec![reason(), reason()], grounds: None },
        intent("m"),
        Body::Submitted { intent: "m".to_owned(), job: job.clone() },
        Body::Running {},
        Body::CancelRequested { reason: reason(), request: Some("0a-cancel".to_owned()) },
        Body::Surplus { intent: "n".to_owned(), job: reason() },
        finished(Outcome::Failed, text),
        Body::Retried {
            request: Some(Box::new(request.clone())),
            reason: None,
            operator: None,
            asked_at,
        },
        Body::Verified { contents_read: true, grounds: None, staged: Vec::new() },
        Body::Admitted {},
        intent("o"),
        Body::Submitted { intent: "o".to_owned(), job },
        Body::Retried { request: None, reason: Some(reason()), operator: None, asked_at },
        finished(Outcome::Expired, text),
        Body::Retried {
            request: None,
            reason: None,
            operator: Some(Box::new(reopened(text))),
            asked_at,
        },
        finished(Outcome::Expired, text),
    ]
}

fn reopened(text: &str) -> Reopened {
    let grounds = Box::new(grounds(text));
    let request = "0a-retry".to_owned();
    Reopened { request, by: text.to_owned(), reason: text.to_owned(), grounds }
}

fn finished(outcome: Outcome, text: &str) -> Body {
    Body::Finished(Ending {
        outcome,
        reason: Some(format!("{text}\n{text}")),
        metrics: [(text.to_owned(), 0.5), ("loss".to_owned(), 1e-9)].into(),
        model_uri: Some(text.to_owned()),
        model_files: Vec::new(),
    })
}

/// The request and what came after it, chained; a retry opens the next attempt.
pub(crate) fn facts(request: &ArtifactReady, actor: &str, bodies: Vec<Body>) -> Vec<Fact> {
    let requested = Body::Requested {
        digest: RunId::derive(request).1,
        request: Box::new(request.clone()),
        asked_at: Timestamp::from_second(1_800_000_000).unwrap(),
    };
    let (mut facts, mut attempt, mut previous) = (Vec::new(), 1, None);
    for (sequence, body) in (0..).zip(std::iter::once(requested).chain(bodies)) {
        attempt += u32::from(matches!(body, Body::Retried { .. }));
        let fact = Fact {
            sequence,
            previous,
            nonce: "00ff".to_owned(),
            time: Timestamp::from_second(1_800_000_000 + i64::from(sequence)).unwrap(),
            actor: actor.to_owned(),
            cause: "message 7".to_owned(),
            attempt,
            trace: None,
            body,
        };
        previous = Some(Entry::decode(&fact.encode()).unwrap().sha256);
        facts.push(fact);
    }
    facts
}

fn fact(bytes: &[u8], _: &mut Rng) -> bool {
    match Entry::decode(bytes) {
        Ok(entry) => {
            let again = Entry::decode(&entry.fact.encode()).expect("what was encoded decodes");
            assert_eq!(again.fact, entry.fact);
            true
        }
        Err(error) => refused(&chain(&error)),
    }
}

/// Facts that went wrong, mostly with their chain made whole again, so that the fold sees them.
fn history(bytes: &[u8], rng: &mut Rng) -> bool {
    let Ok(Value::Array(mut facts)) = serde_json::from_slice(bytes) else { return false };
    let (whole, first) = (rng.u8(..8) > 0, *pick(rng, &[0, 0, 0, u32::MAX - 1, u32::MAX - 2]));
    let (mut entries, mut shelf, mut previous) = (Vec::new(), Shelf::default(), None);
    let (project, run) = (7, RunId::parse("iris-0123456789abcdef0123").unwrap());
    for (sequence, fact) in facts.iter_mut().enumerate() {
        if whole && let Value::Object(fact) = fact {
            fact.insert("sequence".to_owned(), json!(sequence));
            fact.insert("previous".to_owned(), json!(previous));
            let attempt = fact.get("attempt").and_then(Value::as_u64).unwrap_or_default();
            fact.insert("attempt".to_owned(), json!(attempt.saturating_add(first.into())));
        }
        let bytes = fact.to_string().into_bytes();
        match Entry::decode(&bytes) {
            Ok(entry) => {
                previous = Some(entry.sha256);
                entries.push(entry);
            }
            Err(DecodeError::Malformed(_) | DecodeError::UnknownKind(_)) => {}
        }
        shelf.put(&format!("runs/{project}/{run}/{sequence:06}.json"), bytes, BTreeMap::new());
    }
    let store = Store::new(Arc::new(shelf), "bucket".to_owned(), || Timestamp::UNIX_EPOCH);
    let loaded = store.load(project, &run).now_or_never().unwrap();
    let folded = Run::fold(&entries);
    match loaded {
        Ok(None) => assert!(facts.is_empty()),
        Ok(Some(history)) => {
            assert_eq!(folded, Ok((history.run.clone(), history.events.clone())));
            holds(&history);
            return true;
        }
        Err(error) => {
            brief(&chain(&error));
        }
    }
    if let Ok((run, events)) = folded {
        holds(&History { run, events, entries });
    }
    false
}

/// What is true of every history that folds, whatever is in it.
fn holds(history: &History) {
    let History { run, events, entries } = history;
    assert_eq!(run.head.sequence as usize, entries.len() - 1);
    let mut before = 0;
    for event in events {
        assert!(event.ledger.sequence > before, "events are in order");
        before = event.ledger.sequence;
        assert_eq!(event.run_id, run.id);
        let sent = Envelope::run_event(event);
        let again = Envelope::decode_run_event(&sent.data, &sent.attributes);
        assert_eq!(again.expect("what was encoded decodes"), *event);
    }
    // A message's time is Pub/Sub's, and its calendar begins after Christ.
    if run.asked_at >= "0000-01-01T00:00:00Z".parse().unwrap() {
        found_again(&Ticket::of(run));
    }
    let (note, status) = branchline_notifier::fuzz::wanted(history);
    assert!(note.len() < 1 << 20, "the note has {} bytes", note.len());
    assert!(status.description.chars().count() <= 255);
}

/// An entry is found in the queue under the name that it was given.
fn found_again(ticket: &Ticket) {
    let shelf = Arc::new(Shelf::default());
    let queue = Queue::new(shelf.clone(), "bucket".to_owned());
    queue.ensure(ticket, 7).now_or_never().unwrap().unwrap();
    let names = shelf.written();
    let mut shelf = Shelf::default();
    for name in names {
        shelf.put(&name, Vec::new(), BTreeMap::new());
    }
    let queue = Queue::new(Arc::new(shelf), "bucket".to_owned());
    let (entries, strangers) = queue.list().now_or_never().unwrap().unwrap();
    let tickets: Vec<_> = entries.into_iter().map(|it| it.ticket).collect();
    assert_eq!((tickets, strangers), (vec![ticket.clone()], vec![]));
}

/// What is taken for an entry is written and removed under the name that it has.
fn queue(bytes: &[u8], rng: &mut Rng) -> bool {
    let name = std::str::from_utf8(bytes).unwrap();
    let mut shelf = Shelf::default();
    let keys = ["project-id", "head", "published"];
    let metadata = keys.map(|it| (it.to_owned(), short_text(rng, &["7", "4294967295", "-1", ""])));
    shelf.put(name, Vec::new(), metadata.into());
    let shelf = Arc::new(shelf);
    let queue = Queue::new(shelf.clone(), "bucket".to_owned());
    let (entries, strangers) = queue.list().now_or_never().unwrap().unwrap();
    let listed = usize::from(name.starts_with("queue/"));
    assert_eq!(entries.len() + strangers.len(), listed, "nothing is lost in silence");
    for stranger in strangers {
        brief(&stranger.to_string());
    }
    let Some(entry) = entries.first() else { return false };
    let published = *pick(rng, &[0, 1, u32::MAX]);
    queue.mark_published(entry, published).now_or_never().unwrap().unwrap();
    queue.remove(entry).now_or_never().unwrap().unwrap();
    queue.tell(&entry.ticket, published).now_or_never().unwrap().unwrap();
    assert!(shelf.written().iter().all(|it| it == name), "another entry than {name} was changed");
    true
}

/// Only a lease that its holder gave back is taken at first sight.
fn lease(bytes: &[u8], _: &mut Rng) -> bool {
    let mut shelf = Shelf::default();
    shelf.put("lease", bytes.to_vec(), BTreeMap::new());
    let shelf = Arc::new(shelf);
    let length = Duration::from_secs(15);
    let mut lease = Lease::new(shelf.clone(), "bucket".to_owned(), "me".to_owned(), length);
    let held = lease.hold(Instant::now()).now_or_never().unwrap().unwrap();
    assert_eq!(held, bytes == b"free");
    held
}
