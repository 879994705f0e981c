//! What one run leaves on `/metrics`, and whether alerts and dashboard ask for what is there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use branchline_contract::{Envelope, RunEvent};
use branchline_local::faults::Faults;
use branchline_local::installation::{LEDGER, PROJECT, REQUESTS, topic};
use branchline_local::stack::Stack;
use branchline_tests::eventually::eventually;
use branchline_tests::installation::{Installation, REGION};
use branchline_tests::processes::executable;
use bytes::Bytes;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::files::{expressions, file, names};

const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// What a role shows, as it shows it.
async fn scrape(port: &TcpStream) -> String {
    let url = format!("http://{}/metrics", port.peer_addr().unwrap());
    let answer = reqwest::get(url).await.unwrap().error_for_status().unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    answer.text().await.unwrap()
}

/// The names of all samples.
fn exported(scrape: &str) -> BTreeSet<&str> {
    let lines = scrape.lines().filter(|it| !it.starts_with('#'));
    lines.filter_map(|it| it.split(['{', ' ']).next()).collect()
}

/// The sum of all samples that begin so, whatever their other labels are.
fn value(scrape: &str, name: &str, labels: &[&str]) -> f64 {
    let lines = scrape.lines().filter(|it| it.split(['{', ' ']).next() == Some(name));
    let lines = lines.filter(|it| labels.iter().all(|label| it.contains(label)));
    lines.map(|it| it.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// For promtool: what a role shows, and what the dashboard asks.
fn leave(scrapes: &BTreeMap<&str, String>) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("monitoring");
    fs::create_dir_all(&directory).unwrap();
    for (role, text) in scrapes {
        fs::write(directory.join(format!("{role}.prom")), text).unwrap();
    }
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    for (number, expression) in expressions().iter().enumerate() {
        let quoted = expression.replace('\'', "''");
        writeln!(rules, "  - {{record: 'panel:{number}', expr: '{quoted}'}}").unwrap();
    }
    let rules = rules.replace("panel:", "dashboard:panel_");
    fs::write(directory.join("dashboard.yaml"), rules).unwrap();
}

/// Lets an operator pause the only project and region, or let it go on.
async fn operator(stack: &Stack, asks: &[&str]) {
    let mut command = Command::new(executable());
    command
        .args(asks)
        .arg(format!("{PROJECT}/{REGION}"))
        .args(["--request-bucket", REQUESTS, "--ledger-bucket", LEDGER, "--actor", "anna"])
        .env_clear()
        .env("BRANCHLINE_CREDENTIALS", "anonymous")
        .env("BRANCHLINE_STORAGE_ENDPOINT", format!("http://{}", stack.endpoints().storage));
    let ended = command.output().await.unwrap();
    assert!(ended.status.success(), "{asks:?}: {}", String::from_utf8_lossy(&ended.stderr));
}

/// Sends what cannot be handled: a request that is none, and an event of a run that is not there.
fn send_poison(at: &Installation, stack: &Stack) {
    let none = HashMap::new();
    stack.pubsub.publish(&topic(PROJECT, "artifact-ready"), Bytes::from("{"), none).unwrap();
    let event: RunEvent = serde_json::from_value(json!({
        "run_id": "nobody-0123456789abcdef0123",
        "run": "nobody",
        "attempt": 1,
        "phase": "queued",
        "gitlab": {
            "host": at.gitlab().trim_start_matches("http://"),
            "project_id": 7,
            "project_path": "team/iris",
            "sha": "0123456789012345678901234567890123456789",
            "ref": "main",
            "pipeline_id": 1,
            "job_id": 1,
        },
        "vertex": {"project": PROJECT, "region": REGION},
        "ledger": {"sequence": 1, "sha256": "0".repeat(64)},
        "requested_at": "2026-11-23T04:00:00Z",
        "recorded_at": "2026-11-23T04:00:00Z",
    }))
    .unwrap();
    let Envelope { data, attributes } = Envelope::run_event(&event);
    let attributes = attributes.into_iter().collect();
    stack.pubsub.publish(&topic(PROJECT, "run-events"), data.into(), attributes).unwrap();
}

/// What the worker shows while its only project and region is paused and a run waits there.
async fn a_run_waits(working: &TcpStream) {
    eventually("a run waits", async || {
        let shown = scrape(working).await;
        let line = ["project=\"demo-project\"", "region=\"europe-west4\""];
        let moved: [(&str, &[&str]); 4] = [
            ("branchline_runs", &["state=\"admitted\""]),
            ("branchline_runs_blocked", &[]),
            ("branchline_line_waiting", &line),
            ("branchline_line_oldest_wait_seconds", &line),
        ];
        moved.iter().all(|(name, labels)| value(&shown, name, labels) > 0.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_alerts_and_dashboard_ask_for_is_exported_and_one_run_moves_it() {
    let at = Installation::new(Duration::from_secs(5)).unwrap();
    let stack = at.embedded(Faults::default()).await.unwrap();
    let (worker, working) = at.worker().await.unwrap();
    let (notifier, notifying) = at.notifier(stack.gitlab.token()).await.unwrap();
    let first = scrape(&working).await;
    assert!(value(&first, "branchline_build_info", &["role=\"worker\""]) > 0.0, "{first}");
    // Counters are there before they count, so that no first failure is missed.
    let settled = ["subscription=\"artifact-ready-worker\"", "class=\"bug\""];
    assert!(exported(&first).contains("branchline_deliveries_total"), "{first}");
    assert!(first.lines().any(|it| settled.iter().all(|label| it.contains(label))), "{first}");

    send_poison(&at, &stack);
    operator(&stack, &["pause", "--yes", "--reason", "maintenance"]).await;
    at.publish().await.unwrap();
    a_run_waits(&working).await;
    operator(&stack, &["resume"]).await;
    let succeeded = ["outcome=\"succeeded\""];
    eventually("the end is announced and reported, and a letter lies in the archive", async || {
        let shown = scrape(&working).await;
        let announced = value(&shown, "branchline_runs_finished_total", &succeeded) > 0.0;
        // Looked for every 30 seconds.
        let letter = ["reason=\"does-not-decode\""];
        let counted = value(&shown, "branchline_dead_letters_unresolved", &letter) > 0.0;
        let written = ["operation=\"write a note\"", "result=\"ok\""];
        let reported =
            value(&scrape(&notifying).await, "branchline_gitlab_requests_total", &written) > 0.0;
        (announced && reported && counted).then_some(())
    })
    .await;
    let scrapes = BTreeMap::from([
        ("worker", scrape(&working).await),
        ("notifier", scrape(&notifying).await),
    ]);
    leave(&scrapes);

    asked_for(&scrapes);
    moved(&scrapes);
    for role in [worker, notifier] {
        role.terminate().unwrap();
        role.ends(ENDS_WITHIN).await.unwrap();
    }
    stack.shutdown().await;
}

/// Whatever is asked for is there, and somebody asks for whatever is there.
fn asked_for(scrapes: &BTreeMap<&str, String>) {
    let shown: BTreeSet<&str> = scrapes.values().flat_map(|it| exported(it)).collect();
    let (alerts, dashboard) = (file("alerts.yaml"), expressions().join("\n"));
    let asked: BTreeSet<&str> = names(&alerts).into_iter().chain(names(&dashboard)).collect();
    let missing: Vec<_> = asked.difference(&shown).collect();
    assert!(missing.is_empty(), "they are asked for and not exported: {missing:?}");
    let families = scrapes
        .values()
        .flat_map(|it| it.lines())
        .filter_map(|it| it.strip_prefix("# TYPE ").and_then(|it| it.split(' ').next()));
    let unseen: Vec<_> =
        families.filter(|it| !asked.iter().any(|ask| ask.starts_with(it))).collect();
    assert!(unseen.is_empty(), "nobody looks at {unseen:?}");
}

fn moved(scrapes: &BTreeMap<&str, String>) {
    let moved: [(&str, &str, &[&str]); 18] = [
        ("worker", "branchline_leader", &[]),
        ("worker", "branchline_ready", &["condition=\"lease\""]),
        ("worker", "branchline_rounds_total", &["result=\"done\""]),
        ("worker", "branchline_round_duration_seconds_count", &[]),
        ("worker", "branchline_deliveries_total", &["settlement=\"ack\""]),
        ("worker", "branchline_delivery_duration_seconds_count", &[]),
        ("worker", "branchline_backlog_age_seconds", &["subscription=\"artifact-ready-worker\""]),
        ("worker", "branchline_vertex_requests_total", &["operation=\"create\"", "result=\"ok\""]),
        ("worker", "branchline_vertex_requests_total", &["operation=\"list\"", "result=\"ok\""]),
        ("worker", "branchline_vertex_request_duration_seconds_sum", &["operation=\"create\""]),
        ("worker", "branchline_storage_requests_total", &["operation=\"create\"", "result=\"ok\""]),
        ("worker", "branchline_storage_request_duration_seconds_count", &["operation=\"copy\""]),
        ("worker", "branchline_publish_requests_total", &["result=\"ok\""]),
        ("worker", "branchline_create_limit_per_second", &["region=\"europe-west4\""]),
        ("notifier", "branchline_deliveries_total", &["settlement=\"ack\""]),
        ("notifier", "branchline_oldest_nacked_age_seconds", &[]),
        ("notifier", "branchline_storage_requests_total", &["result=\"ok\""]),
        ("notifier", "branchline_gitlab_request_duration_seconds_count", &[]),
    ];
    for (role, name, labels) in moved {
        assert!(value(&scrapes[role], name, labels) > 0.0, "{role}: {name} {labels:?} is still 0");
    }
    let still: [(&str, &str); 5] = [
        ("worker", "branchline_panics_total"),
        ("worker", "branchline_oldest_nacked_age_seconds"),
        ("worker", "branchline_runs_blocked"),
        ("worker", "branchline_line_waiting"),
        ("notifier", "branchline_panics_total"),
    ];
    for (role, name) in still {
        assert!(value(&scrapes[role], name, &[]) == 0.0, "{role}: {name}");
    }
}
