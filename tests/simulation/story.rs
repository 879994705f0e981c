//! One seed: what is asked for, who lives and dies, and what must have come of it.

use std::time::Duration;

use branchline_contract::{ArtifactReady, Crc32c, Envelope, JobKind, Outcome, RunId};
use branchline_gcp::pubsub::Message;
use branchline_ledger::State as RunState;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::dead::all_dead;
use crate::identity;
use crate::pubsub::Topics;
use crate::roles::work;
use crate::world::{State, Texts, World, wall_clock};

pub(crate) const LEDGER: &str = "ledger";
pub(crate) const QUEUE: &str = "queue";
pub(crate) const OPERATORS: &str = "requests";
pub(crate) const OUTPUT: &str = "output";
pub(crate) const ARTIFACTS: &str = "artifacts";
pub(crate) const STAGING: &str = "staging";
pub(crate) const GONE: &str = "gs://artifacts/gone";
pub(crate) const REQUESTS: &str = "projects/p/subscriptions/artifact-ready";
pub(crate) const EVENTS: &str = "projects/p/subscriptions/run-events";
pub(crate) const ARTIFACT_READY: &str = "projects/p/topics/artifact-ready";
pub(crate) const RUN_EVENTS: &str = "projects/p/topics/run-events";
pub(crate) const DEAD_LETTERS: &str = "projects/p/topics/dead-letters";
pub(crate) const MOVED: &str = "projects/p/subscriptions/dead-letters";
pub(crate) const ARCHIVE: &str = "dead-letters";
pub(crate) const HOST: &str = "gitlab.example.com";
pub(crate) const PROCESSES: [&str; 3] = ["worker-0", "worker-1", "notifier"];

pub(crate) const SETTLE: Duration = Duration::from_secs(20);
/// Everything has to be over so long after the last fault.
pub(crate) const PATIENCE: Duration = Duration::from_hours(2);
/// How long the world is watched when all is done: nothing may begin again.
const AFTERWARDS: Duration = Duration::from_mins(2);

/// What became of a seed.
pub(crate) struct Told {
    /// What did not hold, if anything.
    pub(crate) broken: Option<String>,
    /// Every call, in order.
    pub(crate) trace: Vec<String>,
    /// Faults by the state of the run that they met.
    pub(crate) seen: std::collections::BTreeSet<(&'static str, crate::world::Fault)>,
    /// Events that were published again.
    pub(crate) repeats: u32,
    /// Stalled attempts that went on as another CI job's.
    pub(crate) taken_over: u32,
    /// Runs that were asked for.
    pub(crate) runs: usize,
}

/// Tells the story of one seed, on a clock of its own.
pub(crate) fn tell(seed: u64) -> Told {
    tell_of(seed, |_| ())
}

/// The same where runs train on copies.
pub(crate) fn tell_of_copies(seed: u64) -> Told {
    tell_of(seed, |state| state.staging = true)
}

/// The same where a message soon becomes a dead letter.
pub(crate) fn tell_of_dead_letters(seed: u64) -> Told {
    tell_of(seed, |state| state.deliveries_max = 3)
}

fn tell_of(seed: u64, change: impl FnOnce(&mut State)) -> Told {
    runtime().block_on(async {
        let world = World::new(seed, &PROCESSES);
        change(&mut world.state());
        let requests = prepare(&world);
        let stop = CancellationToken::new();
        let lives: Vec<_> = (0..PROCESSES.len())
            .map(|it| tokio::spawn(live(world.clone(), it, stop.clone())))
            .collect();
        let asked = tokio::spawn(ask(world.clone(), requests.clone()));
        let operated = tokio::spawn(operate(world.clone(), requests.clone()));
        let broken = watch(&world, &requests, &asked).await;
        stop.cancel();
        operated.abort();
        for life in lives {
            life.abort();
        }
        let state = world.state();
        let broken = state.law.broken.clone().or(broken);
        Told {
            broken,
            trace: state.trace.clone(),
            seen: state.seen.clone(),
            repeats: state.law.repeats,
            taken_over: state.law.taken_over,
            runs: requests.len(),
        }
    })
}

/// A runtime of this thread, whose clock goes on when everybody waits.
pub(crate) fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().expect("a runtime")
}

/// Makes the subscriptions of an installation.
pub(crate) fn subscribe(topics: &mut Topics) {
    topics.subscribe(REQUESTS, ARTIFACT_READY);
    topics.subscribe(EVENTS, RUN_EVENTS);
    topics.subscribe(MOVED, DEAD_LETTERS);
}

/// Decides what the seed is about.
fn prepare(world: &World) -> Vec<ArtifactReady> {
    let mut state = world.state();
    state.calm_from = state.millis(60_000..400_000);
    state.rarity = [5, 20, 80][state.rng.usize(..3)];
    subscribe(&mut state.topics);
    // Together they stay within the settle time, or they do not.
    let lag = if state.rng.u32(..5) == 0 { SETTLE * 4 } else { SETTLE / 2 };
    (state.jobs.wire_lag, state.jobs.list_lag) = (lag, lag);
    state.law.surplus_allowed = lag > SETTLE;
    if state.rng.u32(..8) == 0 {
        state.jobs.forbidden_until = state.millis(0..200_000);
    }
    if state.rng.u32(..8) == 0 {
        state.jobs.exhausted_until = state.millis(0..200_000);
    }
    // Drawn apart, so that the seeds on record go on telling their stories.
    let mut apart = fastrand::Rng::with_seed(state.rng.clone().u64(..));
    if apart.u32(..6) == 0 {
        let mut millis = |range| Duration::from_millis(apart.u64(range));
        let (from, time) = (millis(0..100_000), millis(1_000..60_000));
        state.lease_out = from..(from + time).min(state.calm_from);
    }
    (0..state.rng.u64(1..4)).map(|number| request(&mut state, number)).collect()
}

pub(crate) fn request(state: &mut State, number: u64) -> ArtifactReady {
    let kinds = [
        JobKind::CustomJob,
        JobKind::PipelineJob,
        JobKind::HyperparameterTuningJob,
        JobKind::TrainingPipeline,
    ];
    let kind = kinds[state.rng.usize(..kinds.len())];
    let pools = json!([{
        "machineSpec": {"machineType": "n1-standard-4"},
        "replicaCount": 1,
        "containerSpec": {"imageUri": "debian"},
    }]);
    let body: Value = match kind {
        JobKind::CustomJob => json!({"jobSpec": {"workerPoolSpecs": pools}}),
        JobKind::HyperparameterTuningJob => json!({"trialJobSpec": {"workerPoolSpecs": pools}}),
        JobKind::TrainingPipeline => json!({
            "trainingTaskDefinition": "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml",
            "trainingTaskInputs": {"workerPoolSpecs": pools},
        }),
        JobKind::PipelineJob => json!({"pipelineSpec": {"root": {}}}),
    };
    let (content, name) = (Bytes::from_static(b"iris"), format!("a/{number}"));
    let object = state.buckets.put(ARTIFACTS, &name, content.clone(), Texts::new());
    let missing = state.rng.u32(..12) == 0;
    let uri = if missing { GONE.to_owned() } else { format!("gs://{ARTIFACTS}/{name}") };
    serde_json::from_value(json!({
        "run": "iris",
        "attempts_max": 1 + number % 3,
        "artifacts": [{
            "name": "data", "uri": uri, "generation": object.generation,
            "size": content.len(), "crc32c": Crc32c(crc32c::crc32c(&content)),
        }],
        "training": {kind.key(): body},
        "vertex": {"project": "p", "region": "europe-west4"},
        "gitlab": {
            "host": HOST, "project_id": 100 + number, "project_path": "team/iris",
            "sha": format!("{number:040x}"), "ref": "try", "pipeline_id": 1, "job_id": 10 * (number + 1),
        },
    }))
    .expect("a request")
}

/// CI jobs ask, some of them twice, and now and then another one asks for the same.
async fn ask(world: World, requests: Vec<ArtifactReady>) {
    for mut request in requests {
        let (pause, copies, again) = {
            let mut state = world.state();
            (state.millis(0..60_000), state.rng.u32(1..4), state.rng.u32(..3))
        };
        sleep(pause).await;
        for other in 0..=again {
            request.gitlab.job_id += u64::from(other.min(1));
            identity::sign(&mut request);
            for _ in 0..copies {
                let Envelope { data, attributes } =
                    Envelope::artifact_ready(&request, wall_clock());
                let message = Message { data: data.into(), attributes, ordering_key: None };
                world.state().publish(ARTIFACT_READY, &message);
            }
            let pause = world.state().millis(0..120_000);
            sleep(pause).await;
        }
    }
}

/// Operators cancel a run now and then, have one tried once more, and pause what they resume.
async fn operate(world: World, requests: Vec<ArtifactReady>) {
    let put = |number: u32, ask: Value| {
        let mut request = json!({"id": format!("r{number}"), "actor": "anna", "reason": "why not"});
        request.as_object_mut().expect("it is one").extend(ask.as_object().expect("too").clone());
        let name = format!("requests/20261123T00000000000{number}-r{number}");
        let content = Bytes::from(request.to_string());
        world.state().buckets.put(OPERATORS, &name, content, Texts::new());
    };
    let (pauses, cancels, retries, pause, resume, cancel, retry, again) = {
        let mut state = world.state();
        let mut often = || state.rng.u32(..4) == 0;
        let (pauses, cancels, retries) = (often(), often(), often());
        let mut millis = |max| state.millis(0..max);
        let (pause, resume, cancel) = (millis(60_000), millis(60_000), millis(60_000));
        (pauses, cancels, retries, pause, resume, cancel, millis(300_000), millis(60_000))
    };
    let domain = |kind: &str| json!({"kind": kind, "project": "p", "region": "europe-west4"});
    if pauses {
        sleep(pause).await;
        put(1, domain("pause"));
        sleep(resume).await;
        put(2, domain("resume"));
    }
    if cancels {
        sleep(cancel).await;
        put(3, json!({"kind": "cancel", "run": RunId::derive(&requests[0]).0}));
    }
    if retries {
        sleep(retry).await;
        let (run, project_id) = (RunId::derive(&requests[0]).0, requests[0].gitlab.project_id);
        let retry = json!({"kind": "retry", "run": run, "project_id": project_id, "force": true});
        put(4, retry.clone());
        put(5, retry.clone());
        sleep(again).await;
        // From a client that repeats itself.
        put(4, retry);
    }
}

/// The lives of one process: each ends by a kill, by a rollout, or never.
pub(crate) async fn live(world: World, process: usize, end: CancellationToken) {
    while !end.is_cancelled() {
        let (door, killed) = world.begin(process);
        let stop = CancellationToken::new();
        let (rollout, gap) = {
            let mut state = world.state();
            let rollout = if state.chance(2) { state.millis(1_000..200_000) } else { PATIENCE * 2 };
            (rollout, state.millis(0..20_000))
        };
        let (life, stopping) = (door.life, stop.clone());
        let rolled = async {
            sleep(rollout).await;
            stopping.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = killed.notified() => {}
            () = rolled => {}
            () = work(door, stop) => {}
        }
        world.state().end(process, life);
        sleep(gap).await;
    }
}

/// Watches until all is done and stays so, or something does not hold.
async fn watch(
    world: &World,
    requests: &[ArtifactReady],
    asked: &tokio::task::JoinHandle<()>,
) -> Option<String> {
    let mut done_for = Duration::ZERO;
    loop {
        let step = Duration::from_secs(5);
        sleep(step).await;
        let state = world.state();
        if let Some(broken) = &state.law.broken {
            return Some(broken.clone());
        }
        let open = if asked.is_finished() {
            open(&state, requests)
        } else {
            Some("not all was asked for".to_owned())
        };
        match open {
            None if state.is_calm() => done_for += step,
            None | Some(_) => done_for = Duration::ZERO,
        }
        if done_for >= AFTERWARDS {
            return None;
        }
        if let Some(open) = open.filter(|_| state.now() > state.calm_from + PATIENCE) {
            return Some(format!("not done {} s after the last fault: {open}", PATIENCE.as_secs()));
        }
    }
}

/// What is not done yet.
fn open(state: &State, requests: &[ArtifactReady]) -> Option<String> {
    for request in requests {
        let (id, _) = RunId::derive(request);
        let Some(kept) = state.law.runs().find(|it| it.run.id == id) else {
            if all_dead(&state.topics.published, &state.law.buried, &id) {
                continue;
            }
            return Some(format!("{id} was not requested"));
        };
        if !kept.is_announced() {
            return Some(format!("{id} is {:?} and not announced", kept.run.state));
        }
        let RunState::Finished(ending) = &kept.run.state else {
            return Some(format!("{id} is not over"));
        };
        let wanted = match ending.outcome {
            Outcome::Succeeded => "success",
            Outcome::Cancelled => "canceled",
            Outcome::Failed | Outcome::Expired | Outcome::Rejected => "failed",
        };
        let shown = state.gitlab.status(request.gitlab.sha.as_str(), "branchline/iris");
        if shown != Some(wanted) {
            return Some(format!("{id} is {wanted}, and GitLab shows {shown:?}"));
        }
        let notes =
            state.gitlab.notes.iter().filter(|it| it.0 == request.gitlab.project_id).count();
        if notes != 1 {
            return Some(format!("{id} has {notes} notes"));
        }
    }
    if let Some(surplus) = state.law.surplus(&state.live_jobs()) {
        return Some(surplus);
    }
    if let Some(left) = state.buckets.names(OPERATORS, "").next() {
        return Some(format!("{left} is not answered"));
    }
    if let Some(entry) = state.buckets.names(QUEUE, "queue/").find(|it| !state.law.is_early(it)) {
        return Some(format!("{entry} is left in the queue"));
    }
    let left = [REQUESTS, EVENTS].into_iter().find(|it| !state.topics.is_empty(it));
    left.map(|it| format!("{it} has messages"))
}
