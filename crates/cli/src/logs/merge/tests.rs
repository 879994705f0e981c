//! Times are seconds of one minute. A story is one line per source and moment, and a case says in
//! which order they are told.

use std::fmt::Write as _;

use expect_test::{Expect, expect};

use super::*;
use crate::logs::line::Source;

fn second(at: i64) -> Timestamp {
    Timestamp::from_second(at).unwrap()
}

fn line(source: Source, at: i64, text: &str) -> Line {
    Line {
        source,
        attempt: 1,
        time: second(at),
        from: String::new(),
        severity: String::new(),
        text: text.to_owned(),
    }
}

/// Facts `requested`, `intended` and `finished`, and what bounds the streams by them.
struct World {
    merge: Merge,
    ci: StreamId,
    job: StreamId,
}

const BEFORE_PUBLISH: Bounds = Bounds { after: None, before: Some(0), not_before: None };
const OUTPUT: Bounds = Bounds { after: Some(1), before: Some(2), not_before: None };

impl World {
    fn new(facts: [i64; 3]) -> Self {
        let mut merge = Merge::default();
        for (at, name) in facts.into_iter().zip(["requested", "intended", "finished"]) {
            merge.fact(second(at), line(Source::Branchline, at, name), Duration::ZERO);
        }
        let (ci, job) = (merge.stream(Order::AsTold), merge.stream(Order::ByTime));
        Self { merge, ci, job }
    }

    /// Lines of the CI job, the first two before the publish at that moment.
    fn ci(&mut self, published: i64, times: &[i64]) {
        for (number, at) in (1..).zip(times) {
            let bounds = if number <= 2 {
                self.merge.at_most(self.ci, second(*at), second(published));
                BEFORE_PUBLISH
            } else {
                if number == 3 {
                    self.merge.at_least(self.ci, second(*at), second(published));
                }
                Bounds { not_before: Some(second(published)), ..Bounds::default() }
            };
            let line = line(Source::Gitlab, *at, &format!("ci {number}"));
            self.merge.line(self.ci, line, bounds, Duration::ZERO);
        }
    }

    /// Lines of the job, between `intended` and `finished` at these moments.
    fn job(&mut self, facts: [i64; 3], times: &[i64]) {
        for (number, at) in (1..).zip(times) {
            self.merge.at_least(self.job, second(*at), second(facts[1]));
            self.merge.at_most(self.job, second(*at), second(facts[2]));
            let line = line(Source::Vertex, *at, &format!("job {number}"));
            self.merge.line(self.job, line, OUTPUT, Duration::ZERO);
        }
    }
}

fn show(told: &[Told]) -> String {
    let mut text = String::new();
    for Told { time, late, line } in told {
        let mark = if *late { "~" } else { "" };
        write!(text, "{mark}{}@{} ", line.text, time.as_second()).unwrap();
    }
    text.trim_end().to_owned()
}

fn check(name: &str, ci: &[i64], job: &[i64], expected: &Expect) {
    let facts = [10, 20, 40];
    let mut world = World::new(facts);
    world.ci(8, ci);
    world.job(facts, job);
    let told = world.merge.take(Duration::ZERO);
    assert_eq!(told.len(), 3 + ci.len() + job.len(), "{name}");
    expected.assert_eq(&show(&told));
}

#[test]
fn lines_are_in_the_order_of_time_and_what_is_certain_counts_before_any_clock() {
    check(
        "all clocks are right",
        &[1, 5, 9, 30, 41],
        &[25, 30, 35],
        &expect![
            "ci 1@1 ci 2@5 ci 3@9 requested@10 intended@20 job 1@25 ci 4@30 job 2@30 job 3@35 finished@40 ci 5@41"
        ],
    );
    check(
        "the CI job's clock is a minute ahead",
        &[61, 65, 69, 101],
        &[25],
        &expect!["ci 1@4 ci 2@8 requested@10 ci 3@12 intended@20 job 1@25 finished@40 ci 4@44"],
    );
    check(
        "the CI job's clock is a minute behind",
        &[-59, -55, -51, -19],
        &[25],
        &expect!["ci 1@0 ci 2@4 ci 3@8 requested@10 intended@20 job 1@25 finished@40 ci 4@40"],
    );
    check(
        "the job's clock is a minute ahead",
        &[],
        &[85, 90, 95],
        &expect!["requested@10 intended@20 job 1@30 job 2@35 job 3@40 finished@40"],
    );
    check(
        "the job's clock is a minute behind",
        &[],
        &[-35, -30, -25],
        &expect!["requested@10 intended@20 job 1@20 job 2@25 job 3@30 finished@40"],
    );
    check(
        "no correction fits: the clock runs too fast",
        &[],
        &[0, 60],
        &expect!["requested@10 intended@20 job 1@20 job 2@40 finished@40"],
    );
    check(
        "the CI job's clock goes back",
        &[5, 1, 9, 3, 30],
        &[],
        &expect!["ci 1@5 ci 2@5 ci 3@9 ci 4@9 requested@10 intended@20 ci 5@30 finished@40"],
    );
}

#[test]
fn facts_keep_their_order_whatever_cloud_storage_says() {
    let facts = [10, 5, 5];
    let mut world = World::new(facts);
    world.job([10, 10, 10], &[7]);
    let told = world.merge.take(Duration::ZERO);
    assert_eq!(show(&told), "requested@10 intended@10 job 1@10 finished@10");
}

#[test]
fn a_line_waits_for_its_time_and_holds_back_what_comes_behind_it() {
    let mut world = World::new([10, 20, 40]);
    let secs = Duration::from_secs;
    assert_eq!(show(&world.merge.take(secs(0))), "requested@10 intended@20 finished@40");

    // Two polls: the second brings a line that belongs between those of the first.
    let mut job = |at, ripe| {
        let bounds = Bounds { after: Some(2), ..Bounds::default() };
        let line = line(Source::Vertex, at, &format!("line {at}"));
        world.merge.line(world.job, line, bounds, secs(ripe));
    };
    job(45, 5);
    job(50, 5);
    job(47, 7);
    assert_eq!(show(&world.merge.take(secs(4))), "");
    assert_eq!(show(&world.merge.take(secs(5))), "line 45@45");
    assert_eq!(show(&world.merge.take(secs(7))), "line 47@47 line 50@50");
}

#[test]
fn a_line_that_comes_behind_later_ones_is_told_and_marked() {
    let mut world = World::new([10, 20, 40]);
    let secs = Duration::from_secs;
    let mut at = |at, ripe| {
        world.merge.line(world.job, line(Source::Vertex, at, &format!("line {at}")), OUTPUT, ripe);
        show(&world.merge.take(secs(9)))
    };
    assert_eq!(at(25, secs(9)), "requested@10 intended@20 line 25@25 finished@40");
    assert_eq!(at(30, secs(9)), "~line 30@30");
    assert_eq!(at(22, secs(10)), "");
    assert_eq!(show(&world.merge.take(secs(10))), "~line 22@22");
}

#[test]
fn no_line_is_lost_or_told_twice_and_each_stream_keeps_its_order() {
    for seed in 0..500 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut world = World::new([10, 20, 40]);
        let (mut told, mut sent) = (Vec::new(), 3);
        for round in 0..rng.u64(1..20) {
            for _ in 0..rng.u8(0..4) {
                let (at, ripe) = (rng.i64(-30..90), Duration::from_secs(round + rng.u64(0..4)));
                let (stream, source, bounds) = if rng.bool() {
                    (world.ci, Source::Gitlab, Bounds::default())
                } else {
                    (world.job, Source::Vertex, OUTPUT)
                };
                world.merge.line(stream, line(source, at, &format!("{sent:03}")), bounds, ripe);
                sent += 1;
            }
            told.extend(world.merge.take(Duration::from_secs(round)));
        }
        told.extend(world.merge.take(Duration::MAX));
        let texts = |source| {
            let lines = told.iter().filter(move |it| it.line.source == source);
            lines.map(|it| it.line.text.clone()).collect::<Vec<_>>()
        };
        let ci = texts(Source::Gitlab);
        assert!(ci.is_sorted(), "seed {seed}: {ci:?}");
        let mut all: Vec<_> = told.iter().map(|it| it.line.text.clone()).collect();
        all.sort();
        all.dedup();
        assert_eq!((all.len(), told.len()), (sent, sent), "seed {seed}");
        let mut latest = Timestamp::MIN;
        for it in &told {
            assert_eq!(it.late, it.time < latest, "seed {seed}: {it:?}");
            latest = latest.max(it.time);
        }
    }
}
