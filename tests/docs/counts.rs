//! The calls of one run, and of a leader that has nothing to do, as `docs/cost.md` and `docs/scaling.md` have them:
//! counted from the log of the wire.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use branchline_local::gitlab::Trigger;
use branchline_local::installation::{ARTIFACTS, LEDGER, PROJECT};
use branchline_tests::identity::signed;
use branchline_tests::installation::REGION;
use branchline_tests::processes::free_ports;
use branchline_tests::rolled::{Rolled, within};
use branchline_tests::world::run_id;
use serde_json::{Value, json};

use crate::blocks::top;

/// Runs over which is averaged.
const RUNS: f64 = 5.0;
/// Of a custom job that succeeds: requested, verified, admitted, intended, submitted, running, finished.
const FACTS: usize = 7;
const FREE: &str = "Cloud Storage, deletes";
/// Between what the documents say and what is counted may lie so much, for rounds meet facts as it happens.
const APART: f64 = 0.2;

/// What a call is to whoever pays for it.
fn class(call: &Value) -> Option<&'static str> {
    let text = |key: &str| call[key].as_str().unwrap_or_default();
    let (method, path) = (text("method"), text("path"));
    Some(match text("service") {
        "storage" if path.ends_with("/ListObjects") => "Cloud Storage, lists",
        "storage" if path.ends_with("/DeleteObject") => FREE,
        "storage" if ["/GetObject", "/ReadObject"].iter().any(|it| path.ends_with(it)) => {
            "Cloud Storage, class B"
        }
        "storage" if method == "GET" => "Cloud Storage, class B",
        "storage" if path.contains("/demo-ledger/") => "Cloud Storage, facts",
        "storage" => "Cloud Storage, other writes",
        "pubsub" if path.ends_with(":publish") || path.ends_with("/Publish") => "Pub/Sub, messages",
        "vertex" if method == "POST" => "Vertex AI, submissions",
        "gitlab" if path.starts_with("/api/") => "GitLab, calls",
        _ => return None,
    })
}

fn counted(calls: &[Value]) -> BTreeMap<&'static str, f64> {
    let mut counts = BTreeMap::new();
    for class in calls.iter().filter_map(class) {
        *counts.entry(class).or_default() += 1.0;
    }
    counts
}

/// The rounds that the leader has done.
async fn rounds(health: &str) -> f64 {
    let metrics =
        reqwest::get(format!("http://{health}/metrics")).await.unwrap().text().await.unwrap();
    let line = metrics
        .lines()
        .find(|it| it.starts_with("branchline_rounds_total{") && it.contains("done"));
    line.and_then(|it| it.rsplit_once(' ')).map_or(0.0, |(_, count)| count.parse().unwrap())
}

/// Waits until nobody has said anything to GitLab for a second.
async fn silence(at: &Rolled) {
    let said = || at.wire().iter().filter(|it| it["service"] == "gitlab").count();
    let mut before = 0;
    while said() != before {
        before = said();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// What a document says, where that is not what was counted, roughly.
fn differs(document: &str, row: &str, counted: f64) -> Option<String> {
    let text = fs::read_to_string(top().join("docs").join(document)).unwrap();
    let told = text.lines().find_map(|it| it.strip_prefix(&format!("| {row} | ")));
    let told: Option<f64> = told.and_then(|it| it.split(' ').next()?.parse().ok());
    let close = |told: f64| (told - counted).abs() <= (APART * told).max(1.0);
    let wrong = !told.is_some_and(close);
    wrong.then(|| format!("{document}: {row}: {counted:.1}, and not {told:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_takes_as_many_calls_as_is_said() {
    let at = Rolled::start().await;
    let gitlab = &at.stack.gitlab;
    let project = gitlab.create_project("team/iris", "main", &[("a", b"a")]).unwrap();
    gitlab.commit(project, "try", "Try", &[("b", b"b")]).unwrap();
    let iid = gitlab.open_merge_request(project, "try", "main", "Try").unwrap();
    let job = gitlab.start_pipeline(project, Trigger::MergeRequest(iid), "train").unwrap();
    let artifact = at.stack.storage.put(ARTIFACTS, "a.csv", "1").unwrap();

    let [port] = free_ports();
    let health = format!("127.0.0.1:{port}");
    let issuers = json!([{"issuer": at.gitlab()}]);
    // With a lease that is not written meanwhile.
    let told = json!({"identity": {"issuers": issuers}, "lease": "30m", "listen": port});
    let worker = at.worker(&told).await;
    let token = at.path("token");
    fs::write(&token, gitlab.token()).unwrap();
    let notifier = at.notifier(&token).await;
    within("it leads", async || rounds(&health).await > 2.0).await;

    let (calls, before) = (at.wire().len(), rounds(&health).await);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (idle, idle_rounds) = (counted(&at.wire()[calls..]), rounds(&health).await - before);
    // A round that is half over when it is counted shifts it by a little.
    let lists = (idle["Cloud Storage, lists"] / idle_rounds).round();

    let (calls, before) = (at.wire().len(), rounds(&health).await);
    for number in ["a", "b", "c", "d", "e"] {
        let container = json!({"imageUri": "debian", "command": ["sleep", "1"]});
        let request = json!({
            "run": format!("iris-{number}"),
            "artifacts": [{
                "name": "data", "uri": "gs://demo-artifacts/a.csv", "generation": artifact.generation,
                "size": 1, "crc32c": branchline_contract::Crc32c(crc32c::crc32c(b"1")),
            }],
            "training": {"custom_job": {"jobSpec": {"workerPoolSpecs": [{
                "machineSpec": {"machineType": "n1-standard-4"},
                "replicaCount": 1,
                "containerSpec": container,
            }]}}},
            "vertex": {"project": PROJECT, "region": REGION},
            "gitlab": {
                "host": at.gitlab().trim_start_matches("http://"),
                "project_id": project,
                "project_path": "team/iris",
                "sha": job.sha,
                "ref": "try",
                "pipeline_id": job.pipeline_id,
                "job_id": job.id,
                "merge_request": {"iid": iid, "target_branch": "main"},
            },
        });
        let request = signed(&gitlab.signer().unwrap(), request);
        at.publish(&request).await;
        // Looked at beneath the wire, and not over it.
        let facts = format!("runs/{project}/{}/", run_id(&request));
        within("its end is on record", async || {
            at.stack.storage.list(LEDGER, &facts).len() == FACTS
        })
        .await;
        silence(&at).await;
    }
    let run_rounds = rounds(&health).await - before;
    let mut run = counted(&at.wire()[calls..]);
    // By this test itself, and by rounds that would have been without runs.
    *run.get_mut("Cloud Storage, lists").unwrap() -= lists * run_rounds;
    run.remove(FREE);
    let differs = |(class, count): (&&str, &f64)| differs("cost.md", class, count / RUNS);
    let mut wrong: Vec<_> = run.iter().filter_map(differs).collect();
    wrong.extend(self::differs("cost.md", "Cloud Storage, lists by the leader", lists));
    println!(
        "a round without runs: {lists:.1} lists; a run, {:.0} rounds long: {run:?} in all {RUNS}",
        run_rounds / RUNS
    );
    at.drain(notifier).await;
    at.drain(worker).await;
    at.stop().await;
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
