//! The newest of many runs, and no more of them than are shown. Pure.

use std::num::NonZeroUsize;

use branchline_ledger::History;
use jiff::Timestamp;

/// Runs by when they were asked for, newest first.
pub(super) struct Newest<T = History> {
    limit: usize,
    found: Vec<(Timestamp, Box<T>)>,
    /// Whether one was left out, or may have been.
    pub(super) has_more: bool,
}

impl<T> Newest<T> {
    pub(super) const fn new(limit: NonZeroUsize) -> Self {
        Self { limit: limit.get(), found: Vec::new(), has_more: false }
    }

    /// Takes one in that was asked for then, if there is room or it is newer than the oldest.
    pub(super) fn add(&mut self, asked_at: Timestamp, it: T) {
        let place = self.found.partition_point(|(other, _)| *other >= asked_at);
        self.found.insert(place, (asked_at, Box::new(it)));
        if self.found.len() > self.limit {
            self.found.pop();
            self.has_more = true;
        }
    }

    /// Whether nothing that was asked for at that time or earlier would be taken in. What is known
    /// of no time may be the newest.
    pub(super) fn suffices(&self, at: Option<Timestamp>) -> bool {
        let oldest = self.found.last().filter(|_| self.found.len() == self.limit);
        oldest.zip(at).is_some_and(|((oldest, _), at)| *oldest >= at)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.found.iter().map(|(_, it)| &**it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_kept_than_are_shown_and_those_are_the_newest() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut newest = Newest::new(NonZeroUsize::new(2).unwrap());
        newest.add(at(5), 5);
        assert!(!newest.suffices(Some(at(1))), "there is room");
        newest.add(at(9), 9);
        assert!(!newest.has_more);
        for (then, expected) in [(Some(at(5)), true), (Some(at(6)), false), (None, false)] {
            assert_eq!(newest.suffices(then), expected, "{then:?}");
        }
        newest.add(at(7), 7);
        newest.add(at(3), 3);
        assert_eq!(newest.iter().copied().collect::<Vec<_>>(), [9, 7]);
        assert!(newest.has_more && newest.suffices(Some(at(7))));
    }
}
