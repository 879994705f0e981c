//! Random and pathological expressions and facts: an answer or a refusal, in time, and no panic.

use std::time::{Duration, Instant};

use branchline_policy::{Facts, Policy, Verdict};
use fastrand::Rng;
use serde_json::{Map, Value, json};

use crate::requests::{claims, facts, request, rule};

/// What expressions are thrown together from.
const PARTS: [&str; 44] = [
    "origin",
    "claims",
    "artifacts",
    "vertex",
    "job",
    "origin.ref",
    "claims.a",
    "claims.b.a",
    "job.images",
    "job.labels",
    "it",
    "1",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "0",
    "0.0",
    "1e308",
    "1u",
    "'text'",
    "b'\\xff'",
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "[1, 'a']",
    "{'a': 1}",
    "{1: claims}",
    "(",
    ")",
    "[",
    "]",
    ".",
    ",",
    "+",
    "-",
    "==",
    "<",
    "&&",
    "?",
    ":",
    "in",
    "!",
];

/// A text that often is an expression.
fn expression(rng: &mut Rng, levels: usize) -> String {
    let part = |rng: &mut Rng| PARTS[rng.usize(..29)].to_owned();
    if levels == 0 {
        return part(rng);
    }
    let (a, b) = (expression(rng, levels - 1), expression(rng, rng.clone().usize(..levels)));
    match rng.u8(..24) {
        0 => format!("{a}.all(it, {b})"),
        1 => format!("{a}.exists(it, {b})"),
        2 => format!("{a}.exists_one(it, {b})"),
        3 => format!("{a}.map(it, {b})"),
        4 => format!("{a}.filter(it, {b})"),
        5 => format!("has({a}.a)"),
        6 => format!("{a}[{b}]"),
        7 => format!("({a}) + ({b})"),
        8 => format!("({a}) - ({b})"),
        9 => format!("({a}) * ({b})"),
        10 => format!("({a}) / ({b})"),
        11 => format!("({a}) % ({b})"),
        12 => format!("({a}) == ({b})"),
        13 => format!("({a}) < ({b})"),
        14 => format!("({a}) in ({b})"),
        15 => format!("!({a})"),
        16 => format!("-({a})"),
        17 => format!("({a}) ? ({b}) : ({a})"),
        18 => format!("size({a}) == 1 && ({b})"),
        19 => format!("string({a}) == '' || ({b})"),
        20 => format!("int({a}) > 0 || ({b})"),
        21 => format!("double({a}) > 0.0 || bool({b})"),
        22 => format!("({a}).matches('^a?$') || ({b}).startsWith('a')"),
        _ => part(rng),
    }
}

fn value(rng: &mut Rng, levels: usize) -> Value {
    match rng.u8(..if levels == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => json!(rng.bool()),
        2 => json!([i64::MIN, -1, 0, 1, i64::MAX][rng.usize(..5)]),
        3 => json!(u64::MAX),
        4 => json!(rng.f64() * 1e300),
        5 => json!(["", "a", "9", "true", "ü", "\u{0}", "-9223372036854775808"][rng.usize(..7)]),
        6 => (0..rng.usize(..4)).map(|_| value(rng, levels - 1)).collect(),
        _ => ["a", "b", "c"]
            .map(|key| (key.to_owned(), value(rng, levels - 1)))
            .into_iter()
            .collect(),
    }
}

fn random_facts(rng: &mut Rng) -> Facts {
    let claims = ["a", "b", "ref_protected", "user_login"]
        .map(|key| (key.to_owned(), value(rng, 3)))
        .into_iter()
        .collect::<Map<_, _>>();
    let mut request = request();
    request["training"]["custom_job"]["labels"] = json!({"a": "b"});
    facts(&request, &Value::Object(claims))
}

#[test]
fn random_expressions_over_random_facts_are_decided_or_refused() {
    let mut compiled = 0;
    for seed in 0..3_000 {
        let mut rng = Rng::with_seed(seed);
        let levels = rng.usize(1..5);
        let mut text = expression(&mut rng, levels);
        if rng.u8(..4) == 0 {
            // Not an expression any more, or another one.
            let at = rng.usize(..=text.len());
            if text.is_char_boundary(at) {
                text.insert_str(at, PARTS[rng.usize(..PARTS.len())]);
            }
        }
        let Ok(policy) = Policy::parse(&rule(&text, &[&text])) else { continue };
        compiled += 1;
        for _ in 0..3 {
            let facts = random_facts(&mut rng);
            let [first, second] = [policy.decide(&facts), policy.decide(&facts)];
            assert_eq!(first.verdict, second.verdict, "seed {seed}: {text}");
            let denied = first.verdict == Verdict::Denied;
            assert_eq!(denied, !first.violations.is_empty(), "seed {seed}: {text}");
        }
    }
    assert!(compiled > 500, "only {compiled} were expressions");
}

#[test]
fn random_bytes_are_no_policy_and_no_panic() {
    for seed in 0..2_000 {
        let mut rng = Rng::with_seed(seed);
        let text: String = (0..rng.usize(..60)).map(|_| rng.char('\u{0}'..'\u{ff}')).collect();
        drop(Policy::parse(&text));
        drop(Policy::parse(&rule(&text, &[])));
    }
}

#[test]
fn pathological_texts_are_read_in_time() {
    let repeated = [
        "!",
        "-",
        "(",
        "[",
        "{",
        "a.",
        "1+",
        "1-",
        "1?",
        "true?true:",
        "[1,",
        "{1:",
        "a(",
        "a[",
        "'",
        "has(",
        "x.all(x,",
        "1==",
        "1&&",
        "1||",
        "1 in ",
        "1<",
        "\\",
        "`",
        "r'",
        "b\"",
        "0x",
        "1e",
        ".",
        "?.",
        "//",
        "@",
        "\u{0}",
        "1u",
        "9",
        "in",
        "null ",
        "1,",
        "]",
        ")",
        "}",
        "1:",
    ];
    for part in repeated {
        for end in ["", "1", "true", "x"] {
            let text = part.repeat(2_040 / part.len()) + end;
            let started = Instant::now();
            drop(Policy::parse(&rule(&text, &[])));
            assert!(
                started.elapsed() < Duration::from_secs(5),
                "{part}…{end}: {:?}",
                started.elapsed()
            );
        }
    }
}

#[test]
fn a_costly_expression_over_long_lists_ends() {
    let mut request = request();
    let artifact = request["artifacts"][0].clone();
    request["artifacts"] = Value::Array(vec![artifact; 400]);
    let facts = facts(&request, &claims());
    let nested = "artifacts.all(a, artifacts.all(b, a.uri == b.uri))";
    let policy = Policy::parse(&rule("true", &[nested])).unwrap();
    let started = Instant::now();
    assert_eq!(policy.decide(&facts).verdict, Verdict::Allowed);
    println!("160,000 turns took {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
}

#[test]
fn a_policy_is_shared_between_threads() {
    const fn shared<T: Send + Sync>() {}
    shared::<Policy>();
    shared::<Facts>();
}
