//! What `docs/disaster.md` says of a lost queue: a retried CI job brings its run back, and makes no second job.

use branchline_contract::Outcome;
use branchline_gcp::storage::Objects as _;
use branchline_ledger::State;
use branchline_local::installation::QUEUE;
use branchline_tests::eventually::eventually;
use branchline_tests::world::{World, run_id};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_ci_job_brings_a_run_back_whose_queue_was_lost() {
    let world = World::start().await;
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    let script = format!("until test -e {}; do sleep 0.05; done", go.display());
    let request = world.request("iris", &json!([]), &script);
    world.publish(request.to_string()).await;
    eventually("it trains", async || {
        (world.history(&request).await?.run.state == State::Running).then_some(())
    })
    .await;

    for object in world.stack.storage.list(QUEUE, "") {
        // The leader may have written it anew meanwhile, as it does with the lease.
        let Ok(found) = world.storage.stat(QUEUE, &object.name, None).await else { continue };
        world.storage.delete(QUEUE, &object.name, found.generation).await.ok();
    }
    assert!(world.stack.storage.list(QUEUE, "queue/").is_empty());
    // Nobody follows it any more, and the documented command still finds it.
    let find = ["runs", "list", "--all", "--since", "2026-01-01", "--state", "running", "--json"];
    let told = world.branchline(&find).await;
    let line: Value = serde_json::from_str(told.stdout.trim()).unwrap();
    assert_eq!(line["run_id"], run_id(&request).as_str());

    std::fs::write(&go, "").unwrap();
    let mut again = request.clone();
    again["gitlab"]["job_id"] = (world.job.id + 1).into();
    world.publish(again.to_string()).await;
    let history = world.ended(&request, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    assert_eq!(world.jobs(&request).await, 1);
    world.stop().await;
}
