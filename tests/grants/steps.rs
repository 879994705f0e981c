//! A full run, step by step: everything that the permissions are for.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use branchline_contract::JobKind::{
    self, CustomJob, HyperparameterTuningJob, PipelineJob, TrainingPipeline,
};
use branchline_contract::{Envelope, Outcome, Request, RunId};
use branchline_gcp::pubsub::Message;
use branchline_gcp::storage::Objects as _;
use branchline_ledger::{RequestName, Requests, State};
use branchline_local::faults::Faults;
use branchline_local::installation::{
    ARTIFACTS, DEAD_LETTERS, LEDGER, OUTPUT, PROJECT, QUEUE, REQUESTS, subscription,
};
use branchline_tests::auditor::Told;
use branchline_tests::eventually::eventually;
use branchline_tests::naps::NAP;
use branchline_tests::roles::account;
use branchline_tests::world::run_id;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::scene::Scene;

/// What happens, and how it is made to.
type Step = (&'static str, fn(&mut Scene) -> LocalBoxFuture<'_, Result<()>>);

/// In this order; each may rest on those before.
pub(crate) const STEPS: &[Step] = &[
    ("CI publishes", |it| publishes(it).boxed_local()),
    ("the worker takes it in", |it| is_taken_in(it).boxed_local()),
    ("a custom job trains", |it| trains(it).boxed_local()),
    ("the commit shows it", |it| is_shown(it).boxed_local()),
    ("what is over leaves the queue", |it| leaves_the_queue(it).boxed_local()),
    ("CI waits for the end", |it| waits(it).boxed_local()),
    ("CI fetches the model", |it| is_fetched(it).boxed_local()),
    ("CI hears that the model is gone", |it| is_lost(it).boxed_local()),
    ("a tuning job trains", |it| nap(it, HyperparameterTuningJob).boxed_local()),
    ("a training pipeline trains", |it| nap(it, TrainingPipeline).boxed_local()),
    ("a pipeline trains", |it| nap(it, PipelineJob).boxed_local()),
    ("an operator cancels a custom job", |it| is_cancelled(it, CustomJob).boxed_local()),
    ("an operator cancels a tuning job", |it| {
        is_cancelled(it, HyperparameterTuningJob).boxed_local()
    }),
    ("an operator cancels a training pipeline", |it| {
        is_cancelled(it, TrainingPipeline).boxed_local()
    }),
    ("an operator cancels a pipeline", |it| is_cancelled(it, PipelineJob).boxed_local()),
    ("an input that is gone is refused", |it| is_gone(it).boxed_local()),
    ("an input that vanishes is refused", |it| vanishes(it).boxed_local()),
    ("what is refused is put away", |it| is_put_away(it).boxed_local()),
    ("an operator replays it", |it| is_replayed(it).boxed_local()),
    ("an operator hears that a letter is gone", |it| is_missing(it).boxed_local()),
    ("the notifier gives an event up", |it| is_given_up(it).boxed_local()),
    ("Pub/Sub moves what nobody settles", |it| is_moved(it).boxed_local()),
    ("a closed merge request ends its run", |it| is_closed(it).boxed_local()),
];

async fn publishes(scene: &mut Scene) -> Result<()> {
    let told = scene.ci(&["publish", "iris"]).await;
    ensure!(told.code == 0, "it ended with {}: {}", told.code, told.stderr);
    scene.published = Some(RunId::parse(told.stdout.trim())?);
    Ok(())
}

async fn is_taken_in(scene: &mut Scene) -> Result<()> {
    scene.published(|it| !matches!(it.run.state, State::Requested | State::Verified)).await;
    eventually("it is acked", async || scene.is_empty("artifact-ready-worker").then_some(())).await;
    Ok(())
}

async fn trains(scene: &mut Scene) -> Result<()> {
    let history = scene.published(|it| it.run.ending().is_some()).await;
    let ending = history.run.ending().context("it has ended")?;
    ensure!(ending.outcome == Outcome::Succeeded, "{ending:?}");
    ensure!(ending.metrics.contains_key("accuracy") && ending.model_uri.is_some(), "{ending:?}");
    Ok(())
}

async fn is_shown(scene: &mut Scene) -> Result<()> {
    eventually("the commit's status is set", async || {
        let status = scene.world.commit_status("iris").await;
        status.filter(|it| it == "success")
    })
    .await;
    Ok(())
}

async fn leaves_the_queue(scene: &mut Scene) -> Result<()> {
    eventually("the queue is empty", async || {
        scene.world.stack.storage.list(QUEUE, "queue/").is_empty().then_some(())
    })
    .await;
    Ok(())
}

/// The same job once more: what it uploads is there, and the run is over.
async fn waits(scene: &mut Scene) -> Result<()> {
    let told = scene.ci(&["publish", "iris", "--wait"]).await;
    ensure!(told.code == 0, "it ended with {}: {}", told.code, told.stderr);
    Ok(())
}

async fn is_fetched(scene: &mut Scene) -> Result<()> {
    let told = fetch(scene, "model").await;
    ensure!(told.code == 0, "it ended with {}: {}", told.code, told.stderr);
    Ok(())
}

async fn is_lost(scene: &mut Scene) -> Result<()> {
    let model = scene.world.stack.storage.list(OUTPUT, "").into_iter();
    let weights = model.map(|it| it.name).find(|it| it.ends_with("/model/weights"));
    delete(scene, OUTPUT, &weights.context("the model is there")?).await?;
    let told = fetch(scene, "gone").await;
    ensure!(told.code == 65, "it ended with {}: {}", told.code, told.stderr);
    Ok(())
}

async fn fetch(scene: &Scene, directory: &str) -> Told {
    let run = scene.published.as_ref().map(RunId::as_str).unwrap_or_default();
    scene.ci(&["fetch", run, "--output", directory]).await
}

async fn nap(scene: &mut Scene, kind: JobKind) -> Result<()> {
    let request = scene.request("nap", kind, NAP);
    scene.world.publish(request.to_string()).await;
    let history = scene.reaches(&request, |it| it.run.ending().is_some()).await;
    let ending = history.run.ending().context("it has ended")?;
    ensure!(ending.outcome == Outcome::Succeeded, "{ending:?}");
    Ok(())
}

async fn is_cancelled(scene: &mut Scene, kind: JobKind) -> Result<()> {
    let request = scene.request("long", kind, "sleep 600");
    scene.world.publish(request.to_string()).await;
    scene.reaches(&request, |it| it.run.state == State::Running).await;
    let id = kind.key().replace('_', "-");
    ask(scene, json!({"id": id, "kind": "cancel", "run": run_id(&request)})).await?;
    let history = scene.reaches(&request, |it| it.run.ending().is_some()).await;
    let ending = history.run.ending().context("it has ended")?;
    ensure!(ending.outcome == Outcome::Cancelled, "{ending:?}");
    eventually("the request is removed", async || {
        scene.world.stack.storage.list(REQUESTS, "requests/").is_empty().then_some(())
    })
    .await;
    Ok(())
}

/// Asks as an operator does.
async fn ask(scene: &Scene, mut request: Value) -> Result<RequestName> {
    request["actor"] = json!("anna");
    request["reason"] = json!("wrong data");
    let request: Request = serde_json::from_value(request)?;
    let name = RequestName::new(Timestamp::now(), &request.id);
    door(scene).ask(&name, &request).await?;
    Ok(name)
}

fn door(scene: &Scene) -> Requests {
    let storage = Arc::new(scene.world.storage.clone());
    Requests::new(storage, REQUESTS.to_owned(), LEDGER.to_owned())
}

/// A request for an input that CI has uploaded.
fn with_input(scene: &Scene, name: &str) -> Value {
    let mut request = scene.request(name, CustomJob, "true");
    request["artifacts"] = json!([scene.world.artifact(name, "1,2")]);
    request
}

async fn delete(scene: &Scene, bucket: &str, name: &str) -> Result<()> {
    let storage = &scene.world.storage;
    let generation = storage.stat(bucket, name, None).await?.generation;
    Ok(storage.delete(bucket, name, generation).await?)
}

async fn is_refused(scene: &Scene, request: &Value) -> Result<()> {
    let history = scene.reaches(request, |it| it.run.ending().is_some()).await;
    let ending = history.run.ending().context("it has ended")?;
    let reason = ending.reason.as_deref().unwrap_or_default();
    let told = ending.outcome == Outcome::Rejected && reason.ends_with("does not exist");
    ensure!(told, "{ending:?}");
    Ok(())
}

async fn is_gone(scene: &mut Scene) -> Result<()> {
    let request = with_input(scene, "gone");
    delete(scene, ARTIFACTS, "gone").await?;
    scene.world.publish(request.to_string()).await;
    is_refused(scene, &request).await
}

/// It is there when it is looked at, and is not when it is copied.
async fn vanishes(scene: &mut Scene) -> Result<()> {
    let request = with_input(scene, "vanishing");
    let slow = json!({"service": "storage", "path": "RewriteObject", "fault": {"delay_ms": 2_000}});
    scene.world.stack.dice.set(serde_json::from_value(json!({"rules": [slow]}))?);
    scene.world.publish(request.to_string()).await;
    eventually("it is being copied", async || (scene.world.stack.dice.hits() == [1]).then_some(()))
        .await;
    delete(scene, ARTIFACTS, "vanishing").await?;
    let refused = is_refused(scene, &request).await;
    scene.world.stack.dice.set(Faults::default());
    refused
}

/// Nonsense, and what is asked with the token of another request.
async fn is_put_away(scene: &mut Scene) -> Result<()> {
    scene.world.publish_as_it_is("nonsense").await;
    scene.letter(|it| it.class == "undecodable" && it.role == "worker").await;
    let mut request = scene.request("iris", CustomJob, "true");
    request["id_token"] = json!(scene.token);
    scene.world.publish_as_it_is(request.to_string()).await;
    scene.letter(|it| it.class == "refused" && it.proven).await;
    Ok(())
}

/// It comes back, for it is refused again.
async fn is_replayed(scene: &mut Scene) -> Result<()> {
    let letter = scene.letter(|it| it.class == "refused" && it.proven).await;
    ask(scene, json!({"id": "replay", "kind": "replay", "letters": [letter.pick()]})).await?;
    scene.letter(|it| it.role == "worker" && it.replays == 1).await;
    Ok(())
}

/// As when its bucket's lifecycle has ended it.
async fn is_missing(scene: &mut Scene) -> Result<()> {
    let letter = scene.letter(|it| it.class == "undecodable" && it.role == "worker").await;
    let objects = format!("letters/{}/", letter.id);
    for object in scene.world.stack.storage.list(DEAD_LETTERS, &objects) {
        delete(scene, DEAD_LETTERS, &object.name).await?;
    }
    let request = json!({"id": "replay-missing", "kind": "replay", "letters": [letter.pick()]});
    let (name, door) = (ask(scene, request).await?, door(scene));
    let answer = eventually("the request is answered", async || {
        door.answered(&name).await.expect("the owner may read it")
    })
    .await;
    ensure!(answer.counts.contains_key("not in the archive"), "{answer:?}");
    Ok(())
}

async fn is_given_up(scene: &mut Scene) -> Result<()> {
    scene.send("run-events", Message { data: "nonsense".into(), ..Message::default() }).await?;
    scene.letter(|it| it.class == "undecodable" && it.role == "notifier").await;
    Ok(())
}

/// The event of a run that nobody knows: the notifier waits for the ledger to show it.
async fn is_moved(scene: &mut Scene) -> Result<()> {
    impatient(scene).await?;
    let history = scene.published(|_| true).await;
    let mut event = history.events.last().context("it has events")?.clone();
    event.run_id = RunId::parse("nobody-0123456789abcdef0123")?;
    let Envelope { data, attributes, .. } = Envelope::run_event(&event);
    let ordering_key = Some(event.run_id.to_string());
    let message = Message { data: data.into(), attributes, ordering_key };
    scene.send("run-events", message).await?;
    scene.letter(|it| it.reason == "deliveries-exhausted").await;
    Ok(())
}

/// As few deliveries as Pub/Sub takes, and as close to each other.
async fn impatient(scene: &Scene) -> Result<()> {
    let stack = &scene.world.stack;
    let name = subscription(PROJECT, "run-events-notifier");
    let url = format!("http://{}/v1/{name}", stack.endpoints().pubsub);
    let body = json!({
        "subscription": {
            "name": name,
            "retryPolicy": {"minimumBackoff": "0s", "maximumBackoff": "0s"},
            "deadLetterPolicy": {
                "deadLetterTopic": format!("projects/{PROJECT}/topics/dead-letters"),
                "maxDeliveryAttempts": 5,
            },
        },
        "updateMask": "retryPolicy,deadLetterPolicy",
    });
    let token = stack.iam.account_token(&account("owner"));
    let patch = reqwest::Client::new().patch(url).bearer_auth(token).json(&body);
    let answer = patch.send().await?;
    ensure!(answer.status().is_success(), "{}", answer.text().await?);
    Ok(())
}

async fn is_closed(scene: &mut Scene) -> Result<()> {
    let request = scene.request("unwanted", CustomJob, "sleep 600");
    scene.world.publish(request.to_string()).await;
    scene.reaches(&request, |it| it.run.state == State::Running).await;
    let world = &scene.world;
    world.stack.gitlab.close_merge_request(world.project_id, world.iid)?;
    let history = scene.reaches(&request, |it| it.run.ending().is_some()).await;
    let ending = history.run.ending().context("it has ended")?;
    ensure!(ending.outcome == Outcome::Cancelled, "{ending:?}");
    Ok(())
}
