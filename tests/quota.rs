//! What a run waits for at Vertex AI, over sockets: roles, machines, its turn.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use axum::http::Method;
use branchline_contract::Outcome;
use branchline_ledger::{Body, History};
use branchline_tests::eventually::eventually;
use branchline_tests::world::World;
use serde_json::{Value, json};

const QUOTA: &str = "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_nvidia_t4_gpus";
const WAITS: &str =
    "waits for quota of aiplatform.googleapis.com/custom_model_training_nvidia_t4_gpus";

fn kinds(history: &History) -> Vec<&'static str> {
    history.entries.iter().map(|it| it.fact.body.kind()).collect()
}

fn refusal(code: u16, status: &str, message: &str) -> (u16, Value) {
    (code, json!({"error": {"code": code, "status": status, "message": message}}))
}

/// The request's run wants an accelerator.
fn with_gpu(mut request: Value) -> Value {
    let pool = &mut request["training"]["custom_job"]["jobSpec"]["workerPoolSpecs"][0];
    pool["machineSpec"]["acceleratorType"] = json!("NVIDIA_TESLA_T4");
    pool["machineSpec"]["acceleratorCount"] = json!(1);
    request
}

fn wants_gpu(body: &Value) -> bool {
    body.pointer("/jobSpec/workerPoolSpecs/0/machineSpec/acceleratorCount").is_some()
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
    static GRANTED: AtomicBool = AtomicBool::new(false);
    let gate = |method: &Method, _: &str, _: &Value| {
        let missing = "Permission 'aiplatform.customJobs.create' denied on resource";
        let refused = method == Method::POST && !GRANTED.load(Ordering::SeqCst);
        refused.then(|| refusal(403, "PERMISSION_DENIED", missing))
    };
    let world = World::start_gated(gate, json!({})).await;
    let request = world.request("iris", &json!([]), "true");
    world.publish(request.to_string()).await;
    waits(&world, &request, "(missing: aiplatform.customJobs.create)").await;
    let notes = format!("projects/{}/merge_requests/{}/notes", world.project_id, world.iid);
    eventually("the commit shows what is missing", async || {
        world.gitlab(&notes).await.to_string().contains("customJobs.create").then_some(())
    })
    .await;

    GRANTED.store(true, Ordering::SeqCst);
    let history = succeeds(&world, &request).await;
    let blocked = kinds(&history).into_iter().filter(|it| *it == "blocked").count();
    assert_eq!(blocked, 1, "it is said once, however often it was tried");
    assert_eq!(world.jobs(&request).await, 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_whose_machines_are_exhausted_wait_together_and_hold_nobody_up() {
    static EXHAUSTED: AtomicBool = AtomicBool::new(true);
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let gate = |method: &Method, _: &str, body: &Value| {
        let create = method == Method::POST && wants_gpu(body);
        ASKED.fetch_add(u32::from(create), Ordering::SeqCst);
        let refused = create && EXHAUSTED.load(Ordering::SeqCst);
        refused.then(|| refusal(429, "RESOURCE_EXHAUSTED", QUOTA))
    };
    let world = World::start_gated(gate, json!({})).await;
    let gpu = |number: u32| with_gpu(world.request(&format!("gpu-{number}"), &json!([]), "true"));
    let first = gpu(0);
    world.publish(first.to_string()).await;
    waits(&world, &first, WAITS).await;
    let asked = ASKED.load(Ordering::SeqCst);
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
    let asked = ASKED.load(Ordering::SeqCst) - asked;
    assert!(asked < 10, "{asked} calls for {} runs", others.len() + 1);

    EXHAUSTED.store(false, Ordering::SeqCst);
    for request in others.iter().chain([&first]) {
        succeeds(&world, request).await;
        assert_eq!(world.jobs(request).await, 1);
    }
    world.stop().await;
}

/// Its first job fails for want of quota, after it was accepted.
fn first_job_fails(method: &Method, path: &str, _: &Value) -> Option<(u16, Value)> {
    static FIRST: std::sync::Mutex<String> = std::sync::Mutex::new(String::new());
    let mut first = FIRST.lock().unwrap();
    if method != Method::GET || !path.contains("/customJobs/") {
        return None;
    }
    if first.is_empty() {
        path.clone_into(&mut first);
    }
    let name = path.strip_prefix("/v1/")?;
    let error = json!({"code": 8, "message": QUOTA});
    let job = json!({"name": name, "state": "JOB_STATE_FAILED", "error": error});
    (*first == path).then_some((200, job))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_for_want_of_quota_is_tried_again_where_the_request_allows_it() {
    let world = World::start_gated(first_job_fails, json!({})).await;
    let mut request = world.request("iris", &json!([]), "true");
    request["attempts_max"] = json!(2);
    world.publish(request.to_string()).await;
    let waiting = waits(&world, &request, "attempt 1 ended for want of quota").await;
    assert_eq!((waiting.run.attempt, waiting.run.job.as_deref()), (2, None));

    let history = world.ended(&request, 2).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    assert_eq!(world.jobs(&request).await, 2);
    let ends = history.entries.iter().filter(|it| matches!(it.fact.body, Body::Finished { .. }));
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
    let gate = |_: &Method, _: &str, _: &Value| None;
    let world = World::start_gated(gate, json!({"active_runs_per_project_max": 1})).await;
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
