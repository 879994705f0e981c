//! Pipeline jobs: compiled Kubeflow pipelines, each container task a process.

mod check;
mod placeholder;
mod plan;
mod spec;
mod task;

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::{Map, Value, json};

use self::plan::{Plan, Task};
use self::task::{Execution, Outputs, details};
use super::kind::State;
use super::place::new_id;
use super::run::{Ending, Failure, Run};
use super::store::{Resource, now};
use super::validate::Findings;
use crate::logging::{Entry, Payload};

/// Tasks of one pipeline that run at once.
const PARALLEL_MAX: usize = 8;

/// The code of a pipeline in which a task failed.
const FAILED_PRECONDITION: i32 = 9;

pub(in crate::vertex) fn validate(job: &Resource, findings: &mut Findings) {
    if job.contains_key("templateUri") && !job.contains_key("pipelineSpec") {
        findings.add(
            "template_uri",
            "The local stack reaches no template registry: set pipeline_spec.",
        );
    } else {
        Plan::of(job, findings);
    }
}

pub(in crate::vertex) async fn run(run: &Run) -> Result<Ending, Failure> {
    let plan = Plan::of(&run.job(), &mut Findings::default());
    run.enter(State::Pending)?;
    let ids: BTreeMap<_, _> =
        plan.tasks.iter().map(|task| (task.name.as_str(), new_id())).collect();
    let tasks: Vec<_> = plan
        .tasks
        .iter()
        .map(|it| json!({"taskId": ids[it.name.as_str()], "taskName": it.name, "createTime": now(), "state": "PENDING"}))
        .collect();
    run.update(|job| {
        job.insert("jobDetail".to_owned(), json!({ "taskDetails": tasks }));
    })?;
    run.enter(State::Running)?;

    let mut waiting: Vec<&Task> = plan.tasks.iter().collect();
    let mut done: BTreeMap<String, Outputs> = BTreeMap::new();
    let mut failed: Vec<&str> = Vec::new();
    let mut running = FuturesUnordered::new();
    loop {
        let go_on = !run.stop.is_cancelled() && (failed.is_empty() || plan.fail_slow);
        while let Some(at) =
            waiting.iter().position(|task| task.after.iter().all(|it| done.contains_key(it)))
        {
            if !go_on || running.len() >= PARALLEL_MAX {
                break;
            }
            let task = waiting.remove(at);
            let execution = Execution::new(run, &plan, task, &ids[task.name.as_str()], &done);
            start(run, &execution, task)?;
            running.push(async move { (task, execution.run().await) });
        }
        let Some((task, result)) = running.next().await else {
            break;
        };
        end(run, task, &result)?;
        match result {
            Ok(outputs) => {
                done.insert(task.name.clone(), outputs);
            }
            Err(Ending::Stopped | Ending::Succeeded) => {}
            Err(Ending::Failed(_)) => failed.push(&task.name),
        }
    }
    if run.stop.is_cancelled() {
        skip(run, &waiting, "CANCELLED")?;
        return Ok(Ending::Stopped);
    }
    skip(run, &waiting, "NOT_TRIGGERED")?;
    if failed.is_empty() {
        return Ok(Ending::Succeeded);
    }
    let message = format!(
        "The DAG failed because some tasks failed. The failed tasks are: [{}].; \
         Job (project_id = {}, job_id = {}) is failed due to the above error.",
        failed.join(", "),
        run.project(),
        run.id()
    );
    Ok(Ending::Failed(Failure { code: FAILED_PRECONDITION, message }))
}

fn start(run: &Run, execution: &Execution<'_>, task: &Task) -> Result<(), Failure> {
    let parameters = execution.parameters.iter();
    let metadata: Map<String, Value> =
        parameters.map(|(name, value)| (format!("input:{name}"), value.clone())).collect();
    let inputs = details(&execution.artifacts);
    let main_job = run.custom_job(&execution.custom_job);
    tell(run, task, "RUNNING");
    change(run, &task.name, |detail| {
        detail.insert("state".to_owned(), json!("RUNNING"));
        detail.insert("startTime".to_owned(), json!(now()));
        detail.insert("inputs".to_owned(), inputs);
        let container = json!({"containerDetail": {"mainJob": main_job}});
        detail.insert("executorDetail".to_owned(), container);
        detail.insert(
            "execution".to_owned(),
            json!({"schemaTitle": "system.ContainerExecution", "metadata": metadata}),
        );
    })
}

fn end(run: &Run, task: &Task, result: &Result<Outputs, Ending>) -> Result<(), Failure> {
    let state = match result {
        Ok(_) => "SUCCEEDED",
        Err(Ending::Failed(_)) => "FAILED",
        Err(Ending::Stopped | Ending::Succeeded) => "CANCELLED",
    };
    tell(run, task, state);
    change(run, &task.name, |detail| {
        detail.insert("endTime".to_owned(), json!(now()));
        match result {
            Ok(outputs) => {
                detail.insert("outputs".to_owned(), details(&outputs.artifacts));
                for (name, value) in &outputs.parameters {
                    detail["execution"]["metadata"][format!("output:{name}")] = value.clone();
                }
            }
            Err(Ending::Failed(failure)) => {
                detail.insert("error".to_owned(), failure.status());
            }
            Err(Ending::Stopped | Ending::Succeeded) => {}
        }
        detail.insert("state".to_owned(), json!(state));
    })
}

/// Tells Cloud Logging of a task's state, as the real service does.
fn tell(run: &Run, task: &Task, state: &str) {
    let payload = json!({
        "@type": "type.googleapis.com/google.cloud.aiplatform.logging.PipelineJobTaskLogEntry",
        "pipelineName": run.name,
        "taskName": task.name,
        "state": state,
    });
    let log = "aiplatform.googleapis.com%2Fpipeline_job_task_events";
    let severity = if state == "FAILED" { "ERROR" } else { "INFO" };
    let entry = Entry::new(run.project(), log, severity, Payload::Json(payload));
    let job = [("pipeline_job_id", run.id().to_owned())];
    run.logging().write(entry.of("aiplatform.googleapis.com/PipelineJob", job));
}

fn skip(run: &Run, tasks: &[&Task], state: &str) -> Result<(), Failure> {
    for task in tasks {
        change(run, &task.name, |detail| {
            detail.insert("state".to_owned(), json!(state));
        })?;
    }
    Ok(())
}

/// Changes what the job's details say of one task.
fn change(
    run: &Run,
    task: &str,
    change: impl FnOnce(&mut Map<String, Value>),
) -> Result<(), Failure> {
    run.update(|job| {
        let tasks =
            job.get_mut("jobDetail").and_then(|detail| detail["taskDetails"].as_array_mut());
        let detail = tasks.into_iter().flatten().find(|it| it["taskName"] == task);
        if let Some(Value::Object(detail)) = detail {
            change(detail);
        }
    })
}
