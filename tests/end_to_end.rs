//! From a message to a trained model and what GitLab shows of it, over sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use branchline_contract::Outcome;
use branchline_ledger::{Body, History};
use branchline_local::gitlab::Trigger;
use branchline_tests::eventually::eventually;
use branchline_tests::world::World;
use serde_json::{Value, json};

/// Leaves a model and metrics where Branchline looks for them.
const TRAIN: &str = r#"out="$CLOUD_STORAGE_MOUNT/${1#gs://}"; mkdir -p "$out/model"
echo weights > "$out/model/model.txt"; echo '{"accuracy": 0.5}' > "$out/metrics.json""#;

/// Codes of gRPC.
const INVALID_ARGUMENT: u16 = 3;
const PERMISSION_DENIED: u16 = 7;

fn kinds(history: &History) -> Vec<&'static str> {
    history.entries.iter().map(|it| it.fact.body.kind()).collect()
}

fn reason(history: &History) -> &str {
    history.run.ending().and_then(|it| it.reason.as_deref()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_becomes_one_model_one_status_and_one_note() {
    let world = World::start().await;
    let request = world.request("iris", &json!([world.artifact("a.csv", "1,2")]), TRAIN);
    world.publish(request.to_string()).await;

    let history = world.ended(&request, 1).await;
    // A job this short may end before it is seen running.
    let seen: Vec<_> = kinds(&history).into_iter().filter(|it| *it != "running").collect();
    let expected = ["requested", "verified", "admitted", "intended", "submitted", "finished"];
    assert_eq!(seen, expected);
    let ending = history.run.ending().unwrap();
    assert_eq!((ending.outcome, ending.metrics["accuracy"]), (Outcome::Succeeded, 0.5));
    assert!(ending.model_uri.as_ref().unwrap().ends_with("/model/"), "{ending:?}");

    eventually("the status is success", async || {
        (world.commit_status("iris").await? == "success").then_some(())
    })
    .await;
    let notes = format!("projects/{}/merge_requests/{}/notes", world.project_id, world.iid);
    let notes = world.gitlab(&notes).await;
    assert_eq!(notes.as_array().unwrap().len(), 1, "{notes}");
    assert!(notes[0]["body"].as_str().unwrap().contains("accuracy"), "{notes}");
    eventually("the queue is empty", async || {
        world.stack.storage.list("demo-queue", "queue/").is_empty().then_some(())
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_request_that_is_opened_after_the_run_has_ended_gets_its_note() {
    let world = World::start().await;
    let (gitlab, project) = (&world.stack.gitlab, world.project_id);
    gitlab.commit(project, "late", "Late", &[("b", b"b")]).unwrap();
    let job = gitlab.start_pipeline(project, Trigger::Push("late"), "train").unwrap();
    let mut request = world.request("iris", &json!([]), TRAIN);
    request["gitlab"]["sha"] = json!(job.sha);
    request["gitlab"]["ref"] = json!("late");
    request["gitlab"]["pipeline_id"] = json!(job.pipeline_id);
    request["gitlab"]["job_id"] = json!(job.id);
    request["gitlab"]["merge_request"] = Value::Null;
    world.publish(request.to_string()).await;
    world.ended(&request, 1).await;
    eventually("all of it is announced", async || {
        world.stack.storage.list("demo-queue", "queue/").is_empty().then_some(())
    })
    .await;
    let statuses =
        format!("projects/{project}/repository/commits/{}/statuses?name=branchline/iris", job.sha);
    eventually("the status is success", async || {
        (world.gitlab(&statuses).await[0]["status"] == "success").then_some(())
    })
    .await;
    // Runs of one name are reported one after another: behind another's status nobody looks any more.
    world.publish(world.request("iris", &json!([]), TRAIN).to_string()).await;
    eventually("another run is reported", async || world.commit_status("iris").await).await;

    let iid = gitlab.open_merge_request(project, "late", "main", "Late").unwrap();
    let job = gitlab.start_pipeline(project, Trigger::MergeRequest(iid), "train").unwrap();
    request["gitlab"]["pipeline_id"] = json!(job.pipeline_id);
    request["gitlab"]["job_id"] = json!(job.id);
    request["gitlab"]["merge_request"] = json!({"iid": iid, "target_branch": "main"});
    world.publish(request.to_string()).await;
    let notes = format!("projects/{project}/merge_requests/{iid}/notes");
    eventually("the note is written", async || {
        let notes = world.gitlab(&notes).await;
        notes[0]["body"].as_str().filter(|it| it.contains("accuracy")).map(drop)
    })
    .await;
    assert_eq!(world.jobs(&request).await, 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vertex_ai_will_not_begin_ends_the_run_with_its_words() {
    const WORDS: &str = "The service account is not ready.";
    // A precondition of a pipeline is no sign that its job exists.
    let answer = json!({"status": 400, "code": "FAILED_PRECONDITION", "message": WORDS});
    let rule = json!({"service": "vertex", "method": "POST", "path": "/pipelineJobs", "fault": {"answer": answer}});
    let faults = serde_json::from_value(json!({"rules": [rule]})).unwrap();
    let world = World::start_faulty(faults, None, json!({})).await;
    let mut request = world.request("iris", &json!([]), TRAIN);
    let spec = json!({
        "schemaVersion": "2.1.0", "sdkVersion": "kfp-2.7.0", "pipelineInfo": {"name": "iris"},
        "root": {"dag": {"tasks": {}}}, "components": {}, "deploymentSpec": {"executors": {}},
    });
    request["training"] = json!({"pipeline_job": {"pipelineSpec": spec, "runtimeConfig": {}}});
    world.publish(request.to_string()).await;
    let history = world.ended(&request, 1).await;
    let ending = history.run.ending().unwrap();
    assert_eq!((ending.outcome, ending.reason.as_deref()), (Outcome::Failed, Some(WORDS)));
    assert_eq!(kinds(&history).iter().filter(|it| **it == "intended").count(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_again_creates_one_job() {
    let world = World::start().await;
    let request = world.request("iris", &json!([]), TRAIN);
    for _ in 0..3 {
        world.publish(request.to_string()).await;
    }
    let history = world.ended(&request, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);

    let mut other_job = request.clone();
    other_job["gitlab"]["job_id"] = json!(world.job.id + 1);
    world.publish(other_job.to_string()).await;
    let history = eventually("the duplicate is on record", async || {
        let history = world.history(&request).await?;
        (kinds(&history).last() == Some(&"duplicate")).then_some(history)
    })
    .await;
    assert_eq!(kinds(&history).iter().filter(|it| **it == "intended").count(), 1);
    assert_eq!(world.jobs(&request).await, 1);
    eventually("one entry stood for all of them, and it is gone", async || {
        world.stack.storage.list("demo-queue", "queue/").is_empty().then_some(())
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_ci_job_retries_a_run_that_failed() {
    let world = World::start().await;
    let flag = world.stack.storage.create_bucket("flag-bucket").map(drop);
    flag.expect("the bucket is made");
    // Fails until the object is there.
    let script = r#"test -e "$CLOUD_STORAGE_MOUNT/flag-bucket/go" # gs://flag-bucket/go"#;
    let request = world.request("iris", &json!([]), script);
    world.publish(request.to_string()).await;
    let history = world.ended(&request, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Failed);
    assert!(reason(&history).contains("exited with a non-zero status of 1"), "{history:?}");
    eventually("the status is failed", async || {
        (world.commit_status("iris").await? == "failed").then_some(())
    })
    .await;

    // The same job's message once more is a redelivery, and no wish for another attempt.
    world.publish(request.to_string()).await;
    let marker = world.request("marker", &json!([]), TRAIN);
    world.publish(marker.to_string()).await;
    world.ended(&marker, 1).await;
    assert_eq!(kinds(&world.history(&request).await.unwrap()), kinds(&history));

    world.stack.storage.put("flag-bucket", "go", "go").unwrap();
    let mut again = request.clone();
    again["gitlab"]["job_id"] = json!(world.job.id + 1);
    world.publish(again.to_string()).await;
    let history = world.ended(&request, 2).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    assert_eq!(world.jobs(&request).await, 2);
    eventually("the status is success", async || {
        (world.commit_status("iris").await? == "success").then_some(())
    })
    .await;
    // The late redelivery of the first job's message starts no third attempt.
    world.publish(request.to_string()).await;
    let settled = eventually("it is taken in", async || {
        let pending = world.stack.storage.list("demo-queue", "queue/");
        pending.is_empty().then_some(world.history(&request).await?)
    })
    .await;
    assert_eq!(settled.run.attempt, 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_is_said_in_a_sentence_and_nothing_is_lost() {
    let world = World::start().await;
    let good = world.request("good", &json!([world.artifact("a.csv", "1,2")]), TRAIN);
    let with = |run: &str, change: &dyn Fn(&mut Value)| {
        let mut request = good.clone();
        request["run"] = json!(run);
        change(&mut request);
        request
    };
    let changed = world.artifact("b.csv", "3,4");
    world.artifact("b.csv", "5,6");
    let rejected = [
        (
            with("missing", &|it| {
                it["artifacts"][0]["uri"] = json!("gs://demo-artifacts/none.csv");
            }),
            "artifact data: gs://demo-artifacts/none.csv does not exist",
        ),
        (
            with("checksum", &|it| it["artifacts"][0]["crc32c"] = json!("AAAAAA==")),
            "artifact data: gs://demo-artifacts/a.csv has crc32c",
        ),
        (
            with("digest", &|it| it["artifacts"][0]["sha256"] = json!("0".repeat(64))),
            "artifact data: gs://demo-artifacts/a.csv has sha256",
        ),
        (
            with("size", &|it| it["artifacts"][0]["size"] = json!(99)),
            "artifact data: gs://demo-artifacts/a.csv has size 3, and 99 was announced",
        ),
        (
            with("changed", &|it| it["artifacts"][0] = changed.clone()),
            "artifact data: gs://demo-artifacts/b.csv was replaced: generation",
        ),
        (
            with("unpinned", &|it| it["artifacts"][0]["generation"] = json!(0)),
            "artifact data: gs://demo-artifacts/a.csv was replaced: generation",
        ),
        (
            with("misspelt", &|it| {
                let spec = &mut it["training"]["custom_job"]["jobSpec"]["workerPoolSpecs"][0];
                spec["machineSpec"]["acceleratorTyp"] = json!("NVIDIA_TESLA_T4");
            }),
            "training.custom_job.jobSpec.workerPoolSpecs[0].machineSpec.acceleratorTyp",
        ),
        (
            with("placeholder", &|it| {
                it["training"]["custom_job"]["displayName"] = json!("{{ artifacts.other.uri }}");
            }),
            "training.custom_job.displayName: there is no {{ artifacts.other.uri }}",
        ),
        (
            with("region", &|it| it["vertex"]["region"] = json!("us-central1")),
            "region us-central1 is not allowed here; allowed: europe-west4",
        ),
    ];
    for (request, _) in &rejected {
        world.publish(request.to_string()).await;
    }
    for (request, sentence) in &rejected {
        let history = world.ended(request, 1).await;
        assert_eq!(history.run.ending().unwrap().outcome, Outcome::Rejected, "{sentence}");
        assert!(reason(&history).contains(sentence), "{sentence}: {}", reason(&history));
        let run = history.run.request.run.as_str();
        eventually("the commit shows it", async || {
            (world.commit_status(run).await? == "failed").then_some(())
        })
        .await;
    }
    assert_eq!(world.jobs(&rejected[0].0).await, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_a_request_becomes_a_dead_letter_at_once() {
    let world = World::start().await;
    let good = world.request("good", &json!([]), TRAIN);
    // A body that has a token is published as it is.
    let mut no_sha = good.clone();
    no_sha["id_token"] = json!("none");
    no_sha["gitlab"]["sha"] = json!("main");
    let mut no_region = no_sha.clone();
    no_region["gitlab"] = good["gitlab"].clone();
    no_region["vertex"]["region"] = json!("nowhere");
    let cases = [
        ("\u{0}\u{1}garbage".to_owned(), "the message does not decode"),
        (no_sha.to_string(), "gitlab.sha: \"main\" is not a full commit hash"),
        (no_region.to_string(), "vertex.region: \"nowhere\" is not a Vertex AI region"),
        ("{}".to_owned(), "missing field `run`"),
    ];
    for (body, sentence) in cases {
        world.publish(body.clone()).await;
        let letter = world.dead_letter().await;
        assert_eq!(letter.data, body.as_bytes(), "{sentence}");
        assert_eq!(letter.class, "undecodable", "{sentence}");
        assert!(letter.detail.contains(sentence), "{sentence}: {}", letter.detail);
    }
    // The neighbours of what is wrong go on.
    world.publish(good.to_string()).await;
    assert_eq!(world.ended(&good, 1).await.run.ending().unwrap().outcome, Outcome::Succeeded);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_inputs_may_not_be_read_stalls_and_a_retry_of_its_ci_job_resumes_it() {
    let code = Arc::new(AtomicU16::new(PERMISSION_DENIED));
    let world = World::start_refusing(code.clone(), json!({})).await;
    let request = world.request("iris", &json!([world.artifact("a.csv", "1,2")]), TRAIN);
    world.publish(request.to_string()).await;
    let letter = world.dead_letter().await;
    assert_eq!(letter.class, "permission");
    assert!(letter.detail.contains("storage.objects.get"), "{}", letter.detail);
    let history = world.history(&request).await.unwrap();
    assert_eq!(kinds(&history), ["requested", "stalled"]);
    eventually("the commit shows that it waits", async || {
        (world.commit_status("iris").await? == "pending").then_some(())
    })
    .await;

    code.store(0, Ordering::SeqCst);
    let kept = String::from_utf8(letter.data).unwrap();
    assert!(kept.contains(r#""id_token":"REDACTED""#), "{kept}");
    world.publish(request.to_string()).await;
    let history = world.ended(&request, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    assert_eq!(kinds(&history)[..4], ["requested", "stalled", "verified", "admitted"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_run_goes_on_as_another_ci_job_s_and_no_more_as_the_first_one_s() {
    let code = Arc::new(AtomicU16::new(PERMISSION_DENIED));
    let world = World::start_refusing(code.clone(), json!({})).await;
    let first = world.request("iris", &json!([world.artifact("a.csv", "1,2")]), TRAIN);
    world.publish(first.to_string()).await;
    world.dead_letter().await;
    code.store(0, Ordering::SeqCst);
    let mut second = first.clone();
    second["gitlab"]["job_id"] = json!(world.job.id + 1);
    world.publish(second.to_string()).await;
    let history = world.ended(&first, 2).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    let known = ["requested", "stalled", "retried", "verified", "admitted"];
    assert_eq!(kinds(&history)[..5], known);
    let (asked, proven) = (history.run.request.gitlab.job_id, history.run.grounds.as_ref());
    assert_eq!((asked, &proven.unwrap().claims["job_id"]), (world.job.id + 1, &asked.to_string()));

    // The first job's message once more, in a replay for instance.
    world.publish(first.to_string()).await;
    let marker = world.request("marker", &json!([]), TRAIN);
    world.publish(marker.to_string()).await;
    world.ended(&marker, 1).await;
    assert_eq!(kinds(&world.history(&first).await.unwrap()), kinds(&history));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_cloud_storage_will_never_take_rejects_the_run() {
    let world = World::start_refusing(Arc::new(AtomicU16::new(INVALID_ARGUMENT)), json!({})).await;
    let request = world.request("iris", &json!([world.artifact("a.csv", "1,2")]), TRAIN);
    world.publish(request.to_string()).await;
    let history = world.ended(&request, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Rejected);
    assert!(reason(&history).contains("a.csv cannot be looked at"), "{}", reason(&history));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fact_is_chained_and_the_token_is_nowhere() {
    let world = World::start().await;
    let request = world.signed(world.request("secret", &json!([]), TRAIN));
    let segments: Vec<_> = request["id_token"].as_str().unwrap().split('.').collect();
    world.publish(request.to_string()).await;
    let history = world.ended(&request, 1).await;
    let chained = history.entries.windows(2).all(|it| it[1].fact.previous == Some(it[0].sha256));
    assert!(chained);
    assert!(matches!(&history.entries[0].fact.body, Body::Requested { request, .. }
        if request.id_token.is_none()));
    for bucket in ["demo-ledger", "demo-queue", "demo-output"] {
        for object in world.stack.storage.list(bucket, "") {
            let (_, content) = world.stack.storage.get(bucket, &object.name).unwrap();
            let text = String::from_utf8_lossy(&content);
            let found = segments.iter().any(|it| text.contains(it));
            assert!(!found, "{bucket}/{}: {text}", object.name);
        }
    }
    tokio::time::timeout(Duration::from_secs(10), world.stop()).await.expect("it drains");
}
