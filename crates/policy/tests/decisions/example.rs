//! The example that people start from.

use branchline_policy::Policy;
use serde_json::{Value, json};

use crate::requests::{claims, facts, request, shown, unverified};

const EXAMPLE: &str = include_str!("../../../../examples/policy.yaml");

/// A request as `examples/iris` makes it.
fn iris() -> Value {
    let mut request = request();
    request["vertex"]["project"] = json!("demo-project");
    request["training"] = json!({"custom_job": {"jobSpec": {
        "serviceAccount": "trainer@demo-project.iam.gserviceaccount.com",
        "workerPoolSpecs": [{
            "machineSpec": {"machineType": "n1-standard-4"},
            "replicaCount": 1,
            "containerSpec": {"imageUri": "docker.io/library/debian:12-slim"},
        }],
    }}});
    for artifact in request["artifacts"].as_array_mut().unwrap() {
        artifact["uri"] = json!("gs://demo-artifacts/a");
    }
    request
}

#[test]
fn the_example_allows_what_is_small_asks_about_what_is_large_and_denies_the_rest() {
    let policy = Policy::parse(EXAMPLE).unwrap();
    let spec = "/training/custom_job/jobSpec/workerPoolSpecs/0";
    let change = |path: &str, to: Value| {
        let mut request = iris();
        *request.pointer_mut(&format!("{spec}{path}")).unwrap() = to;
        request
    };
    let cases = [
        (iris(), unverified(), "allowed"),
        (iris(), claims(), "allowed"),
        (change("/replicaCount", json!(8)), claims(), "needs approval: 1 and operator true"),
        (
            change("/machineSpec/machineType", json!("n1-standard-96")),
            unverified(),
            "denied; branches: a branch trains on a machine of at most 8 cores",
        ),
        (
            change("/containerSpec/imageUri", json!("ghcr.io/who/knows")),
            claims(),
            "denied; everyone: images come from docker.io or europe-west4-docker.pkg.dev",
        ),
        (
            request(),
            claims(),
            "denied; everyone: jobs run in demo-project, in europe-west4 or us-central1; \
             everyone: artifacts lie in demo-artifacts; \
             everyone: jobs name trainer@demo-project.iam.gserviceaccount.com as serviceAccount",
        ),
    ];
    for (request, claims, expected) in cases {
        assert_eq!(shown(&policy.decide(&facts(&request, &claims))), expected);
    }
}
