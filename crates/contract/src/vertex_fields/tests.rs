//! Which training specs are taken, and what is said of the others.

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

/// The checked body, or all errors, one a line.
#[track_caller]
fn verdict(kind: JobKind, body: &Value, expected: &Expect) {
    let actual = match check(kind, body) {
        Ok(body) => body.to_string(),
        Err(errors) => errors.iter().fold(String::new(), |text, it| text + &format!("{it}\n")),
    };
    expected.assert_eq(&actual);
}

/// A custom job with this worker pool.
#[track_caller]
fn pool(pool: &Value, expected: &Expect) {
    verdict(JobKind::CustomJob, &json!({"workerPoolSpecs": [pool]}), expected);
}

/// What a custom job with this scheduling becomes, or its errors.
fn scheduling(scheduling: &Value) -> Result<Value, Vec<FieldError>> {
    let job = check(JobKind::CustomJob, &json!({"jobSpec": {"scheduling": scheduling}}))?;
    Ok(job["jobSpec"]["scheduling"].clone())
}

#[test]
fn a_whole_job_of_each_kind_is_accepted_as_it_is() {
    let pool = json!({
        "machineSpec": {"machineType": "n1-standard-4", "acceleratorType": "NVIDIA_L4"},
        "replicaCount": "1",
        "diskSpec": {"bootDiskSizeGb": 100},
        "containerSpec": {
            "imageUri": "{{ artifacts.image.uri }}",
            "args": ["--epochs=5"],
            "env": [{"name": "A", "value": "b"}],
        },
    });
    let spec = json!({
        "workerPoolSpecs": [pool],
        "scheduling": {"timeout": "3600s", "strategy": "SPOT", "disableRetries": true},
        "baseOutputDirectory": {"outputUriPrefix": "{{ output }}"},
    });
    let tuning = json!({
        "displayName": "tune",
        "maxTrialCount": 4,
        "parallelTrialCount": 2,
        "studySpec": {
            "metrics": [{"metricId": "accuracy", "goal": "MAXIMIZE"}],
            "parameters": [{
                "parameterId": "rate",
                "doubleValueSpec": {"minValue": 0.001, "maxValue": 1},
                "scaleType": "UNIT_LOG_SCALE",
                "conditionalParameterSpecs": [{
                    "parentDiscreteValues": {"values": [1, 2.5]},
                    "parameterSpec": {
                        "parameterId": "depth",
                        "integerValueSpec": {"minValue": "1", "maxValue": 9},
                    },
                }],
            }],
        },
        "trialJobSpec": spec,
    });
    let pipeline = json!({
        "labels": {"team": "vision"},
        "pipelineSpec": {"root": {"dag": {}}, "anything_at": ["all", null]},
        "runtimeConfig": {
            "gcsOutputDirectory": "{{ output }}",
            "parameterValues": {"learning_rate": 0.1, "layers": [1, 2], "nested": {"a_b": null}},
            "failurePolicy": "PIPELINE_FAILURE_POLICY_FAIL_FAST",
        },
    });
    let training = json!({
        "trainingTaskDefinition": "gs://b/schema/trainingjob/definition/custom_task_1.0.0.yaml",
        "trainingTaskInputs": spec,
        "modelToUpload": {"displayName": "m", "containerSpec": {"imageUri": "i"}},
        "inputDataConfig": {"datasetId": "7", "fractionSplit": {"trainingFraction": 0.8}},
    });
    let cases = [
        (JobKind::CustomJob, json!({"displayName": "one", "jobSpec": spec})),
        (JobKind::HyperparameterTuningJob, tuning),
        (JobKind::PipelineJob, pipeline),
        (JobKind::TrainingPipeline, training),
    ];
    for (kind, body) in cases {
        assert_eq!(check(kind, &body), Ok(body), "{kind:?}");
    }
}

#[test]
fn a_misspelt_field_is_refused_with_its_path() {
    verdict(
        JobKind::CustomJob,
        &json!({"jobSpec": {"workerPoolSpecs": [
            {"machineSpec": {"machineType": "m"}},
            {"machineSpec": {"acceleratorTyp": "NVIDIA_L4"}},
        ]}}),
        &expect![[r"
            training.custom_job.jobSpec.workerPoolSpecs[1].machineSpec.acceleratorTyp: no such field; did you mean acceleratorType?
        "]],
    );
}

#[test]
fn all_errors_are_told_at_once_and_where_they_were_written() {
    verdict(
        JobKind::CustomJob,
        &json!({
            "display_nam": "x",
            "zzz": 1,
            "job_spec": {
                "worker_pool_specs": [{"container_spec": {"image": "i", "args": "all"}}],
                "service_account": 7,
            },
        }),
        &expect![[r#"
            training.custom_job.display_nam: no such field; did you mean displayName?
            training.custom_job.zzz: no such field
            training.custom_job.job_spec.worker_pool_specs[0].container_spec.image: no such field; did you mean imageUri?
            training.custom_job.job_spec.worker_pool_specs[0].container_spec.args: expected a list, found "all"
            training.custom_job.job_spec.service_account: expected a string, found the number 7
        "#]],
    );
}

#[test]
fn snake_case_becomes_camel_case_except_in_names_of_the_users_own() {
    verdict(
        JobKind::PipelineJob,
        &json!({
            "display_name": "x",
            "labels": {"cost_center": "a_b"},
            "pipeline_spec": {"deployment_spec": {"executors": {}}},
            "runtime_config": {
                "parameter_values": {"learning_rate": {"at_most": 1}},
                "input_artifacts": {"training_set": {"artifact_id": "7"}},
            },
        }),
        &expect![[
            r#"{"displayName":"x","labels":{"cost_center":"a_b"},"pipelineSpec":{"deployment_spec":{"executors":{}}},"runtimeConfig":{"parameterValues":{"learning_rate":{"at_most":1}},"inputArtifacts":{"training_set":{"artifactId":"7"}}}}"#
        ]],
    );
}

#[test]
fn a_field_in_both_spellings_is_refused() {
    verdict(
        JobKind::CustomJob,
        &json!({"displayName": "x", "display_name": "y"}),
        &expect![[r"
            training.custom_job.display_name: given twice, in camelCase and in snake_case
        "]],
    );
}

#[test]
fn what_gcloud_takes_as_a_config_file_becomes_the_job_spec() {
    let spec = json!({"worker_pool_specs": [{"replica_count": 1}], "serviceAccount": "sa"});
    verdict(
        JobKind::CustomJob,
        &spec,
        &expect![[r#"{"jobSpec":{"workerPoolSpecs":[{"replicaCount":1}],"serviceAccount":"sa"}}"#]],
    );
    verdict(
        JobKind::CustomJob,
        &json!({"labels": {"a": "b"}, "workerPoolSpecs": [], "serviceAcount": "sa"}),
        &expect![[r"
            training.custom_job.serviceAcount: no such field; did you mean serviceAccount?
        "]],
    );
    verdict(
        JobKind::CustomJob,
        &json!({"jobSpec": {}, "workerPoolSpecs": []}),
        &expect![[r"
            training.custom_job.workerPoolSpecs: no such field
        "]],
    );
}

#[test]
fn each_type_accepts_what_the_api_accepts() {
    let cases = [
        ("timeout", json!("3600s"), true),
        ("timeout", json!("0.5s"), true),
        ("timeout", json!("{{ params.hours }}s"), true),
        ("timeout", json!("3600"), false),
        ("timeout", json!(3600), false),
        ("timeout", json!("1h"), false),
        ("timeout", json!("1.s"), false),
        ("timeout", json!("0.1234567890s"), false),
        ("disableRetries", json!(true), true),
        ("disableRetries", json!("{{ params.once }}"), true),
        ("disableRetries", json!("not {{ params.once }}"), false),
        ("disableRetries", json!("yes"), false),
        ("disableRetries", json!(1), false),
        ("strategy", json!("SPOT"), true),
        ("strategy", json!("{{ params.strategy }}"), true),
        ("strategy", json!("spot"), false),
        ("strategy", json!(2), false),
    ];
    for (field, value, accepted) in cases {
        assert_eq!(scheduling(&json!({field: value})).is_ok(), accepted, "{field}: {value}");
    }
    let tuning = [
        ("maxTrialCount", json!(4), true),
        ("maxTrialCount", json!("4"), true),
        ("maxTrialCount", json!("{{ params.trials }}"), true),
        ("maxTrialCount", json!("{{ params.tens }}0"), false),
        ("maxTrialCount", json!("{{ params.tens }}{{ params.ones }}"), false),
        ("maxTrialCount", json!("{{$.inputs}}"), false),
        ("maxTrialCount", json!(4.5), false),
        ("maxTrialCount", json!(3_000_000_000_u32), false),
        ("maxTrialCount", json!([4]), false),
    ];
    for (field, value, accepted) in tuning {
        let checked = check(JobKind::HyperparameterTuningJob, &json!({field: value}));
        assert_eq!(checked.is_ok(), accepted, "{field}: {value}");
    }
    let pools = [
        ("replicaCount", json!(3_000_000_000_u32), true),
        ("replicaCount", json!("1"), true),
        ("replicaCount", json!("one"), false),
        ("replicaCount", json!(u64::MAX), false),
        ("containerSpec", json!("image"), false),
        ("nfsMounts", json!([{"server": "s"}, null]), false),
    ];
    for (field, value, accepted) in pools {
        let checked = check(JobKind::CustomJob, &json!({"workerPoolSpecs": [{field: value}]}));
        assert_eq!(checked.is_ok(), accepted, "{field}: {value}");
    }
    let constraint = [
        ("endTime", json!("2026-01-31T12:00:00Z"), true),
        ("endTime", json!("tomorrow"), false),
        ("maxDuration", json!("{{ params.hours"), false),
    ];
    for (field, value, accepted) in constraint {
        let stop = json!({"studyStoppingConfig": {"maximumRuntimeConstraint": {field: value}}});
        let checked = check(JobKind::HyperparameterTuningJob, &json!({"studySpec": stop}));
        assert_eq!(checked.is_ok(), accepted, "{field}: {value}");
    }
}

#[test]
fn a_value_of_another_type_is_named_beside_what_belongs_there() {
    pool(
        &json!({
            "machineSpec": {"acceleratorCount": "two", "reservationAffinity": {"reservationAffinityType": "ANY"}},
            "replicaCount": 1.5,
            "containerSpec": {"imageUri": {"name": "i"}, "args": [true, 5, null]},
            "diskSpec": [],
        }),
        &expect![[r#"
            training.custom_job.workerPoolSpecs[0].machineSpec.acceleratorCount: expected a whole number of 32 bits, found "two"
            training.custom_job.workerPoolSpecs[0].machineSpec.reservationAffinity.reservationAffinityType: expected one of TYPE_UNSPECIFIED, NO_RESERVATION, ANY_RESERVATION, SPECIFIC_RESERVATION, found "ANY"
            training.custom_job.workerPoolSpecs[0].replicaCount: expected a whole number, found the number 1.5
            training.custom_job.workerPoolSpecs[0].containerSpec.imageUri: expected a string, found an object
            training.custom_job.workerPoolSpecs[0].containerSpec.args[0]: expected a string, found true
            training.custom_job.workerPoolSpecs[0].containerSpec.args[1]: expected a string, found the number 5
            training.custom_job.workerPoolSpecs[0].containerSpec.args[2]: expected a string, found null
            training.custom_job.workerPoolSpecs[0].diskSpec: expected an object, found a list
        "#]],
    );
    verdict(
        JobKind::TrainingPipeline,
        &json!("train.yaml"),
        &expect![[r#"
            training.training_pipeline: expected an object, found "train.yaml"
        "#]],
    );
}

#[test]
fn a_bool_that_a_placeholder_filled_becomes_a_bool() {
    let filled = scheduling(&json!({"disableRetries": "true"}));
    assert_eq!(filled, Ok(json!({"disableRetries": true})));
}

#[test]
fn a_field_left_null_is_left_out() {
    assert_eq!(scheduling(&json!({"timeout": null})), Ok(json!({})));
}

#[test]
fn what_only_vertex_ai_sets_is_refused() {
    verdict(
        JobKind::CustomJob,
        &json!({"name": "projects/p", "state": null, "createTime": "x", "error": {}, "jobSpec": {}}),
        &expect![[r"
            training.custom_job.name: set by Vertex AI, not by the spec
            training.custom_job.state: set by Vertex AI, not by the spec
            training.custom_job.createTime: set by Vertex AI, not by the spec
            training.custom_job.error: set by Vertex AI, not by the spec
        "]],
    );
}

#[test]
fn labels_that_are_ours_are_refused_wherever_they_stand() {
    verdict(
        JobKind::TrainingPipeline,
        &json!({
            "labels": {"branchline-run": "x", "branchline": "y"},
            "modelToUpload": {"labels": {"branchline-intent": "z"}},
        }),
        &expect![[r"
            training.training_pipeline.labels.branchline-run: labels that begin with branchline- are set by Branchline
            training.training_pipeline.modelToUpload.labels.branchline-intent: labels that begin with branchline- are set by Branchline
        "]],
    );
}

#[test]
fn only_the_inputs_of_a_custom_task_are_a_custom_job_spec() {
    let pipeline = |definition: &str| {
        json!({
            "trainingTaskInputs": {"workerPoolSpec": [], "enable_web_access": true},
            "training_task_definition": definition,
        })
    };
    verdict(
        JobKind::TrainingPipeline,
        &pipeline("gs://b/definition/custom_task_1.0.0.yaml"),
        &expect![[r"
            training.training_pipeline.trainingTaskInputs.workerPoolSpec: no such field; did you mean workerPoolSpecs?
        "]],
    );
    verdict(
        JobKind::TrainingPipeline,
        &pipeline("gs://b/definition/automl_tabular_1.0.0.yaml"),
        &expect![[
            r#"{"trainingTaskInputs":{"workerPoolSpec":[],"enable_web_access":true},"trainingTaskDefinition":"gs://b/definition/automl_tabular_1.0.0.yaml"}"#
        ]],
    );
}

#[test]
fn a_hostile_spec_costs_little_and_says_little() {
    let deep = (0..DEPTH_MAX).fold(json!(1), |inner, _| json!({ "a": inner }));
    let accepted = json!({"pipelineSpec": deep["a"]});
    assert_eq!(check(JobKind::PipelineJob, &accepted), Ok(accepted));
    verdict(
        JobKind::PipelineJob,
        &json!({ "pipelineSpec": deep }),
        &expect![[r"
            training.pipeline_job: nested deeper than 64 levels
        "]],
    );

    let many: Map<_, _> = (0..1_000).map(|i| (format!("field{i}"), json!(i))).collect();
    let errors = check(JobKind::CustomJob, &Value::Object(many)).unwrap_err();
    assert_eq!(errors.len(), ERRORS_MAX);

    let long = json!({ "\u{1b}[31m\n".repeat(10_000): "x".repeat(100_000) });
    let errors = check(JobKind::CustomJob, &long).unwrap_err();
    let shown = errors[0].to_string();
    assert!(shown.len() < 400 && !shown.contains(char::is_control), "{shown:?}");
}

#[test]
fn the_table_names_no_type_that_it_does_not_hold() {
    for (message, fields) in &TABLE.messages {
        for (name, field) in fields {
            if let Field::One(Type::Named(of))
            | Field::List(Type::Named(of))
            | Field::Map(Type::Named(of)) = field
            {
                let known = TABLE.messages.contains_key(of) != TABLE.enums.contains_key(of);
                assert!(known, "{message}.{name} is a {of}");
            }
        }
    }
}
