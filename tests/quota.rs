//! What a run waits for at Vertex AI, over sockets: roles, machines, its turn.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

use branchline_contract::Outcome;
use branchline_ledger::{Body, History};
use branchline_local::faults::Faults;
use branchline_tests::eventually::eventually;
use branchline_tests::world::World;
use serde_json::{Value, json};

const QUOTA: &str = "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_nvidia_t4_gpus";
const WAITS: &str =
    "waits for quota of aiplatform.googleapis.com/custom_model_training_nvidia_t4_gpus";

fn kinds(history: &History) -> Vec<&'static str> {
    history.entries.iter().map(|it| it.fact.body.kind()).collect()
}

/// A world whose Vertex AI has one fault.
async fn start(fault: Value) -> World {
    let faults = serde_json::from_value(json!({"rules": [fault]})).unwrap();
    World::start_faulty(faults, None, json!({})).await
}

/// A rule that refuses create calls which have that in their bodies.
fn refused(body: &str, status: u16, message: &str) -> Value {
    json!({
        "service": "vertex", "method": "POST", "body": body,
        "fault": {"answer": {"status": status, "message": message}},
    })
}

/// The request's run wants an accelerator.
fn with_gpu(mut request: Value) -> Value {
    let pool = &mut request["training"]["custom_job"]["jobSpec"]["workerPoolSpecs"][0];
    pool["machineSpec"]["acceleratorType"] = json!("NVIDIA_TESLA_T4");
    pool["machineSpec"]["acceleratorCount"] = json!(1);
    request
}

/// The history of a run that waits with that reason.
async fn waits(world: &World, request: &Value, reason: &str) -> History {
    eventually(reason, async || {
        let history = world.history(request).await?;
        history.run.reason()?.contains(reason).then_some(history)
    })
    .await
}

async fn succeeds(world: &World, request: &Value) -> History {
    let history = world.ended(request, 1).await;
    let ending = history.run.ending().unwrap();
    assert_eq!(ending.outcome, Outcome::Succeeded, "{ending:?}");
    history
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_lacks_a_role_says_so_and_goes_on_when_it_is_granted() {
    let missing = "Permission 'aiplatform.customJobs.create' denied on resource";
    let world = start(refused("", 403, missing)).await;
    let request = world.request("iris", &json!([]), "true");
    world.publish(request.to_string()).await;
    waits(&world, &request, "customJobs.create, which the role roles/aiplatform.user has)").await;
    let notes = format!("projects/{}/merge_requests/{}/notes", world.project_id, world.iid);
    eventually("the commit shows what is missing", async || {
        world.gitlab(&notes).await.to_string().contains("customJobs.create").then_some(())
    })
    .await;

    world.stack.dice.set(Faults::default());
    let history = succeeds(&world, &request).await;
    let blocked = kinds(&history).into_iter().filter(|it| *it == "blocked").count();
    assert_eq!(blocked, 1, "it is said once, however often it was tried");
    assert_eq!(world.jobs(&request).await, 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_whose_machines_are_exhausted_wait_together_and_hold_nobody_up() {
    let world = start(refused("acceleratorCount", 429, QUOTA)).await;
    let asked = || world.stack.dice.hits()[0];
    let gpu = |number: u32| with_gpu(world.request(&format!("gpu-{number}"), &json!([]), "true"));
    let first = gpu(0);
    world.publish(first.to_string()).await;
    waits(&world, &first, WAITS).await;
    let before = asked();
    let others: Vec<Value> = (1..20).map(gpu).collect();
    for other in &others {
        world.publish(other.to_string()).await;
    }
    let cpu = world.request("cpu", &json!([]), "true");
    world.publish(cpu.to_string()).await;
    for other in &others {
        waits(&world, other, WAITS).await;
    }
    succeeds(&world, &cpu).await;
    // Had each of them asked for itself, there would be as many calls at once.
    let asked = asked() - before;
    assert!(asked < 10, "{asked} calls for {} runs", others.len() + 1);

    world.stack.dice.set(Faults::default());
    for request in others.iter().chain([&first]) {
        succeeds(&world, request).await;
        assert_eq!(world.jobs(request).await, 1);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_for_want_of_quota_is_tried_again_where_the_request_allows_it() {
    let failed = json!({"end_as": {"state": "failed", "error": [8, QUOTA]}});
    let world = start(json!({"service": "vertex", "fault": failed, "times": 1})).await;
    let mut request = world.request("iris", &json!([]), "true");
    request["attempts_max"] = json!(2);
    world.publish(request.to_string()).await;
    let waiting = waits(&world, &request, "attempt 1 ended for want of quota").await;
    assert_eq!((waiting.run.attempt, waiting.run.job.as_deref()), (2, None));

    let history = world.ended(&request, 2).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    assert_eq!(world.jobs(&request).await, 2);
    let ends = history.entries.iter().filter(|it| matches!(it.fact.body, Body::Finished(_)));
    assert_eq!(ends.count(), 1, "an outcome belongs to the last attempt");
    eventually("the entries of both attempts are gone", async || {
        world.stack.storage.list("demo-queue", "queue/").is_empty().then_some(())
    })
    .await;
    eventually("the commit shows it", async || {
        (world.commit_status("iris").await? == "success").then_some(())
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_beyond_the_cap_of_their_project_wait_and_are_told_how_they_move_up() {
    let cap = json!({"active_runs_per_project_max": 1});
    let world = World::start_faulty(Faults::default(), None, cap).await;
    let flags = tempfile::tempdir().unwrap();
    let flag = |name: &str| flags.path().join(name);
    // Trains until its flag is there.
    let request = |name: &str| {
        let mut request =
            world.request(name, &json!([]), "while ! test -e $0; do sleep 0.05; done");
        let pool = &mut request["training"]["custom_job"]["jobSpec"]["workerPoolSpecs"][0];
        pool["containerSpec"]["command"][3] = json!(flag(name));
        request
    };
    let requests = ["first", "second", "third"].map(request);
    world.publish(requests[0].to_string()).await;
    eventually("it is in Vertex AI", async || world.history(&requests[0]).await?.run.job.map(drop))
        .await;
    for request in &requests[1..] {
        world.publish(request.to_string()).await;
        waits(&world, request, "its GitLab project may have 1 in Vertex AI").await;
    }
    let notes = format!("projects/{}/merge_requests/{}/notes", world.project_id, world.iid);
    let told = async |run: &str, place: &str| {
        eventually(&format!("{run} is told {place}"), async || {
            let notes = world.gitlab(&notes).await;
            let mut texts = notes.as_array()?.iter().filter_map(|it| it["body"].as_str());
            texts.any(|it| it.contains(run) && it.contains(place)).then_some(())
        })
        .await;
    };
    told("third", "place 2").await;
    std::fs::write(flag("first"), "").unwrap();
    succeeds(&world, &requests[0]).await;
    told("third", "place 1").await;
    assert_eq!(kinds(&world.history(&requests[2]).await.unwrap()).last(), Some(&"blocked"));
    for (name, request) in [("second", &requests[1]), ("third", &requests[2])] {
        std::fs::write(flag(name), "").unwrap();
        succeeds(&world, request).await;
    }
    world.stop().await;
}
