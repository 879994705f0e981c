//! Whose turn it is: start-time fair queueing over GitLab projects. Pure.
//!
//! Before the k-th run of a project at most `k × P - 1` others are created that
//! wait for the same thing, where P projects wait meanwhile: a project with
//! thousands of runs costs another one a single turn for each of its own.

use std::collections::BTreeMap;

/// The virtual time of one line, in which every create call takes one.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    now: u64,
    /// When the next run of a project starts, where that is ahead of now.
    next: BTreeMap<u64, u64>,
}

impl Turns {
    /// Those that wait, oldest first, in the order in which they are to go. Of each its project is
    /// told, and what it waits for: those of one project that wait for different things do not
    /// take each other's turns.
    pub(super) fn order<T, For: Ord>(
        &self,
        waiting: Vec<T>,
        of: impl Fn(&T) -> (u64, For),
    ) -> Vec<T> {
        let mut starts = BTreeMap::new();
        let start = |it: T| {
            let line = of(&it);
            let project = line.0;
            let start = starts.entry(line).or_insert_with(|| self.start(project));
            *start += 1;
            (*start, it)
        };
        let mut started: Vec<(u64, T)> = waiting.into_iter().map(start).collect();
        // It is stable: of equals the oldest goes first.
        started.sort_by_key(|it| it.0);
        started.into_iter().map(|it| it.1).collect()
    }

    /// Notes that a run of that project went.
    pub(super) fn went(&mut self, project: u64) {
        let start = self.start(project);
        self.next.insert(project, start + 1);
        self.now = self.now.max(start);
        self.next.retain(|_, next| *next > self.now);
    }

    fn start(&self, project: u64) -> u64 {
        self.next.get(&project).copied().unwrap_or_default().max(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The projects of the next runs, one create call after another.
    fn served(turns: &mut Turns, waiting: &mut Vec<u64>, count: usize) -> Vec<u64> {
        let next = |_| {
            let next = turns.order(waiting.clone(), |it| (*it, ()))[0];
            waiting.remove(waiting.iter().position(|it| *it == next).unwrap());
            turns.went(next);
            next
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn projects_take_turns_and_the_oldest_run_begins() {
        let cases: [(&str, &[u64], &[u64]); 5] = [
            ("nobody", &[], &[]),
            ("one project", &[7, 7, 7], &[7, 7, 7]),
            ("a crowd first", &[1, 1, 1, 1, 2, 2], &[1, 2, 1, 2, 1, 1]),
            ("a crowd last", &[2, 1, 1, 1], &[2, 1, 1, 1]),
            ("three", &[3, 3, 3, 1, 2, 2], &[3, 1, 2, 3, 2, 3]),
        ];
        for (name, waiting, expected) in cases {
            let ordered = Turns::default().order(waiting.to_vec(), |it| (*it, ()));
            assert_eq!(ordered, expected, "{name}");
            let (mut turns, mut waiting) = (Turns::default(), waiting.to_vec());
            let one_by_one = served(&mut turns, &mut waiting, expected.len());
            assert_eq!(one_by_one, expected, "{name}, one by one");
        }
    }

    #[test]
    fn who_comes_later_neither_pays_for_the_past_nor_is_paid_for_it() {
        let (mut turns, mut waiting) = (Turns::default(), vec![1; 10]);
        assert_eq!(served(&mut turns, &mut waiting, 5), [1; 5]);
        waiting.extend([2; 5]);
        assert_eq!(served(&mut turns, &mut waiting, 6), [2, 1, 2, 1, 2, 1]);
        let mut waiting = vec![1; 20];
        served(&mut turns, &mut waiting, 10);
        waiting.extend([3; 5]);
        assert_eq!(served(&mut turns, &mut waiting, 4), [3, 1, 3, 1]);
        assert!(turns.next.len() <= 2, "idle projects are forgotten");
    }

    #[test]
    fn a_crowd_costs_another_project_one_turn_for_each_of_its_own() {
        const PROJECTS: usize = 6;
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut turns = Turns::default();
            // Each with the number of the call by which it is created at the latest.
            let mut waiting: Vec<(u64, usize)> = Vec::new();
            for created in 0..300 {
                if created % 50 == 0 {
                    let project = rng.u64(1..);
                    let count = if rng.bool() { 100 } else { rng.usize(1..4) };
                    waiting.extend((1..=count).map(|k| (project, created + k * PROJECTS)));
                }
                if waiting.is_empty() {
                    continue;
                }
                let (project, by) = turns.order(waiting.clone(), |it| (it.0, ()))[0];
                waiting.remove(waiting.iter().position(|it| it.0 == project).unwrap());
                turns.went(project);
                assert!(created < by, "seed {seed}: call {created}, and {by} was the latest");
            }
        }
    }
}
