//! Whether the facts of a run are still what was written. Pure.
//!
//! Each fact holds the SHA-256 of the one before it, so every fact but the last
//! is covered by its successor. The last fact's own bytes, and that it is the
//! last, are covered by nothing in the ledger: only a head that was noted
//! elsewhere, in an event or on the merge request, covers those.

use std::collections::BTreeMap;

use branchline_contract::{ArtifactReady, LedgerHead, RunId, Sha256};
use serde::Deserialize;

use crate::fact::{Body, Entry};
use crate::name::FactName;
use crate::run::{FoldError, Run};

/// Something wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {fault}")]
pub struct Problem {
    /// Name of the object.
    pub object: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with one object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// An object that has no place among the facts of the run.
    #[error("this is not the name of a fact of the run")]
    Name,
    /// No object of that name.
    #[error("missing{}", until(*first, *last))]
    Missing {
        /// The first position without a fact.
        first: u32,
        /// The last one of that gap.
        last: u32,
    },
    /// It is not a fact.
    #[error("not a fact: {0}")]
    Unreadable(String),
    /// It was written at another position.
    #[error("states position {stated}, expected {expected}")]
    Position {
        /// The one in its name.
        expected: u32,
        /// The one it states.
        stated: u32,
    },
    /// It asks for another run than the one it lies in.
    #[error("asks for {found}, expected {expected}")]
    Identity {
        /// What its name, or the digest it states, says.
        expected: String,
        /// What its request makes.
        found: String,
    },
    /// A run cannot begin with it.
    #[error(transparent)]
    Fold(FoldError),
    /// Its bytes are not those that were written.
    #[error("altered: its SHA-256 is {found}; {witness} says {}", shown(*expected))]
    Altered {
        /// The hash on record.
        expected: Option<Sha256>,
        /// The hash of what is there.
        found: Sha256,
        /// Where that record is.
        witness: Witness,
    },
    /// It does not fit its successor, and nothing covers that one: either was altered.
    #[error("this or {successor} was altered: the SHA-256 of this is {found}; that one, covered by nothing, says {}", shown(*expected))]
    Either {
        /// The object behind it.
        successor: String,
        /// The hash that the object behind it has on record.
        expected: Option<Sha256>,
        /// The hash of what is there.
        found: Sha256,
    },
    /// It does not fit its successor, which is wrong itself: a consequence, not a place.
    #[error("cannot be judged: its SHA-256 is {found}; {successor}, which is wrong itself, says {}", shown(*expected))]
    Unproven {
        /// The object behind it.
        successor: String,
        /// The hash that the object behind it has on record.
        expected: Option<Sha256>,
        /// The hash of what is there.
        found: Sha256,
    },
}

/// Who knows what a fact was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The head that was noted elsewhere.
    Head,
    /// The fact behind it.
    Fact(String),
}

/// Whether an object's record of the one before it can be believed.
#[derive(Clone, Copy)]
enum Standing {
    /// It is as the head or its successor says.
    Covered,
    /// Nothing says what it has to be.
    Uncovered,
    /// There is something wrong with it.
    Wrong,
}

/// One object, as far as the chain is concerned.
struct Link<'a> {
    object: &'a str,
    sha256: Sha256,
    /// What it has on record, if it can be read.
    chained: Option<Chained>,
    wrong: bool,
}

/// The hash of the fact before, also of a fact that this version does not know.
#[derive(Deserialize)]
struct Chained {
    previous: Option<Sha256>,
}

/// Looks for everything that is wrong with the facts of one run, each the name
/// and the bytes of an object: names and contents, positions, the chain of
/// hashes, and the head, if that is known from elsewhere. In the order of
/// positions; strangers first.
pub fn verify(facts: &[(String, Vec<u8>)], head: Option<LedgerHead>) -> Vec<Problem> {
    let Some(run) = facts.iter().find_map(|(object, _)| FactName::parse(object)) else {
        let strangers = facts.iter().map(|(object, _)| problem(object, Fault::Name));
        let lost = head.map(|head| Problem {
            object: "000000.json".to_owned(),
            fault: Fault::Missing { first: 0, last: head.sequence },
        });
        return strangers.chain(lost).collect();
    };
    let (mut strangers, mut found) = (Vec::new(), Vec::new());
    let mut links = BTreeMap::new();
    for (object, bytes) in facts {
        let name = FactName::parse(object)
            .filter(|it| it.run == run.run && it.project_id == run.project_id)
            .filter(|it| !links.contains_key(&it.position));
        let Some(name) = name else {
            strangers.push(problem(object, Fault::Name));
            continue;
        };
        let fault = content(&name, bytes);
        let wrong = fault.is_some();
        found.extend(fault.map(|it| (name.position, problem(object, it))));
        let sha256 = Sha256::of(bytes);
        links.insert(
            name.position,
            Link { object, sha256, chained: serde_json::from_slice(bytes).ok(), wrong },
        );
    }
    found.extend(gaps(&run, &links, head));
    found.extend(chain(&links, head));
    found.sort_by_key(|(position, _)| *position);
    strangers.into_iter().chain(found.into_iter().map(|(_, it)| it)).collect()
}

/// What is wrong with an object by itself.
fn content(name: &FactName, bytes: &[u8]) -> Option<Fault> {
    let entry = match Entry::decode(bytes) {
        Ok(entry) => entry,
        Err(error) => {
            let source = std::error::Error::source(&error);
            let cause = source.map_or_else(String::new, |it| format!(": {it}"));
            return Some(Fault::Unreadable(format!("{error}{cause}")));
        }
    };
    let (expected, stated) = (name.position, entry.fact.sequence);
    if stated != expected {
        return Some(Fault::Position { expected, stated });
    }
    let identity = match &entry.fact.body {
        Body::Requested { request, digest, .. } => identity(name, request, Some(*digest)),
        Body::Retried { request: Some(request), .. } => identity(name, request, None),
        _ => None,
    };
    let fold = || match expected {
        0 => Run::begin(&entry).err().map(Fault::Fold),
        _ => None,
    };
    identity.or_else(fold)
}

/// Whether a request makes the run that its fact lies in.
fn identity(name: &FactName, request: &ArtifactReady, stated: Option<Sha256>) -> Option<Fault> {
    let (run, digest) = RunId::derive(request);
    let place = |project_id, run: &RunId| format!("run {run} of project {project_id}");
    let (expected, found) = (name, request.gitlab.project_id);
    if run != expected.run || found != expected.project_id {
        let expected = place(expected.project_id, &expected.run);
        return Some(Fault::Identity { expected, found: place(found, &run) });
    }
    stated.filter(|it| *it != digest).map(|it| Fault::Identity {
        expected: format!("a request of the digest {it}"),
        found: format!("one of {digest}"),
    })
}

fn gaps(
    run: &FactName,
    links: &BTreeMap<u32, Link<'_>>,
    head: Option<LedgerHead>,
) -> Vec<(u32, Problem)> {
    let mut found = Vec::new();
    let mut first = 0;
    let behind = head.map(|it| it.sequence.saturating_add(1));
    for next in links.keys().copied().chain(behind) {
        if next > first {
            let name = FactName { position: first, ..run.clone() };
            let fault = Fault::Missing { first, last: next - 1 };
            found.push((first, problem(&name.to_string(), fault)));
        }
        first = first.max(next.saturating_add(1));
    }
    found
}

/// Walks back from what is covered best, so that the altered fact is blamed and not its neighbour.
fn chain(links: &BTreeMap<u32, Link<'_>>, head: Option<LedgerHead>) -> Vec<(u32, Problem)> {
    let mut found = Vec::new();
    let mut behind: Option<(u32, &Link<'_>, Standing)> = None;
    for (&position, link) in links.iter().rev() {
        let by_head = head.filter(|it| it.sequence == position).map(|it| it.sha256);
        let successor =
            behind.filter(|(at, ..)| *at == position + 1).and_then(|(_, it, standing)| {
                Some((it.object, it.chained.as_ref()?.previous, standing))
            });
        let fault = by_head
            .filter(|it| *it != link.sha256)
            .map(|it| Fault::Altered {
                expected: Some(it),
                found: link.sha256,
                witness: Witness::Head,
            })
            .or_else(|| {
                let (object, previous, standing) = successor?;
                (previous != Some(link.sha256))
                    .then(|| mismatch(object, previous, link.sha256, standing))
            });
        let standing = match (&fault, by_head.is_some() || successor.is_some()) {
            _ if link.wrong => Standing::Wrong,
            (Some(_), _) => Standing::Wrong,
            (None, true) => Standing::Covered,
            (None, false) => Standing::Uncovered,
        };
        // What is known to be wrong with it says more than its hash.
        let fault = fault.filter(|_| !link.wrong);
        found.extend(fault.map(|it| (position, problem(link.object, it))));
        behind = Some((position, link, standing));
    }
    found
}

fn mismatch(successor: &str, previous: Option<Sha256>, found: Sha256, standing: Standing) -> Fault {
    let (successor, expected) = (successor.to_owned(), previous);
    match standing {
        Standing::Covered => Fault::Altered { expected, found, witness: Witness::Fact(successor) },
        Standing::Uncovered => Fault::Either { successor, expected, found },
        Standing::Wrong => Fault::Unproven { successor, expected, found },
    }
}

fn problem(object: &str, fault: Fault) -> Problem {
    Problem { object: object.to_owned(), fault }
}

fn until(first: u32, last: u32) -> String {
    if last == first { String::new() } else { format!(", up to position {last}") }
}

fn shown(hash: Option<Sha256>) -> String {
    hash.map_or_else(|| "none".to_owned(), |it| it.to_string())
}

impl std::fmt::Display for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Head => f.write_str("the head that was given"),
            Self::Fact(object) => f.write_str(object),
        }
    }
}

#[cfg(test)]
mod tests;
