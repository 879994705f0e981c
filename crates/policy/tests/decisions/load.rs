//! How long a decision by 500 rules takes.

use std::time::Duration;

use branchline_policy::Policy;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::requests::{claims, facts, request, rules, shown};

/// A rule for each of 500 teams; the request is of team 0.
fn policy(condition: impl Fn(usize) -> String) -> Policy {
    let many: Vec<Value> = (0..500)
        .map(|i| {
            let on_branch = format!("origin.ref.matches('^(main|team-{i})$')");
            json!({"name": format!("team-{i}"), "match": condition(i), "validations": [
                {"expression": "job.accelerators.all(it, it.count <= 8)", "message": "a"},
                {"expression": on_branch, "message": "b"},
            ]})
        })
        .collect();
    Policy::parse(&rules(&many)).unwrap()
}

/// What this thread has had of a processor: the machine is shared with other tests.
fn worked() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// How long the 50th and the 99th of 100 decisions take.
fn measure(policy: &Policy, matching: usize) -> [Duration; 2] {
    let facts = facts(&request(), &claims());
    let mut times: Vec<_> = (0..1_000)
        .map(|_| {
            let started = worked();
            let decision = policy.decide(&facts);
            let taken = worked().checked_sub(started).unwrap();
            assert_eq!((shown(&decision).as_str(), decision.rules.len()), ("allowed", matching));
            taken
        })
        .collect();
    times.sort();
    [times[500], times[990]]
}

/// What is promised holds for a release (`make bench`).
const MOST: Duration = Duration::from_millis(if cfg!(debug_assertions) { 10 } else { 1 });

#[test]
fn a_decision_by_500_rules_takes_no_time_to_speak_of() {
    let one = policy(|i| format!("origin.project_id == {} || origin.ref == 'team'", 574 + i));
    let every = policy(|i| format!("origin.project_path.startsWith('ml/') && {i} >= 0"));
    let [half, most] = measure(&one, 1);
    println!("one rule matches: p50 {half:?}, p99 {most:?}");
    let [all_half, all_most] = measure(&every, 500);
    println!("every rule matches: p50 {all_half:?}, p99 {all_most:?}");
    assert!(most < MOST, "p99 {most:?}");
}
