//! Staging over sockets: what was checked is what trains, whatever becomes of the originals.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use branchline_contract::{Artifact, Outcome};
use branchline_gcp::storage::{Objects as _, Source};
use branchline_ledger::{Body, History, State};
use branchline_local::faults::Faults;
use branchline_local::installation::{ARTIFACTS, OUTPUT, STAGING};
use branchline_tests::eventually::eventually;
use branchline_tests::world::{World, run_id};
use serde_json::{Value, json};

/// Leaves what it reads where the test finds it.
const TRAIN: &str = r#"mount="$CLOUD_STORAGE_MOUNT"; out="$mount/${1#gs://}"; mkdir -p "$out"
cat "$mount/${2#gs://}" > "$out/read""#;

/// A world whose worker stages inputs, where the wire does these things.
async fn start(rules: Value) -> World {
    let faults: Faults = serde_json::from_value(json!({"rules": rules})).unwrap();
    World::start_faulty(faults, None, json!({"staging": {"bucket": STAGING}})).await
}

/// A request that trains on one object.
fn request(world: &World, artifacts: &Value, input: &str) -> Value {
    let mut request = world.request("iris", artifacts, TRAIN);
    let pool = &mut request["training"]["custom_job"]["jobSpec"]["workerPoolSpecs"][0];
    pool["containerSpec"]["command"].as_array_mut().unwrap().push(json!(input));
    request
}

/// Where the copies of a request's artifact belong.
fn place(world: &World, request: &Value) -> String {
    format!("{}/{}/data/", world.project_id, run_id(request))
}

/// What the `verified` fact says of copies.
fn staged(history: &History) -> &[Artifact] {
    let verified = history.entries.iter().find_map(|it| match &it.fact.body {
        Body::Verified { staged, .. } => Some(staged.as_slice()),
        _ => None,
    });
    verified.expect("it was verified")
}

fn reason(history: &History) -> &str {
    let ending = history.run.ending().unwrap();
    assert_eq!(ending.outcome, Outcome::Rejected, "{ending:?}");
    ending.reason.as_deref().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_trains_on_the_copies_whatever_becomes_of_the_originals() {
    // What is verified and in line waits for a moment.
    let busy = json!({"answer": {"status": 429}});
    let world = start(json!([{"service": "vertex", "method": "POST", "fault": busy}])).await;
    // Three bytes take two calls.
    world.stack.storage.limit_rewrites(2);
    let mut artifacts = json!([world.artifact("d/a.csv", "1,2"), world.artifact("d/x/b.csv", "3")]);
    for artifact in artifacts.as_array_mut().unwrap() {
        artifact["directory"] = json!(format!("gs://{ARTIFACTS}/d/"));
    }
    let request = request(&world, &artifacts, "{{ artifacts.data.uri }}a.csv");
    for _ in 0..3 {
        world.publish(request.to_string()).await;
    }
    let history = eventually("it waits in line", async || {
        let history = world.history(&request).await?;
        matches!(history.run.state, State::Admitted | State::Intended).then_some(history)
    })
    .await;
    let root = place(&world, &request);
    let copies = world.stack.storage.list(STAGING, "");
    let names: Vec<_> = copies.iter().map(|it| it.name.clone()).collect();
    assert_eq!(names, [format!("{root}a.csv"), format!("{root}x/b.csv")]);
    for (it, copy) in staged(&history).iter().zip(&copies) {
        assert_eq!(it.uri.as_str(), format!("gs://{STAGING}/{}", copy.name));
        assert_eq!(it.directory.as_ref().unwrap().as_str(), format!("gs://{STAGING}/{root}"));
        assert_eq!(it.generation, copy.generation);
    }

    world.stack.storage.put(ARTIFACTS, "d/a.csv", "other").unwrap();
    let deleted = world.storage.stat(ARTIFACTS, "d/x/b.csv", None).await.unwrap();
    world.storage.delete(ARTIFACTS, "d/x/b.csv", deleted.generation).await.unwrap();
    world.stack.dice.set(Faults::default());
    let history = world.ended(&request, 1).await;
    let ending = history.run.ending().unwrap();
    assert_eq!(ending.outcome, Outcome::Succeeded, "{ending:?}");
    let job = world.vertex_job(history.run.job.as_ref().unwrap()).await.to_string();
    assert!(job.contains(&format!("gs://{STAGING}/{root}a.csv")), "{job}");
    assert!(!job.contains(ARTIFACTS), "{job}");
    let output = &history.run.submitted_by.as_ref().unwrap().output;
    let read = format!("{}read", output.strip_prefix(&format!("gs://{OUTPUT}/")).unwrap());
    assert_eq!(&world.stack.storage.get(OUTPUT, &read).unwrap().1[..], b"1,2");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replaced_before_it_is_copied_rejects_the_run() {
    let slow = json!({"delay_ms": 2_000});
    let world =
        start(json!([{"service": "storage", "path": "RewriteObject", "fault": slow}])).await;
    let artifacts = json!([world.artifact("a.csv", "1,2")]);
    let request = request(&world, &artifacts, "{{ artifacts.data.uri }}");
    world.publish(request.to_string()).await;
    eventually("it is verified and being copied", async || {
        (world.stack.dice.hits() == [1]).then_some(())
    })
    .await;
    world.stack.storage.put(ARTIFACTS, "a.csv", "3,4").unwrap();
    let history = world.ended(&request, 1).await;
    let reason = reason(&history);
    let expected = format!("artifact data: gs://{ARTIFACTS}/a.csv was replaced: ");
    assert!(reason.starts_with(&expected), "{reason}");
    assert!(world.stack.storage.list(STAGING, "").is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_staged_before_a_crash_is_staged_once() {
    // Nobody hears of the first copy, and its request comes again.
    let lost = json!({"service": "storage", "path": "RewriteObject", "fault": "drop_response", "times": 1});
    let world = start(json!([lost])).await;
    let artifact = world.artifact("a.csv", "1,2");
    let request = request(&world, &json!([artifact]), "{{ artifacts.data.uri }}");
    // As a worker leaves it that is killed before it writes the fact.
    let place = format!("{}a.csv", place(&world, &request));
    let generation = artifact["generation"].as_i64().unwrap();
    let source = Source { bucket: ARTIFACTS, name: "a.csv", generation };
    let left = world.storage.copy(source, STAGING, &place).await.unwrap_err();
    assert_eq!(left.class(), branchline_gcp::Class::Conflict, "it was made, and made again");
    let left = world.stack.storage.get(STAGING, &place).unwrap().0;
    world.publish(request.to_string()).await;
    let history = world.ended(&request, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    assert_eq!(staged(&history)[0].generation, left.generation);
    assert_eq!(world.stack.storage.list(STAGING, ""), [left]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_the_place_of_a_copy_has_to_be_one() {
    let world = start(json!([])).await;
    let artifacts = json!([world.artifact("a.csv", "1,2")]);
    let request = request(&world, &artifacts, "{{ artifacts.data.uri }}");
    let place = format!("{}a.csv", place(&world, &request));
    world.stack.storage.put(STAGING, &place, "3,4").unwrap();
    world.publish(request.to_string()).await;
    let history = world.ended(&request, 1).await;
    let reason = reason(&history);
    assert!(reason.starts_with(&format!("artifact data: gs://{STAGING}/{place} has crc32c ")));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_names_the_original_is_told_to_use_the_placeholder() {
    let world = start(json!([])).await;
    let artifacts = json!([world.artifact("a.csv", "1,2")]);
    let request = request(&world, &artifacts, &format!("gs://{ARTIFACTS}/a.csv"));
    world.publish(request.to_string()).await;
    let history = world.ended(&request, 1).await;
    assert!(reason(&history).ends_with("use {{ artifacts.data.uri }}"), "{}", reason(&history));
    assert!(world.stack.storage.list(STAGING, "").is_empty());
    world.stop().await;
}
