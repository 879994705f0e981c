//! The body of a create call: the training spec with its placeholders filled,
//! our labels on it, and an output directory of its own. Pure.

use branchline_contract::placeholder::{self, fill};
use branchline_contract::{Artifact, ArtifactReady, Installation, JobKind, RunId, vertex_fields};
use branchline_ledger::{Intent, Run};
use serde_json::{Value, json};

/// Label with the run's id.
pub const LABEL_RUN: &str = "branchline-run";
/// Label with the id of the run's GitLab project: with it the run is found in the ledger.
pub const LABEL_PROJECT: &str = "branchline-gitlab-project";
/// Label with the nonce of the create call.
pub const LABEL_INTENT: &str = "branchline-intent";
/// Label with the installation's name.
pub(crate) const LABEL_INSTALLATION: &str = "branchline-installation";

/// The objects that the job reads: the announced ones, or their copies.
pub(crate) fn inputs(run: &Run) -> &[Artifact] {
    if run.staged.is_empty() { &run.request.artifacts } else { &run.staged }
}

/// The output directory of one create call, a `gs://` prefix.
pub(crate) fn output(bucket: &str, run: &Run, nonce: &str) -> String {
    format!("gs://{bucket}/{}/{}-{nonce}/", run.id, run.attempt)
}

/// Id of a pipeline job: the only one that a client may choose.
pub(crate) fn pipeline_job_id(run: &Run) -> Option<String> {
    match run.request.training.kind() {
        JobKind::PipelineJob => Some(format!("{}-{}", run.id, run.attempt)),
        JobKind::CustomJob | JobKind::HyperparameterTuningJob | JobKind::TrainingPipeline => None,
    }
}

/// What is wrong with the training spec of a request, each with its field.
pub(crate) fn problems(request: &ArtifactReady) -> Vec<String> {
    let (run, _) = RunId::derive(request);
    match vertex_fields::check(request.training.kind(), request.training.body()) {
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
        Ok(body) => {
            let filled = placeholder::expand_training(&body, &|name| {
                fill(request, &request.artifacts, &run, "gs://o/", name)
            });
            filled
                .err()
                .map(|it| format!("training.{}.{it}", request.training.kind().key()))
                .into_iter()
                .collect()
        }
    }
}

/// The body for one intent. The request was found without problems at intake.
pub(crate) fn build(
    run: &Run,
    intent: &Intent,
    installation: &Installation,
) -> Result<Value, String> {
    let (request, kind) = (&run.request, run.request.training.kind());
    let body = vertex_fields::check(kind, request.training.body())
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let fill = |name: &str| fill(request, inputs(run), &run.id, &intent.output, name);
    let mut body = placeholder::expand_training(&body, &fill).map_err(|it| it.to_string())?;
    body["labels"][LABEL_RUN] = json!(run.id);
    body["labels"][LABEL_PROJECT] = json!(request.gitlab.project_id.to_string());
    body["labels"][LABEL_INTENT] = json!(intent.nonce);
    body["labels"][LABEL_INSTALLATION] = json!(installation);
    default(&mut body, &["displayName"], &run.id.to_string());
    let path: &[&str] = match kind {
        JobKind::CustomJob => &["jobSpec", "baseOutputDirectory", "outputUriPrefix"],
        JobKind::HyperparameterTuningJob => {
            &["trialJobSpec", "baseOutputDirectory", "outputUriPrefix"]
        }
        // AutoML's inputs have no such field.
        JobKind::TrainingPipeline
            if !body.as_object().is_some_and(vertex_fields::is_custom_task) =>
        {
            return Ok(body);
        }
        JobKind::TrainingPipeline => {
            &["trainingTaskInputs", "baseOutputDirectory", "outputUriPrefix"]
        }
        JobKind::PipelineJob => &["runtimeConfig", "gcsOutputDirectory"],
    };
    default(&mut body, path, &intent.output);
    Ok(body)
}

/// Sets a text where the user said nothing.
fn default(body: &mut Value, path: &[&str], text: &str) {
    let mut place = body;
    for key in path {
        if !place.is_object() && !place.is_null() {
            return;
        }
        place = &mut place[*key];
    }
    if place.is_null() {
        *place = json!(text);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{admitted, custom_job, intent, request, run};

    fn team_a() -> Installation {
        Installation::parse("team-a").unwrap()
    }

    #[test]
    fn a_body_has_our_labels_its_placeholders_filled_and_an_output_directory() {
        let run = run(&request(&custom_job()), admitted());
        let body = build(&run, &intent(), &team_a()).unwrap();
        expect![[r#"
            {
              "jobSpec": {
                "workerPoolSpecs": [
                  {
                    "machineSpec": {
                      "machineType": "n1-standard-4"
                    },
                    "replicaCount": 1,
                    "containerSpec": {
                      "imageUri": "debian",
                      "args": [
                        "gs://artifacts/a/iris.csv",
                        "gs://o/iris/1-n/"
                      ]
                    }
                  }
                ],
                "baseOutputDirectory": {
                  "outputUriPrefix": "gs://o/iris/1-n/"
                }
              },
              "labels": {
                "branchline-run": "iris-e0cf6f167a020c22fa49",
                "branchline-gitlab-project": "7",
                "branchline-intent": "n",
                "branchline-installation": "team-a"
              },
              "displayName": "iris-e0cf6f167a020c22fa49"
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&body).unwrap());
    }

    #[test]
    fn what_the_user_said_stays() {
        let mut training = custom_job();
        training["custom_job"]["displayName"] = json!("mine");
        training["custom_job"]["labels"] = json!({"team": "a"});
        training["custom_job"]["jobSpec"]["baseOutputDirectory"] =
            json!({"outputUriPrefix": "gs://mine/"});
        let body = build(&run(&request(&training), admitted()), &intent(), &team_a()).unwrap();
        assert_eq!(body["displayName"], "mine");
        assert_eq!(body["labels"]["team"], "a");
        assert_eq!(body["jobSpec"]["baseOutputDirectory"]["outputUriPrefix"], "gs://mine/");
    }

    #[test]
    fn every_kind_has_an_output_directory_and_only_a_pipeline_an_id() {
        let spec = &custom_job()["custom_job"]["jobSpec"];
        let cases = [
            (custom_job(), "/jobSpec/baseOutputDirectory/outputUriPrefix", false),
            (
                json!({"hyperparameter_tuning_job": {"trialJobSpec": spec}}),
                "/trialJobSpec/baseOutputDirectory/outputUriPrefix",
                false,
            ),
            (
                json!({"training_pipeline": {
                    "trainingTaskDefinition": "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml",
                    "trainingTaskInputs": spec
                }}),
                "/trainingTaskInputs/baseOutputDirectory/outputUriPrefix",
                false,
            ),
            (
                json!({"pipeline_job": {"pipelineSpec": {"code": "{{ theirs }}"}}}),
                "/runtimeConfig/gcsOutputDirectory",
                true,
            ),
        ];
        for (training, output, has_id) in cases {
            let run = run(&request(&training), admitted());
            let body = build(&run, &intent(), &team_a()).unwrap();
            assert_eq!(body.pointer(output), Some(&json!("gs://o/iris/1-n/")), "{output}");
            let id = pipeline_job_id(&run);
            assert_eq!(id, has_id.then(|| format!("{}-1", run.id)), "{output}");
        }
    }

    #[test]
    fn a_spec_that_cannot_be_sent_is_told_with_its_field() {
        let mut misspelt = custom_job();
        misspelt["custom_job"]["jobSpec"]["workerPoolSpec"] = json!([]);
        let mut unknown = custom_job();
        unknown["custom_job"]["displayName"] = json!("{{ artifacts.none.uri }}");
        let mut label = custom_job();
        label["custom_job"]["labels"] = json!({"branchline-run": "mine"});
        let cases = [
            (misspelt, "training.custom_job.jobSpec.workerPoolSpec"),
            (unknown, "training.custom_job.displayName: there is no {{ artifacts.none.uri }}"),
            (label, "training.custom_job.labels.branchline-run"),
        ];
        for (training, expected) in cases {
            let problems = problems(&request(&training)).join("\n");
            assert!(problems.contains(expected), "{expected}: {problems}");
        }
        assert_eq!(problems(&request(&custom_job())), Vec::<String>::new());
    }
}
