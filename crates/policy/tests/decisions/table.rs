//! One rule, one request, one verdict; then what several rules say together.

use serde_json::json;

use crate::requests::{claims, decide, facts, request, rule, rules, shown, unverified};
use branchline_policy::Policy;

const MISSING: &str = "denied; r: no (cannot be evaluated: no such key: environment)";
const FALSE: &str = "denied; r: no";
const NO_RULE: &str = "denied; -: no rule of the policy matches this request";

/// Validations of a rule that matches, and what is decided.
const VALIDATIONS: [(&str, &str); 47] = [
    ("true", "allowed"),
    ("false", FALSE),
    // Every variable is what the request says.
    ("origin.host == 'gitlab.example.com' && origin.project_id == 574", "allowed"),
    ("origin.project_path == 'ml/vision/flowers' && origin.namespace == 'ml/vision'", "allowed"),
    ("origin.sha.startsWith('9f2c') && origin.ref == 'main'", "allowed"),
    ("origin.ref_protected && origin.user_login == 'ada'", "allowed"),
    ("origin.pipeline_id == 90210 && origin.job_id == 471100", "allowed"),
    ("merge_requests == null", "allowed"),
    ("vertex.project == 'acme' && vertex.region == 'europe-west4'", "allowed"),
    ("artifacts.size() == 2 && artifacts[0].name == 'data' && artifacts[1].size == 20", "allowed"),
    ("artifacts.all(it, it.bucket.startsWith('acme-'))", "allowed"),
    ("artifacts.exists_one(it, it.uri.endsWith('.csv'))", "allowed"),
    ("artifacts.map(it, it.name) == ['data', 'code']", "allowed"),
    ("artifacts.filter(it, it.size > 10).size() == 1", "allowed"),
    ("artifacts.all(it, it.size < 20)", FALSE),
    ("job.kind == 'custom_job' && job.machine_types == ['n1-standard-8']", "allowed"),
    ("job.accelerators == [{'type': 'NVIDIA_TESLA_T4', 'count': 2}]", "allowed"),
    ("job.accelerators.all(it, it.count <= 8)", "allowed"),
    ("job.accelerators.all(it, it.count <= 1)", FALSE),
    ("job.replicas == 2 && job.timeout_seconds <= 7200 && !job.spot", "allowed"),
    ("job.service_account.endsWith('@acme.iam.gserviceaccount.com')", "allowed"),
    ("job.network == null && job.labels.team == 'vision'", "allowed"),
    ("job.network_attachment == null && job.persistent_resource == null", "allowed"),
    ("job.reserved_ip_ranges == [] && job.packages == []", "allowed"),
    ("job.web_access", FALSE),
    ("job.web_access == false", "allowed"),
    ("job.labels.all(key, key in ['team'])", "allowed"),
    ("job.images.all(it, it.registry == vertex.region + '-docker.pkg.dev')", "allowed"),
    ("job.images[0].uri.endsWith(':' + origin.sha)", "allowed"),
    ("job.images.all(it, it.digest != null)", FALSE),
    ("claims.ref_type == 'branch' && 'ml' in claims.groups_direct", "allowed"),
    ("int(claims.project_id) == origin.project_id", "allowed"),
    ("origin.ref.matches('^(main|release-[0-9]+)$')", "allowed"),
    ("matches(origin.ref, 'release')", FALSE),
    // What cannot be evaluated does not hold.
    ("claims.environment == 'production'", MISSING),
    ("!(claims.environment == 'production')", MISSING),
    ("has(claims.environment)", FALSE),
    ("!has(claims.environment) || claims.environment == 'production'", "allowed"),
    ("origin.ref", "denied; r: no (cannot be evaluated: it is neither true nor false)"),
    (
        "artifacts[7].size == 1",
        "denied; r: no (cannot be evaluated: there is no entry at that place)",
    ),
    ("1 / (origin.job_id - 471100) == 1", "denied; r: no (cannot be evaluated: division by zero)"),
    (
        "9223372036854775807 + origin.job_id > 0",
        "denied; r: no (cannot be evaluated: a number is too large)",
    ),
    (
        "[merge_requests][0].iid == 1",
        "denied; r: no (cannot be evaluated: found no matching overload for '_._' applied to \
         '(null_type, string)')",
    ),
    (
        "origin.ref > 1",
        "denied; r: no (cannot be evaluated: found no matching overload for '_>_' applied to \
         '(string, int)')",
    ),
    (
        "job.kind.all(it, true)",
        "denied; r: no (cannot be evaluated: unexpected type: got 'string', want 'iterable')",
    ),
    // As CEL says: what decides alone does, whatever the other side is.
    ("true || claims.environment == 'production'", "allowed"),
    ("claims.environment == 'production' || origin.ref == 'main'", "allowed"),
];

/// The same for `match`, of a rule that asks for nothing.
const MATCHES: [(&str, &str); 6] = [
    ("origin.project_path.startsWith('ml/')", "allowed"),
    ("origin.project_path.startsWith('web/')", NO_RULE),
    ("origin.project_path.startsWith('web/') && claims.environment == 'x'", NO_RULE),
    ("claims.environment == 'x'", "denied; r: match cannot be evaluated: no such key: environment"),
    ("origin.ref", "denied; r: match cannot be evaluated: it is neither true nor false"),
    ("origin.user_login == 'eve'", NO_RULE),
];

#[test]
fn a_rule_that_matches_allows_what_all_its_validations_allow() {
    for (expression, expected) in VALIDATIONS {
        assert_eq!(shown(&decide(&rule("true", &[expression]))), expected, "{expression}");
    }
}

#[test]
fn a_match_that_is_false_is_no_rule_and_one_that_fails_denies() {
    for (expression, expected) in MATCHES {
        assert_eq!(shown(&decide(&rule(expression, &[]))), expected, "{expression}");
    }
}

#[test]
fn a_policy_without_rules_denies() {
    assert_eq!(shown(&decide("rules: []")), NO_RULE);
}

#[test]
fn every_rule_that_matches_counts_and_all_violations_are_told() {
    let policy = rules(&[
        json!({"name": "open"}),
        json!({"name": "skipped", "match": "false", "validations": [
            {"expression": "false", "message": "never told"}
        ]}),
        json!({"name": "broken", "match": "claims.nothing"}),
        json!({"name": "strict", "validations": [
            {"expression": "job.spot", "message": "use spot"},
            {"expression": "true", "message": "never told"},
            {"expression": "claims.nothing == 1", "message": "one thing"},
        ]}),
    ]);
    let decision = decide(&policy);
    assert_eq!(decision.rules, ["open", "strict"]);
    let expected = "denied; broken: match cannot be evaluated: no such key: nothing; \
                    strict: use spot; strict: one thing (cannot be evaluated: no such key: nothing)";
    assert_eq!(shown(&decision), expected);
}

#[test]
fn one_rule_that_cannot_be_matched_denies_what_others_allow() {
    let policy = rules(&[json!({"name": "open"}), json!({"name": "b", "match": "claims.x == 1"})]);
    assert!(shown(&decide(&policy)).starts_with("denied; b: match"));
}

#[test]
fn approvals_add_up_and_count_only_where_nothing_is_violated() {
    let approve = |name: &str, condition: &str, approval| json!({"name": name, "match": condition, "approval": approval});
    let one = approve("one", "true", json!({"merge_request": 1}));
    let two = approve("two", "true", json!({"merge_request": 2}));
    let operator = approve("operator", "true", json!({"operators": true}));
    let other = approve("other", "false", json!({"merge_request": 9}));
    let strict =
        json!({"name": "strict", "validations": [{"expression": "false", "message": "no"}]});
    let cases = [
        (vec![&one], "needs approval: 1 and operator false"),
        (vec![&two, &one], "needs approval: 2 and operator false"),
        (vec![&operator, &one], "needs approval: 1 and operator true"),
        (vec![&operator, &other], "needs approval: 0 and operator true"),
        (vec![&one, &strict], "denied; strict: no"),
    ];
    for (of, expected) in cases {
        let of: Vec<_> = of.into_iter().cloned().collect();
        assert_eq!(shown(&decide(&rules(&of))), expected);
    }
}

#[test]
fn without_verified_claims_a_ref_is_not_protected_and_nobody_asks() {
    let policy = rule("true", &["origin.ref_protected == null && origin.user_login == null"]);
    let policy = Policy::parse(&policy).unwrap();
    assert_eq!(shown(&policy.decide(&facts(&request(), &unverified()))), "allowed");
    let protected = Policy::parse(&rule("origin.ref_protected", &[])).unwrap();
    assert!(shown(&protected.decide(&facts(&request(), &unverified()))).starts_with("denied"));
}

#[test]
fn a_ref_is_protected_only_if_gitlab_says_so() {
    let policy = Policy::parse(&rule("origin.ref_protected == true", &[])).unwrap();
    let cases = [(json!("true"), true), (json!(true), true), (json!("false"), false)];
    let odd = [(json!("yes"), false), (json!(1), false), (json!(null), false)];
    for (claim, expected) in cases.into_iter().chain(odd) {
        let mut claims = claims();
        claims["ref_protected"] = claim.clone();
        let decision = policy.decide(&facts(&request(), &claims));
        assert_eq!(shown(&decision) == "allowed", expected, "{claim}");
    }
}

#[test]
fn a_decision_names_the_policy_by_the_digest_of_its_text() {
    let decision = decide("rules: []");
    let digest = "00eb8a0ecfecb77c25d7e28890b0a2d479966fd1b88274af09fd5c70b7fc0f71";
    assert_eq!(decision.policy_digest, digest);
    assert_eq!(decision.policy_digest, Policy::parse("rules: []").unwrap().digest());
    assert_ne!(decision.policy_digest, Policy::parse("rules: [ ]").unwrap().digest());
}

#[test]
fn values_are_in_no_reason() {
    let reasons =
        ["claims.secret + 1 == 1", "claims.secret > 1", "[1][claims.secret]", "claims.a.b"];
    let mut claims = claims();
    claims["secret"] = json!("canary");
    claims["a"] = json!("canary");
    for expression in reasons {
        let policy = Policy::parse(&rule("true", &[expression])).unwrap();
        let shown = shown(&policy.decide(&facts(&request(), &claims)));
        assert!(shown.starts_with("denied") && !shown.contains("canary"), "{shown}");
    }
}
