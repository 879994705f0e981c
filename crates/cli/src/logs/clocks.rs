//! The clocks of one job in Vertex AI: each of its replicas is a machine of its own. Pure.

use std::collections::BTreeMap;

use branchline_gcp::logging::LogEntry;
use jiff::Timestamp;

use super::merge::{Merge, Order, StreamId};

/// Replicas that are told apart; those behind have one clock in common.
const CLOCKS_MAX: usize = 1_000;

/// Who wrote an entry: a job, which may be a part of ours, and a replica of it.
type Replica = (String, String);

/// Streams of the merge, by replica.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    of: BTreeMap<Replica, Clock>,
    /// The fact that ended the job.
    end: Option<usize>,
}

#[derive(Debug)]
struct Clock {
    stream: StreamId,
    /// The latest time in it, by its own clock.
    latest: Timestamp,
}

impl Clocks {
    /// The stream of an entry that was written then, by its own clock.
    pub(super) fn stream(
        &mut self,
        merge: &mut Merge,
        entry: &LogEntry,
        time: Timestamp,
    ) -> StreamId {
        let part = |it: &Option<String>| it.clone().unwrap_or_default();
        let replica = (part(&entry.job_id), part(&entry.task));
        let has_room = self.of.len() < CLOCKS_MAX || self.of.contains_key(&replica);
        let replica = if has_room { replica } else { Replica::default() };
        let clock = self.of.entry(replica).or_insert_with(|| {
            let stream = merge.stream(Order::ByTime);
            if let Some(fact) = self.end {
                merge.end(stream, fact);
            }
            Clock { stream, latest: time }
        });
        clock.latest = clock.latest.max(time);
        clock.stream
    }

    /// The job has ended with that fact: nothing of it is later.
    pub(super) fn end(&mut self, merge: &mut Merge, fact: usize, time: Timestamp) {
        self.end = Some(fact);
        for clock in self.of.values() {
            merge.end(clock.stream, fact);
            merge.at_most(clock.stream, clock.latest, time);
        }
    }

    /// Every stream, and the replica that it is of.
    pub(super) fn streams(&self) -> impl Iterator<Item = (StreamId, &str)> {
        self.of.iter().map(|((_, task), it)| (it.stream, task.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn entry(task: &str) -> LogEntry {
        LogEntry {
            insert_id: String::new(),
            time: None,
            received: None,
            severity: String::new(),
            job_id: Some("7".to_owned()),
            task: Some(task.to_owned()),
            text: String::new(),
        }
    }

    #[test]
    fn a_replica_whose_clock_is_ahead_moves_no_other() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (mut merge, mut clocks) = (Merge::default(), Clocks::default());
        let [right, ahead] =
            [("workerpool0-0", 100), ("workerpool1-0", 160)].map(|(task, received)| {
                let stream = clocks.stream(&mut merge, &entry(task), at(received));
                merge.at_most(stream, at(received), at(100));
                stream
            });
        assert_eq!(clocks.stream(&mut merge, &entry("workerpool0-0"), at(101)), right);
        clocks.end(&mut merge, 3, at(110));
        assert_eq!(merge.correction(right), SignedDuration::ZERO);
        assert_eq!(merge.correction(ahead), SignedDuration::from_secs(-60));
        for number in 0..CLOCKS_MAX * 2 {
            clocks.stream(&mut merge, &entry(&number.to_string()), at(100));
        }
        assert_eq!(clocks.streams().count(), CLOCKS_MAX + 1);
    }
}
