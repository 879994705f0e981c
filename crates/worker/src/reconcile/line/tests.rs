//! Lines of runs, and who goes.

use std::fmt::Write as _;

use expect_test::{Expect, expect};

use super::*;
use crate::testing::{custom_job, request};

const SEC: Duration = Duration::from_secs(1);

/// A run of a project that needs so many machines.
struct Run {
    id: RunId,
    project: u64,
    need: Need,
    ready: bool,
}

fn need(machines: u32) -> Need {
    let mut training = custom_job();
    training["custom_job"]["jobSpec"]["workerPoolSpecs"][0]["replicaCount"] = machines.into();
    Need::of(&request(&training).training)
}

/// Runs, oldest first: project, machines.
fn runs(runs: &[(u64, u32)]) -> Vec<Run> {
    let run = |(number, (project, machines)): (usize, &(u64, u32))| Run {
        id: RunId::parse(format!("r{number}-{:020x}", 0)).unwrap(),
        project: *project,
        need: need(*machines),
        ready: true,
    };
    runs.iter().enumerate().map(run).collect()
}

fn plan(line: &mut Line, runs: &[Run], active: &mut Active, at: Duration) -> Vec<(usize, Turn)> {
    let waiting = runs.iter().map(|it| Waiter {
        run: &it.id,
        project: it.project,
        need: &it.need,
        ready: it.ready,
    });
    let plan = line.plan(waiting.collect(), active, at);
    runs.iter().enumerate().map(|(number, it)| (number, plan[&it.id].clone())).collect()
}

fn check(line: &mut Line, runs: &[Run], active: &mut Active, expect: &Expect) {
    let mut told = String::new();
    for (number, Turn { place, granted, reason }) in plan(line, runs, active, SEC * 100) {
        let goes = if granted.is_some() { ", goes" } else { "" };
        let reason = reason.map(|it| format!(", {it}")).unwrap_or_default();
        let project = runs[number].project;
        writeln!(told, "{number} of project {project}: place {place}{goes}{reason}").unwrap();
    }
    expect.assert_eq(&told);
}

/// Six calls a minute: one at a time.
fn line() -> Line {
    Line::new(6, SEC)
}

#[test]
fn places_are_the_order_in_which_runs_go() {
    let mut runs = runs(&[(1, 1), (1, 1), (1, 1), (2, 1)]);
    check(
        &mut line(),
        &runs,
        &mut Active::default(),
        &expect![[r"
            0 of project 1: place 1, goes
            1 of project 1: place 3
            2 of project 1: place 4
            3 of project 2: place 2
        "]],
    );
    // Who backs off keeps its place and holds nobody up.
    runs[0].ready = false;
    check(
        &mut line(),
        &runs,
        &mut Active::default(),
        &expect![[r"
            0 of project 1: place 1
            1 of project 1: place 2, goes
            2 of project 1: place 4
            3 of project 2: place 3
        "]],
    );
}

#[test]
fn who_wants_a_machine_that_is_scarce_waits_with_its_like_and_everybody_else_goes_on() {
    let (mut line, runs) = (Line::new(600, SEC), runs(&[(1, 8), (2, 8), (1, 1), (3, 8), (2, 1)]));
    let metrics = vec!["x/t4_gpus".to_owned()];
    line.refused(&need(8), metrics.clone(), (SEC * 99, None));
    check(
        &mut line,
        &runs,
        &mut Active::default(),
        &expect![[r"
            0 of project 1: place 1, waits for quota of x/t4_gpus
            1 of project 2: place 2, waits for quota of x/t4_gpus
            2 of project 1: place 1, goes
            3 of project 3: place 3, waits for quota of x/t4_gpus
            4 of project 2: place 2, goes
        "]],
    );
    // Five rounds later one of them asks, and the next when it was had.
    let asks = |line: &mut Line, at: u32| -> Vec<usize> {
        let plan = plan(line, &runs, &mut Active::default(), SEC * at);
        let scarce = |it: &(usize, Turn)| it.1.granted.is_some() && runs[it.0].need == need(8);
        plan.into_iter().filter(scarce).map(|it| it.0).collect()
    };
    assert_eq!([103, 104].map(|at| asks(&mut line, at)), [vec![], vec![0]]);
    line.refused(&need(8), metrics, (SEC * 104, None));
    assert_eq!([113, 114].map(|at| asks(&mut line, at)), [vec![], vec![0]]);
    line.accepted(1, &need(8), SEC * 114);
    assert_eq!(asks(&mut line, 115), [1, 3], "it is the turn of other projects now");
}

#[test]
fn who_cannot_go_takes_no_turn_of_those_of_its_project_that_can() {
    let mut runs = runs(&[(1, 8), (1, 8), (1, 2), (1, 2), (2, 1), (2, 1), (1, 1), (1, 1)]);
    let mut line = Line::new(6, SEC);
    line.refused(&need(8), vec!["x/t4_gpus".to_owned()], (SEC * 99, None));
    for it in &mut runs[2..4] {
        it.ready = false;
    }
    check(
        &mut line,
        &runs,
        &mut Active::default(),
        &expect![[r"
        0 of project 1: place 1, waits for quota of x/t4_gpus
        1 of project 1: place 2, waits for quota of x/t4_gpus
        2 of project 1: place 1
        3 of project 1: place 4
        4 of project 2: place 2, goes
        5 of project 2: place 5
        6 of project 1: place 3
        7 of project 1: place 6
    "]],
    );
}

#[test]
fn runs_over_the_cap_of_their_project_wait_and_say_so() {
    let runs = runs(&[(1, 1), (1, 1), (1, 1), (2, 1), (2, 1)]);
    let active = || Active { count: BTreeMap::from([(2, 2)]), per_project_max: Some(2) };
    check(
        &mut Line::new(600, SEC),
        &runs,
        &mut active(),
        &expect![[r"
            0 of project 1: place 1, goes
            1 of project 1: place 2, goes
            2 of project 1: place 1, its GitLab project may have 2 in Vertex AI at once
            3 of project 2: place 1, its GitLab project may have 2 in Vertex AI at once
            4 of project 2: place 2, its GitLab project may have 2 in Vertex AI at once
        "]],
    );
    // Who only waits for its turn takes a place that another one then has to wait for.
    check(
        &mut line(),
        &runs,
        &mut active(),
        &expect![[r"
            0 of project 1: place 1, goes
            1 of project 1: place 2
            2 of project 1: place 1, its GitLab project may have 2 in Vertex AI at once
            3 of project 2: place 1, its GitLab project may have 2 in Vertex AI at once
            4 of project 2: place 2, its GitLab project may have 2 in Vertex AI at once
        "]],
    );
}

#[test]
fn a_cap_holds_over_all_domains_and_whoever_may_go_takes_from_it() {
    let mut active = Active { count: BTreeMap::new(), per_project_max: Some(3) };
    let runs = runs(&[(1, 1), (1, 1)]);
    for (granted, total) in [(2, 2), (1, 3), (0, 3)] {
        let plan = plan(&mut Line::new(600, SEC), &runs, &mut active, SEC);
        assert_eq!(plan.iter().filter(|it| it.1.granted.is_some()).count(), granted);
        assert_eq!(active.count[&1], total);
    }
}

#[test]
fn a_refusal_takes_back_what_was_granted_beside_it() {
    let mut line = Line::new(600, SEC);
    assert!(line.holds(&need(1), SEC, SEC * 2));
    line.refused(&need(8), vec!["x/t4".to_owned()], (SEC * 2, None));
    assert!(line.holds(&need(1), SEC, SEC * 2) && !line.holds(&need(8), SEC, SEC * 2));
    line.refused(&need(1), vec![], (SEC * 2, Some(SEC)));
    assert!(!line.holds(&need(1), SEC, SEC * 2) && line.holds(&need(1), SEC * 3, SEC * 3));
}

/// A project with a thousand runs in line, and one that comes with three.
#[test]
fn a_crowd_does_not_starve_another_project() {
    let mut crowd: Vec<(u64, u32)> = vec![(1, 1); 1_000];
    crowd.extend([(2, 1); 3]);
    let (mut line, mut waiting) = (line(), runs(&crowd));
    let mut went = Vec::new();
    for round in 1..=6 {
        let at = SEC * 10 * round;
        let plan = plan(&mut line, &waiting, &mut Active::default(), at);
        let first = plan.iter().find(|it| it.1.place == 1 && it.1.granted.is_some());
        let granted = first.expect("one goes").0;
        let run = waiting.remove(granted);
        line.accepted(run.project, &run.need, at);
        went.push(run.project);
    }
    assert_eq!(went, [1, 2, 1, 2, 1, 2], "three of its own, and one of the crowd before each");
}
