//! Texts that are no policy.

use branchline_policy::{Policy, RULES_MAX, TEXT_MAX};
use serde_json::{Value, json};

use crate::requests::{rule, rules};

fn error(text: &str) -> String {
    Policy::parse(text).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_text_that_is_no_policy_is_refused_with_the_reason() {
    let long = "x".repeat(TEXT_MAX + 1);
    let many: Vec<Value> = (0..=RULES_MAX).map(|i| json!({"name": i.to_string()})).collect();
    let cases = [
        ("", "unexpected end"),
        ("rules: [", "cannot be read"),
        ("rule: []", "unknown field `rule`"),
        ("rules: []\nrules: []", "duplicate"),
        ("rules: [{name: a, validation: []}]", "unknown field `validation`"),
        ("rules: [{name: a, match: }]", "null into string"),
        ("rules: [{name: a, match: ~}]", "null into string"),
        ("rules: [{name: a, approval: }]", ""),
        ("rules: [{name: a, approval: {}}]", "rule a, approval"),
        ("rules: [{name: a, approval: {merge_request: 0}}]", "rule a, approval"),
        ("rules: [{name: a, approval: {merge_request: -1}}]", "cannot be read"),
        ("rules: [{name: a, approval: {operators: yes}}]", "cannot be read"),
        ("rules: [{name: a, validations: [{expression: 'true'}]}]", "missing field `message`"),
        ("rules: [{name: a}, {name: a}]", "rule a, name: another rule has it"),
        ("rules: [{name: ''}]", "name: expected one line"),
        ("rules: [{name: \"a\\nb\"}]", "name: expected one line"),
        (&long, "at most 1048576 bytes"),
        (&rules(&many), "more than 2000"),
    ];
    for (text, expected) in cases {
        let error = error(text);
        assert!(error.contains(expected), "{}: {error}", &text[..text.len().min(80)]);
    }
}

#[test]
fn an_expression_that_means_nothing_is_refused_when_the_policy_is_read() {
    let nested = format!("{}1{} == 1", "(".repeat(30), ")".repeat(30));
    let long = format!("{} == 1", vec!["1"; 1_100].join("+"));
    let deep = format!("{} == 1", vec!["1"; 200].join("+"));
    let cases = [
        ("origin.reff == 'main'", "there is no field reff there; there are host"),
        // A message names any merge request; `merge_requests` are those that GitLab knows.
        ("origin.merge_request.iid == 1", "there is no field merge_request there"),
        ("orign.ref == 'main'", "there is no variable orign; there are origin, claims"),
        ("artifacts.all(it, it.sise < 1)", "there is no field sise"),
        ("artifacts.all(it, other.size < 1)", "there is no variable other"),
        ("artifacts.all(it, true) && it == 1", "there is no variable it"),
        ("artifacts.name == 'x'", "there is no field name"),
        ("origin.ref.name == 'x'", "there is no field name"),
        ("has(origin.reff)", "there is no field reff"),
        ("origin.ref.lower() == 'x'", "there is no function lower"),
        ("timestamp('2026-01-31T12:00:00Z') < now()", "there is no function timestamp"),
        ("origin.ref.matches(claims.pattern)", "has to stand there as a text"),
        ("origin.ref.matches('(')", "the pattern \"(\" is wrong"),
        ("origin.ref.matches('((a{1000}){1000}){1000}')", "is wrong"),
        ("origin.ref ==", "line 1, column"),
        ("", "in ``"),
        ("true true", "line 1, column"),
        ("Job{kind: 'x'} == job", "there is no type Job"),
        ("artifacts.?name", "line 1"),
        (&nested, "brackets within brackets"),
        (&long, "more than 2048 bytes"),
        (&deep, "nested deeper"),
    ];
    for (expression, expected) in cases {
        for policy in [rule(expression, &[]), rule("true", &["true", expression])] {
            let error = error(&policy);
            assert!(error.contains(expected), "{expression}: {error}");
            let places = ["rule r, match: ", "rule r, validations[1]: "];
            assert!(places.iter().any(|it| error.contains(it)), "{error}");
        }
    }
}

#[test]
fn everything_wrong_with_a_policy_is_told_at_once() {
    let policy = rules(&[
        json!({"name": "a", "match": "nobody"}),
        json!({"name": "b", "validations": [{"expression": "nothing", "message": "\n"}]}),
    ]);
    expect_test::expect![[r"
        the policy is wrong:
          rule a, match: there is no variable nobody; there are origin, claims, merge_requests, artifacts, vertex, job, in `nobody`
          rule b, validations[0]: expected a message of one line, 1 to 500 bytes
          rule b, validations[0]: there is no variable nothing; there are origin, claims, merge_requests, artifacts, vertex, job, in `nothing`"]].assert_eq(&error(&policy));
}

#[test]
fn an_expression_that_could_take_too_long_is_refused() {
    let costly = [
        // Lists within lists within lists.
        "artifacts.all(a, artifacts.all(b, artifacts.all(c, a != b && b != c)))".to_owned(),
        // Texts and lists that double.
        format!("[origin.ref]{}.size() > 0", ".map(x, x + x)".repeat(60)),
        format!("[origin.ref]{}.size() > 0", ".map(x, [x, x])".repeat(60)),
        format!("[claims]{}.size() > 0", ".map(x, {'a': x, 'b': x})".repeat(60)),
        format!("({}).all(a, artifacts.all(b, a == b))", vec!["artifacts"; 40].join("+")),
        format!("[[{}]].all(a, a.all(b, a.all(c, b == c)))", vec!["artifacts"; 40].join("+")),
        "artifacts.map(a, artifacts).map(b, b.map(c, claims)).size() > 0".to_owned(),
    ];
    for expression in costly {
        let error = error(&rule("true", &[&expression]));
        let told = ["steps at worst", "too large a value", "nested deeper"];
        let told = told.iter().any(|it| error.contains(it));
        assert!(told, "{expression}: {error}");
    }
    let large = [
        format!("[origin.ref]{}.size() > 0", ".map(x, x + x)".repeat(16)),
        "[artifacts].map(x, x + x).size() > 0".to_owned(),
    ];
    for expression in large {
        let error = error(&rule("true", &[&expression]));
        assert!(error.contains("too large a value"), "{expression}: {error}");
    }
    let cheap = [
        "artifacts.all(a, job.images.exists(i, i.uri == a.uri))",
        "artifacts.map(a, a).map(a, a).all(a, a.size > 1) && origin['ref'] == 'main'",
        "claims.groups_direct.filter(g, g.startsWith('ml/')).size() > 0",
        "claims.user_identities.exists(i, i.provider == 'x' && i['extern_uid'] == 'y')",
        "artifacts.filter(a, a.size > 1).map(a, a.bucket).all(it, it in ['a', 'b'])",
        "job.images.all(i, i.registry in [vertex.region + '-docker.pkg.dev', 'gcr.io'])",
    ];
    for expression in cheap {
        Policy::parse(&rule("true", &[expression])).unwrap();
    }
}
