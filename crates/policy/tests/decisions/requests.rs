//! Requests and facts to decide about.

use branchline_contract::ArtifactReady;
use branchline_policy::{Decision, Facts, Policy, Verdict};
use serde_json::{Map, Value, json};

/// A request with nothing special about it.
pub(crate) fn request() -> Value {
    json!({
        "run": "train",
        "artifacts": [
            {"name": "data", "uri": "gs://acme-data/d.csv", "generation": 1, "size": 10, "crc32c": "AAAAAA=="},
            {"name": "code", "uri": "gs://acme-code/t.sh", "generation": 1, "size": 20, "crc32c": "AAAAAA=="},
        ],
        "training": {"custom_job": {
            "labels": {"team": "vision"},
            "jobSpec": {
                "workerPoolSpecs": [pool()],
                "scheduling": {"timeout": "7200s"},
                "serviceAccount": "train@acme.iam.gserviceaccount.com",
            }
        }},
        "vertex": {"project": "acme", "region": "europe-west4"},
        "gitlab": {
            "host": "gitlab.example.com", "project_id": 574, "project_path": "ml/vision/flowers",
            "sha": "9f2c1e0d8b7a65544332211000ffeeddccbbaa99", "ref": "main",
            "pipeline_id": 90210, "job_id": 471_100,
        },
    })
}

/// Two machines with two accelerators each.
pub(crate) fn pool() -> Value {
    json!({
        "machineSpec": {
            "machineType": "n1-standard-8", "acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": 2
        },
        "replicaCount": "2",
        "containerSpec": {"imageUri": "europe-west4-docker.pkg.dev/acme/images/flowers:{{ commit.sha }}"},
    })
}

/// What GitLab says about its job.
pub(crate) fn claims() -> Value {
    json!({
        "ref_protected": "true", "user_login": "ada", "ref_type": "branch", "project_id": "574",
        "groups_direct": ["ml", "ops"],
    })
}

/// The facts of a request.
pub(crate) fn facts(request: &Value, claims: &Value) -> Facts {
    let ready: ArtifactReady = serde_json::from_value(request.clone()).unwrap();
    Facts::new(&ready, claims.as_object()).unwrap()
}

/// A policy of one rule.
pub(crate) fn rule(condition: &str, validations: &[&str]) -> String {
    let validations: Vec<Value> =
        validations.iter().map(|it| json!({"expression": it, "message": "no"})).collect();
    rules(&[json!({"name": "r", "match": condition, "validations": validations})])
}

/// JSON is YAML.
pub(crate) fn rules(rules: &[Value]) -> String {
    json!({"rules": rules}).to_string()
}

/// A decision about the usual request.
pub(crate) fn decide(policy: &str) -> Decision {
    Policy::parse(policy).unwrap().decide(&facts(&request(), &claims()))
}

/// A decision in one text: the verdict, then the violations.
pub(crate) fn shown(decision: &Decision) -> String {
    let verdict = match decision.verdict {
        Verdict::Allowed => "allowed".to_owned(),
        Verdict::Denied => "denied".to_owned(),
        Verdict::NeedsApproval(it) => {
            format!("needs approval: {} and operator {}", it.merge_request, it.operators)
        }
    };
    let violations = decision.violations.iter().map(|it| {
        let rule = it.rule.as_deref().unwrap_or("-");
        format!("; {rule}: {}", it.message)
    });
    verdict + &violations.collect::<String>()
}

/// No claims at all.
pub(crate) fn unverified() -> Value {
    Value::Object(Map::new())
}

#[test]
fn merge_requests_are_named_by_some_policies_and_hold_nothing_while_they_are_not_known() {
    let reviewed = rule("true", &["merge_requests.exists(it, it.approved_by.size() > 0)"]);
    let policy = Policy::parse(&reviewed).unwrap();
    assert!(policy.names_merge_requests());
    assert!(
        !Policy::parse(&rule("true", &["origin.fork == false"])).unwrap().names_merge_requests()
    );
    let decide = |merge_requests: Value| {
        let facts = facts(&request(), &claims()).with_merge_requests(merge_requests).unwrap();
        policy.decide(&facts).verdict
    };
    let cases = [
        (Value::Null, Verdict::Denied),
        (json!([]), Verdict::Denied),
        (json!([{"iid": 1}]), Verdict::Denied),
        (json!([{"iid": 1, "approved_by": []}]), Verdict::Denied),
        (
            json!([{"iid": 1, "approved_by": []}, {"iid": 2, "approved_by": ["ada"]}]),
            Verdict::Allowed,
        ),
    ];
    for (merge_requests, expected) in cases {
        assert_eq!(decide(merge_requests.clone()), expected, "{merge_requests}");
    }
    let many = json!(vec![json!({"iid": 1}); 5_000]);
    facts(&request(), &claims()).with_merge_requests(many).unwrap_err();
}

#[test]
fn what_an_operator_edited_is_let_in_by_a_rule_that_says_so_and_no_other() {
    let edited = json!({"operator": "ada@example.com"});
    let by_path = "{name: path, match: 'origin.ref_protected != true'}";
    let by_ada = "{name: ada, match: 'claims.operator == \"ada@example.com\"', edited: true}";
    let by_eve = "{name: eve, match: 'claims.operator == \"eve@example.com\"', edited: true}";
    let cases = [
        (vec![by_path], "denied; -: no rule that matches lets in what an operator edited"),
        (vec![by_path, by_eve], "denied; -: no rule that matches lets in what an operator edited"),
        (vec![by_ada], "allowed"),
        (vec![by_path, by_ada], "allowed"),
    ];
    for (rules, expected) in cases {
        let policy = Policy::parse(&format!("rules: [{}]", rules.join(", "))).unwrap();
        assert_eq!(shown(&policy.decide(&facts(&request(), &edited))), expected, "{rules:?}");
    }
}
