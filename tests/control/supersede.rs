//! Newer runs in place of older ones.

use branchline_contract::Outcome;
use branchline_ledger::{History, State};
use branchline_local::gitlab::{CiJob, Trigger};
use branchline_tests::eventually::eventually;
use branchline_tests::world::World;
use serde_json::{Value, json};

use crate::{Training, count, reaches};

/// The job of a merge request pipeline for one more commit.
fn push(world: &World, content: &str) -> CiJob {
    let gitlab = &world.stack.gitlab;
    let files: [(&str, &[u8]); 1] = [("a", content.as_bytes())];
    gitlab.commit(world.project_id, "try", "More", &files).unwrap();
    gitlab.start_pipeline(world.project_id, Trigger::MergeRequest(world.iid), "train").unwrap()
}

/// A request of that job.
fn request(world: &World, job: &CiJob, script: &str) -> Value {
    let mut request = world.request("iris", &json!([]), script);
    request["gitlab"]["sha"] = json!(job.sha);
    request["gitlab"]["pipeline_id"] = json!(job.pipeline_id);
    request["gitlab"]["job_id"] = json!(job.id);
    request
}

fn ended_as(history: &History) -> (Outcome, &str) {
    let ending = history.run.ending().unwrap();
    (ending.outcome, ending.reason.as_deref().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_commit_ends_older_runs_of_its_branch_however_late_they_come() {
    let (world, training) = (World::start().await, Training::new());
    let jobs = [push(&world, "1"), push(&world, "2"), push(&world, "3")];
    let [older, mut newer, late] =
        [&jobs[1], &jobs[2], &jobs[0]].map(|job| request(&world, job, &training.script()));
    newer["supersede"] = json!(true);

    world.publish(older.to_string()).await;
    reaches(&world, &older, "it trains", |it| *it == State::Running).await;
    world.publish(newer.to_string()).await;
    let history = world.ended(&older, 1).await;
    assert_eq!(ended_as(&history).0, Outcome::Cancelled);
    let by = format!("of pipeline {}", jobs[2].pipeline_id);
    assert!(history.run.cancel.as_ref().unwrap().contains(&by), "{:?}", history.run.cancel);
    training.let_go();
    assert_eq!(ended_as(&world.ended(&newer, 1).await).0, Outcome::Succeeded);
    eventually("the queue is empty", async || {
        world.stack.storage.list("demo-queue", "queue/").is_empty().then_some(())
    })
    .await;

    world.publish(late.to_string()).await;
    let history = world.ended(&late, 1).await;
    let (outcome, reason) = ended_as(&history);
    assert_eq!(outcome, Outcome::Cancelled);
    assert!(reason.contains(&by), "{reason}");
    assert_eq!((count(&history, "intended"), world.jobs(&late).await), (0, 0));

    // Who asks again from a newer pipeline means it.
    let mut again = late.clone();
    let pipeline = world.stack.gitlab.start_pipeline(
        world.project_id,
        Trigger::MergeRequest(world.iid),
        "train",
    );
    let pipeline = pipeline.unwrap();
    again["gitlab"]["pipeline_id"] = json!(pipeline.pipeline_id);
    again["gitlab"]["job_id"] = json!(pipeline.id);
    world.publish(again.to_string()).await;
    assert_eq!(ended_as(&world.ended(&late, 2).await).0, Outcome::Succeeded);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_job_with_other_inputs_takes_the_place_of_a_run_of_the_same_commit() {
    let (world, training) = (World::start().await, Training::new());
    let first = request(&world, &world.job, &training.script());
    world.publish(first.to_string()).await;
    reaches(&world, &first, "it trains", |it| *it == State::Running).await;
    let mut second = request(&world, &world.job, "true");
    second["gitlab"]["job_id"] = json!(world.job.id + 1);
    world.publish(second.to_string()).await;
    assert_eq!(ended_as(&world.ended(&second, 1).await).0, Outcome::Succeeded);
    assert_eq!(ended_as(&world.ended(&first, 1).await).0, Outcome::Cancelled);
    world.stop().await;
}
