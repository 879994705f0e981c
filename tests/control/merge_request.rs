//! A merge request that nobody wants any more.

use branchline_contract::Outcome;
use branchline_ledger::{Body, State};
use branchline_local::installation::REQUESTS;
use branchline_tests::eventually::eventually;
use branchline_tests::world::World;
use serde_json::json;

use crate::{Training, count, reaches};

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_merge_request_cancels_its_runs_and_nobody_elses() {
    let (world, training) = (World::start().await, Training::new());
    let ours = world.request("ours", &json!([]), &training.script());
    let mut branch = world.request("branch", &json!([]), &training.script());
    branch["gitlab"]["merge_request"] = json!(null);
    // A number is only a claim: that merge request is of another branch.
    let mut claimed = world.request("claimed", &json!([]), &training.script());
    claimed["gitlab"]["ref"] = json!("main");
    for request in [&ours, &branch, &claimed] {
        world.publish(request.to_string()).await;
        reaches(&world, request, "it trains", |it| *it == State::Running).await;
    }

    world.stack.gitlab.close_merge_request(world.project_id, world.iid).unwrap();
    let history = world.ended(&ours, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Cancelled);
    let asked = history.entries.iter().find_map(|it| match &it.fact.body {
        Body::CancelRequested { reason, .. } => Some((it.fact.actor.as_str(), reason.as_str())),
        _ => None,
    });
    let reason =
        format!("merge request !{} was closed (asked for by branchline-notifier)", world.iid);
    assert_eq!(asked, Some(("branchline-notifier", reason.as_str())));
    assert_eq!(count(&history, "cancel-requested"), 1);
    eventually("the commit shows it", async || {
        (world.commit_status("ours").await? == "canceled").then_some(())
    })
    .await;

    training.let_go();
    for request in [&branch, &claimed] {
        let history = world.ended(request, 1).await;
        assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    }
    assert!(world.stack.storage.list(REQUESTS, "").is_empty());
    world.stop().await;
}
