//! Rules: how they are read, and whom they hit.

use serde_json::json;

use super::*;

fn rule(path: &str, fault: Fault) -> Rule {
    Rule {
        service: Service::Vertex,
        method: None,
        path: path.to_owned(),
        body: String::new(),
        fault,
        skip: 0,
        times: None,
        probability: 1.0,
    }
}

fn rolls(rules: Vec<Rule>, seed: u64, count: usize) -> Vec<Option<Fault>> {
    let dice = Dice::new(Faults { seed, rules });
    (0..count)
        .map(|_| dice.request(Service::Vertex, "POST", "/v1/customJobs", r#"{"a":1}"#))
        .collect()
}

#[test]
fn a_rule_spares_hits_and_ends() {
    let drop = || Some(Fault::DropRequest);
    let (none, some) = (
        || None,
        |skip, times| Rule { skip, times: Some(times), ..rule("customJobs", Fault::DropRequest) },
    );
    assert_eq!(rolls(vec![some(1, 2)], 0, 5), [none(), drop(), drop(), none(), none()]);
    let other = Rule { service: Service::Gitlab, ..rule("", Fault::DropRequest) };
    let get = Rule { method: Some("GET".to_owned()), ..rule("", Fault::DropRequest) };
    let elsewhere = rule("pipelineJobs", Fault::DropRequest);
    let body = |it: &str| Rule { body: it.to_owned(), ..rule("", Fault::DropRequest) };
    assert_eq!(rolls(vec![body(r#""a":1"#)], 0, 1), [drop()]);
    assert_eq!(rolls(vec![other, get, elsewhere, body("b")], 0, 1), [none()]);
    let first = some(0, 1);
    let second = rule("", Fault::DelayMs(5));
    assert_eq!(rolls(vec![first, second], 0, 2), [drop(), Some(Fault::DelayMs(5))]);
}

#[test]
fn a_quota_lets_so_many_through_in_a_minute() {
    let begin = Instant::now();
    let mut counts = Counts::default();
    // Ten calls a second for five minutes, against 60 in any minute.
    let let_through: Vec<u64> = (0..3_000)
        .map(|it| it * 100)
        .filter(|it| counts.fits(60, begin + Duration::from_millis(*it)))
        .collect();
    assert_eq!(let_through.len(), 300);
    for time in &let_through {
        let lately = let_through.iter().filter(|it| **it <= *time && **it + 60_000 > *time);
        assert!(lately.count() <= 60, "{time}");
    }
}

#[test]
fn a_rule_is_read_strictly() {
    let read = |rule: serde_json::Value| {
        let read = serde_json::from_value::<Faults>(json!({"rules": [rule]}));
        let rule = |it: Faults| (it.rules[0].fault.clone(), it.rules[0].probability);
        read.map(rule).map_err(|error| error.to_string())
    };
    let answer = json!({"answer": {"status": 429, "retry_after": 3}});
    let expected = Fault::Answer { status: 429, retry_after: Some(3), code: None, message: None };
    assert_eq!(read(json!({"service": "vertex", "fault": answer})), Ok((expected, 1.0)));
    let cases = [
        (json!({"fault": "drop_request"}), "missing field `service`"),
        (json!({"service": "vertex", "fault": "drop"}), "unknown variant `drop`"),
        (json!({"service": "vertex", "fault": "drop_request", "tims": 1}), "unknown field `tims`"),
        (
            json!({"service": "vertex", "fault": "drop_request", "probability": 3}),
            "expected a number from 0 to 1",
        ),
        (
            json!({"service": "vertex", "fault": {"delay_ms": 3_600_001}}),
            "expected milliseconds up to an hour",
        ),
        (
            json!({"service": "vertex", "fault": {"answer": {"status": 42}}}),
            "expected a status from 400 to 599",
        ),
        (
            json!({"service": "gitlab", "body": "a", "fault": "reset"}),
            "only bodies of the service \"vertex\"",
        ),
        (
            json!({"service": "vertex", "fault": "duplicate"}),
            r#""duplicate" is no fault of the service "vertex""#,
        ),
        (
            json!({"service": "vertex", "method": "GET", "fault": {"end_as": {"state": "expired"}}}),
            "is no fault of a request",
        ),
    ];
    for (rule, expected) in cases {
        let refused = read(rule).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn a_seed_decides_who_is_hit() {
    let some = || vec![Rule { probability: 0.3, ..rule("", Fault::DropResponse) }];
    let hits = rolls(some(), 7, 10_000);
    assert_eq!(rolls(some(), 7, 10_000), hits);
    assert_ne!(rolls(some(), 8, 10_000), hits);
    let count = hits.iter().flatten().count();
    assert!((2_800..3_200).contains(&count), "{count}");
}
