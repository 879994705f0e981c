//! What the variable `job` shows of the four kinds, and what it keeps quiet about.

use branchline_contract::ArtifactReady;
use branchline_policy::Facts;
use expect_test::{Expect, expect};
use serde_json::{Map, Value, json};

use crate::requests::{claims, facts, pool, request, unverified};

/// The facts of such a training, one line each.
fn check(training: &Value, expected: &Expect) {
    let mut request = request();
    request["training"] = training.clone();
    let facts = facts(&request, &claims());
    let job = facts.variables()["job"].as_object().unwrap();
    let lines: Vec<String> = job.iter().map(|(key, it)| format!("{key}: {it}\n")).collect();
    let mut lines = lines;
    lines.sort();
    expected.assert_eq(&lines.concat());
}

fn pipeline(executors: &Value) -> Value {
    json!({"pipeline_job": {
        "pipelineSpec": {"deploymentSpec": {"executors": executors}},
        "serviceAccount": "sa@acme",
        "pscInterfaceConfig": {"networkAttachment": "a"},
        "reservedIpRanges": ["range"],
    }})
}

#[test]
fn a_custom_job_shows_every_pool_that_is_used() {
    let mut second = pool();
    second["machineSpec"] = json!({"machineType": "a2-highgpu-1g"});
    second["replicaCount"] = json!(3);
    second["containerSpec"]["imageUri"] = json!("debian@sha256:ab");
    let packaged = json!({"pythonPackageSpec": {
        "executorImageUri": "debian", "packageUris": ["gs://a/b.tar.gz", "{{ output }}c.tar.gz"],
    }});
    let unused = json!({"replicaCount": 0, "machineSpec": {"machineType": "n1-standard-4"}});
    check(
        &json!({"custom_job": {"job_spec": {
            "worker_pool_specs": [pool(), second, {}, unused, packaged],
            "scheduling": {"timeout": "1.5s", "strategy": "SPOT"},
            "network": "projects/1/global/networks/n",
            "psc_interface_config": {"network_attachment": "projects/1/regions/r/networkAttachments/a"},
            "reserved_ip_ranges": ["range", "{{ output }}"],
            "persistent_resource_id": "large",
            "enable_web_access": true,
        }}}),
        &expect![[r#"
            accelerators: [{"type":"NVIDIA_TESLA_T4","count":2}]
            images: [{"uri":"europe-west4-docker.pkg.dev/acme/images/flowers:9f2c1e0d8b7a65544332211000ffeeddccbbaa99","registry":"europe-west4-docker.pkg.dev","digest":null},{"uri":"debian@sha256:ab","registry":"docker.io","digest":"sha256:ab"},{"uri":"debian","registry":"docker.io","digest":null}]
            kind: "custom_job"
            labels: {}
            machine_types: ["n1-standard-8","a2-highgpu-1g",null]
            network: "projects/1/global/networks/n"
            network_attachment: "projects/1/regions/r/networkAttachments/a"
            packages: ["gs://a/b.tar.gz",null]
            persistent_resource: "large"
            replicas: 6
            reserved_ip_ranges: ["range",null]
            service_account: null
            spot: true
            timeout_seconds: 2
            web_access: true
        "#]],
    );
}

#[test]
fn a_tuning_job_takes_its_machines_as_often_as_it_has_parallel_trials() {
    check(
        &json!({"hyperparameter_tuning_job": {
            "parallelTrialCount": 4,
            "trialJobSpec": {
                "workerPoolSpecs": [pool()],
                "pscInterfaceConfig": {"networkAttachment": "a"},
                "enableDashboardAccess": true,
            },
        }}),
        &expect![[r#"
            accelerators: [{"type":"NVIDIA_TESLA_T4","count":2}]
            images: [{"uri":"europe-west4-docker.pkg.dev/acme/images/flowers:9f2c1e0d8b7a65544332211000ffeeddccbbaa99","registry":"europe-west4-docker.pkg.dev","digest":null}]
            kind: "hyperparameter_tuning_job"
            labels: {}
            machine_types: ["n1-standard-8"]
            network: null
            network_attachment: "a"
            packages: []
            persistent_resource: null
            replicas: 8
            reserved_ip_ranges: []
            service_account: null
            spot: false
            timeout_seconds: null
            web_access: true
        "#]],
    );
}

#[test]
fn a_training_pipeline_shows_its_custom_task_and_the_image_that_serves() {
    check(
        &json!({"training_pipeline": {
            "trainingTaskDefinition": "gs://x/custom_task_1.0.0.yaml",
            "trainingTaskInputs": {
                "workerPoolSpecs": [pool()], "serviceAccount": "sa", "persistentResourceId": "large",
            },
            "modelToUpload": {"containerSpec": {"imageUri": "gcr.io/p/serve"}},
        }}),
        &expect![[r#"
            accelerators: [{"type":"NVIDIA_TESLA_T4","count":2}]
            images: [{"uri":"europe-west4-docker.pkg.dev/acme/images/flowers:9f2c1e0d8b7a65544332211000ffeeddccbbaa99","registry":"europe-west4-docker.pkg.dev","digest":null},{"uri":"gcr.io/p/serve","registry":"gcr.io","digest":null}]
            kind: "training_pipeline"
            labels: {}
            machine_types: ["n1-standard-8"]
            network: null
            network_attachment: null
            packages: []
            persistent_resource: "large"
            replicas: 2
            reserved_ip_ranges: []
            service_account: "sa"
            spot: false
            timeout_seconds: null
            web_access: false
        "#]],
    );
}

#[test]
fn what_automl_trains_on_is_not_told() {
    check(
        &json!({"training_pipeline": {
            "trainingTaskDefinition": "gs://x/automl_tabular_1.0.0.yaml",
            "trainingTaskInputs": {"workerPoolSpecs": [pool()]},
        }}),
        &expect![[r#"
            accelerators: null
            images: null
            kind: "training_pipeline"
            labels: {}
            machine_types: null
            network: null
            network_attachment: null
            packages: null
            persistent_resource: null
            replicas: null
            reserved_ip_ranges: null
            service_account: null
            spot: null
            timeout_seconds: null
            web_access: null
        "#]],
    );
}

#[test]
fn a_pipeline_shows_images_and_accelerators_of_its_steps() {
    check(
        &pipeline(&json!({
            "exec-load": {"importer": {}},
            "exec-a": {"container": {"image": "gcr.io/p/a:1", "resources": {
                "cpuLimit": 4, "accelerator": {"type": "NVIDIA_TESLA_T4", "count": "2"}
            }}},
            "exec-b": {"container": {"image": "localhost:5000/b", "resources": {
                "accelerator": {"resourceType": "{{$.inputs.parameters['t']}}", "resourceCount": "8"}
            }}},
            "exec-c": {"container": {"image": "{{$.inputs.parameters['image']}}"}},
        })),
        &expect![[r#"
            accelerators: [{"type":"NVIDIA_TESLA_T4","count":2},{"type":null,"count":8}]
            images: [{"uri":"gcr.io/p/a:1","registry":"gcr.io","digest":null},{"uri":"localhost:5000/b","registry":"localhost:5000","digest":null},null]
            kind: "pipeline_job"
            labels: {}
            machine_types: null
            network: null
            network_attachment: "a"
            packages: null
            persistent_resource: null
            replicas: null
            reserved_ip_ranges: ["range"]
            service_account: "sa@acme"
            spot: null
            timeout_seconds: null
            web_access: null
        "#]],
    );
}

#[test]
fn a_pipeline_that_does_not_show_all_its_steps_shows_none() {
    let container = json!({"container": {"image": "i"}});
    let both = json!({"deploymentSpec": {"executors": {}}, "deployment_spec": {"executors": {}}});
    let asks = json!({"type": "T", "resourceType": "A100", "count": "1"});
    let asks = json!({"container": {"image": "i", "resources": {"accelerator": asks}}});
    let hidden = [
        pipeline(&json!({"a": container, "b": {"customJob": {}}})),
        pipeline(&json!({"a": {"container": {"image": "i"}, "importer": {}}})),
        pipeline(&json!({"a": {"container": {}}})),
        pipeline(&json!({"a": asks})),
        pipeline(&json!([])),
        json!({"pipeline_job": {"pipelineSpec": {}}}),
        json!({"pipeline_job": {"pipelineSpec": both}}),
        json!({"pipeline_job": {}}),
        json!({"pipeline_job": {
            "templateUri": "https://r/t",
            "pipelineSpec": {"deploymentSpec": {"executors": {"a": container}}},
        }}),
    ];
    for training in hidden {
        let mut request = request();
        request["training"] = training.clone();
        let facts = facts(&request, &claims());
        let job = &facts.variables()["job"];
        assert!(job["images"].is_null() && job["accelerators"].is_null(), "{training}");
    }
    let written_by_python = json!({"pipeline_job": {"pipeline_spec": {"deployment_spec": {"executors": {"a": container}}}}});
    let mut request = request();
    request["training"] = written_by_python;
    assert_eq!(facts(&request, &claims()).variables()["job"]["images"][0]["uri"], "i");
}

#[test]
fn a_placeholder_is_filled_before_anything_is_decided() {
    let mut request = request();
    let spec = &mut request["training"]["custom_job"]["jobSpec"];
    spec["serviceAccount"] = json!("{{ commit.ref }}@acme");
    spec["network"] = json!("{{ output }}");
    spec["scheduling"]["strategy"] = json!("{{ commit.ref }}");
    request["gitlab"]["ref"] = json!("SPOT");
    let facts = facts(&request, &claims());
    let job = &facts.variables()["job"];
    assert_eq!(job["service_account"], "SPOT@acme");
    assert_eq!((&job["spot"], &job["network"]), (&json!(true), &Value::Null));
}

#[test]
fn what_is_wrong_or_too_much_has_no_facts() {
    let many = |n: usize, it: Value| Value::Array(vec![it; n]);
    let mut typo = request();
    typo["training"]["custom_job"]["jobSpec"]["serviceAcount"] = json!("x");
    let mut pools = request();
    pools["training"]["custom_job"]["jobSpec"]["workerPoolSpecs"] = many(1_001, pool());
    let mut long = request();
    long["training"]["custom_job"]["jobSpec"]["serviceAccount"] = json!("x".repeat(2_049));
    let deep = (0..20).fold(json!(1), |it, _| json!([it]));
    let cases = [
        (typo, unverified(), "did you mean serviceAccount"),
        (pools, unverified(), "job is more than"),
        (long, unverified(), "job is more than"),
        (request(), json!({"a": "x".repeat(2_049)}), "claims is more than"),
        (request(), json!({"x".repeat(2_049): 1}), "claims is more than"),
        (request(), json!({"a": many(1_001, json!(1))}), "claims is more than"),
        (request(), json!({"a": many(1_000, many(300, json!(1)))}), "claims is more than"),
        (request(), json!({"a": deep}), "claims is more than"),
    ];
    for (request, claims, expected) in cases {
        let ready: ArtifactReady = serde_json::from_value(request).unwrap();
        let error = Facts::new(&ready, claims.as_object()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn every_field_is_there_whatever_the_request_says() {
    let bare: [Value; 4] = [
        json!({"custom_job": {}}),
        json!({"pipeline_job": {}}),
        json!({"hyperparameter_tuning_job": {}}),
        json!({"training_pipeline": {}}),
    ];
    let keys =
        |map: &Map<String, Value>| map.keys().cloned().collect::<std::collections::BTreeSet<_>>();
    let full = facts(&request(), &claims());
    for training in bare {
        let mut request = request();
        request["training"] = training;
        let facts = facts(&request, &unverified());
        assert_eq!(keys(facts.variables()), keys(full.variables()));
        for variable in ["origin", "vertex", "job"] {
            let [bare, full] =
                [&facts, &full].map(|it| keys(it.variables()[variable].as_object().unwrap()));
            assert_eq!(bare, full);
        }
    }
}
