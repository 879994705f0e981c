//! Pipeline jobs.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{PARENT, Stack, eventually};

/// `prepare` hands rows and a count to `train`, which reports metrics.
fn pipeline_job() -> Value {
    serde_json::from_str(include_str!("pipeline.json")).unwrap()
}

fn task<'a>(job: &'a Value, name: &str) -> &'a Value {
    let tasks = job["jobDetail"]["taskDetails"].as_array().unwrap();
    tasks.iter().find(|it| it["taskName"] == name).unwrap()
}

#[tokio::test]
async fn tasks_run_in_order_and_hand_their_outputs_on() {
    let stack = Stack::new();
    let path = stack.create("pipelineJobs?pipelineJobId=run-1", &pipeline_job()).await;
    assert_eq!(path, format!("{PARENT}/pipelineJobs/run-1"));
    let ended = stack.end(&path).await;
    assert_eq!(ended["state"], "PIPELINE_STATE_SUCCEEDED", "{ended:#}\n{}", stack.printed(&path));

    let (prepare, train) = (task(&ended, "prepare"), task(&ended, "train"));
    assert_eq!((&prepare["state"], &train["state"]), (&json!("SUCCEEDED"), &json!("SUCCEEDED")));
    assert_eq!(prepare["execution"]["metadata"], json!({"input:name": "iris", "output:rows": 1}));
    let data = prepare["outputs"]["data"]["artifacts"][0]["uri"].as_str().unwrap();
    assert_eq!(
        data,
        format!("gs://bucket/root/run-1/{}/data", prepare["taskId"].as_str().unwrap())
    );
    assert_eq!(train["inputs"]["data"]["artifacts"][0]["uri"], data);
    let metrics = &train["outputs"]["metrics"]["artifacts"][0];
    assert_eq!(metrics["schemaTitle"], "system.Metrics");
    assert_eq!(metrics["metadata"], json!({"accuracy": 0.9}));

    let model = train["outputs"]["model"]["artifacts"][0]["uri"].as_str().unwrap();
    assert_eq!(stack.object(model.strip_prefix("gs://bucket/").unwrap()).unwrap(), "iris,1\n");
    let printed = stack.printed(&path);
    assert!(printed.contains(&format!("train 1 rows at 0.5, {data}\n")), "{printed}");
    let input = printed.lines().find_map(|line| line.strip_prefix("train {")).unwrap();
    let input: Value = serde_json::from_str(&format!("{{{input}")).unwrap();
    assert_eq!(
        input["inputs"]["parameterValues"],
        json!({"rate": 0.5, "rows": 1, "title": "1 rows"})
    );

    assert_eq!(ended["labels"], json!({"run": "r1"}));
    let listed = stack.get(&format!("{PARENT}/pipelineJobs?filter=labels.run%3Dr1")).await;
    assert_eq!(listed["pipelineJobs"][0]["name"], ended["name"]);
    assert_eq!(listed["pipelineJobs"][0]["jobDetail"], Value::Null);
}

#[tokio::test]
async fn a_failed_task_fails_the_pipeline_and_what_follows_is_not_run() {
    let stack = Stack::new();
    let mut job = pipeline_job();
    job["pipelineSpec"]["deploymentSpec"]["executors"]["exec-prepare"]["container"]["command"] =
        json!(["false"]);
    let path = stack.create("pipelineJobs", &job).await;
    let ended = stack.end(&path).await;
    assert_eq!(ended["state"], "PIPELINE_STATE_FAILED");
    let message = ended["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            "The DAG failed because some tasks failed. The failed tasks are: [prepare]."
        ),
        "{message}"
    );
    assert_eq!(task(&ended, "prepare")["state"], "FAILED");
    let message = task(&ended, "prepare")["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("The replica workerpool0-0 exited with a non-zero status of 1."),
        "{message}"
    );
    assert_eq!(task(&ended, "train")["state"], "NOT_TRIGGERED");
}

#[tokio::test]
async fn a_task_that_does_not_write_its_output_fails() {
    let stack = Stack::new();
    let mut job = pipeline_job();
    job["pipelineSpec"]["deploymentSpec"]["executors"]["exec-prepare"]["container"]["command"] =
        json!(["true"]);
    let path = stack.create("pipelineJobs", &job).await;
    let ended = stack.end(&path).await;
    let message = &task(&ended, "prepare")["error"]["message"];
    assert_eq!(message, "The task did not write its output parameter 'rows'.");
}

#[tokio::test]
async fn a_cancelled_pipeline_stops_its_task() {
    let stack = Stack::new();
    let mut job = pipeline_job();
    job["pipelineSpec"]["deploymentSpec"]["executors"]["exec-prepare"]["container"]["command"] =
        json!(["sh", "-c", "echo here; exec sleep 60"]);
    let path = stack.create("pipelineJobs", &job).await;
    eventually("the task runs", || stack.printed(&path).contains("here")).await;
    stack.cancel(&path).await;
    let ended = stack.end(&path).await;
    assert_eq!(ended["state"], "PIPELINE_STATE_CANCELLED");
    assert_eq!(task(&ended, "prepare")["state"], "CANCELLED");
    assert_eq!(task(&ended, "train")["state"], "CANCELLED");
}

#[tokio::test]
async fn an_id_is_used_once() {
    let stack = Stack::new();
    let collection = format!("{PARENT}/pipelineJobs?pipelineJobId=run-1");
    assert_eq!(stack.send("POST", &collection, &pipeline_job()).await.0, StatusCode::OK);
    let (status, body) = stack.send("POST", &collection, &pipeline_job()).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(body["error"]["status"], "ALREADY_EXISTS");
    let bad = format!("{PARENT}/pipelineJobs?pipelineJobId=Run_1");
    assert_eq!(stack.send("POST", &bad, &pipeline_job()).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_with_its_place() {
    let stack = Stack::new();
    let dag = "/pipelineSpec/root/dag/tasks";
    let cases = [
        ("/runtimeConfig/gcsOutputDirectory", json!(""), "runtime_config.gcs_output_directory;"),
        (
            "/runtimeConfig/parameterValues",
            json!({}),
            "runtime_config.parameter_values.rate; Message: Required",
        ),
        (
            "/runtimeConfig/parameterValues",
            json!({"rate": 1, "x": 1}),
            "runtime_config.parameter_values.x; Message: The pipeline has no",
        ),
        (
            &format!("{dag}/train/dependentTasks"),
            json!(["train"]),
            "train; Message: The task depends on itself",
        ),
        (
            &format!("{dag}/train/dependentTasks"),
            json!(["other"]),
            "train; Message: There is no task 'other'",
        ),
        (&format!("{dag}/train/componentRef/name"), json!("x"), "train.component_ref;"),
        (
            &format!("{dag}/train/inputs/artifacts/data/taskOutputArtifact/outputArtifactKey"),
            json!("x"),
            "has no output artifact 'x'",
        ),
        ("/pipelineSpec/components/comp-train", json!({"dag": {"tasks": {}}}), "nested"),
        (
            "/pipelineSpec/deploymentSpec/executors/exec-train",
            json!({"importer": {}}),
            "runs containers only",
        ),
        (
            "/pipelineSpec/deploymentSpec/executors/exec-train/container/command",
            json!([]),
            "exec-train.container.command;",
        ),
        (
            "/pipelineSpec/deploymentSpec/executors/exec-train/container/args",
            json!(["{{$.inputs.parameters['x']}}"]),
            "a placeholder that means nothing",
        ),
        (
            &format!("{dag}/train"),
            json!({"componentRef": {"name": "comp-train"}, "triggerPolicy": {"condition": "x"}}),
            "no conditions",
        ),
        (
            &format!("{dag}/train"),
            json!({"componentRef": {"name": "comp-train"}, "parameterIterator": {}}),
            "no loops",
        ),
    ];
    for (pointer, value, part) in cases {
        let mut job = pipeline_job();
        *job.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
        let message = stack.refuse("pipelineJobs", &job).await;
        assert!(message.contains(part), "{pointer}: {message}");
    }
}
