//! What is told where there is no terminal.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use branchline_gcp::storage::Objects as _;
use branchline_ledger::State;
use branchline_local::installation::{PROJECT, QUEUE};
use branchline_tests::auditor::Told;
use branchline_tests::eventually::eventually;
use branchline_tests::world::{World, run_id};
use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::ChildStdout;
use tokio::time::timeout;

/// Between two looks for further runs lie 10 seconds.
const TOLD_WITHIN: Duration = Duration::from_secs(40);

async fn reaches(world: &World, request: &Value, what: &str, is: impl Fn(&State) -> bool) {
    eventually(what, async || is(&world.history(request).await?.run.state).then_some(())).await;
}

/// A world with a run that succeeded, and a later one that failed.
async fn start() -> (World, String, String) {
    let world = World::start().await;
    let mut runs = Vec::new();
    for (name, script) in [("good", "exit 0"), ("bad", "exit 3")] {
        let request = world.request(name, &json!([]), script);
        world.publish(request.to_string()).await;
        world.ended(&request, 1).await;
        runs.push(run_id(&request).to_string());
    }
    let bad = runs.pop().unwrap();
    (world, runs.pop().unwrap(), bad)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runs_that_are_asked_for_are_listed_newest_first() {
    let (world, good, bad) = start().await;
    let sha = &world.job.sha[..6];
    let id = world.project_id.to_string();
    let (both, none): ([&str; 2], [&str; 0]) = ([&bad, &good], []);
    let cases: [(&[&str], &[&str]); 13] = [
        (&[], &both),
        (&["--outcome", "failed"], &[&bad]),
        (&["--outcome", "failed", "--outcome", "succeeded"], &both),
        (&["--state", "running"], &none),
        (&["--state", "ended", "--name", "good"], &[&good]),
        (&["--project", "team/iris", "--sha", sha], &both),
        (&["--project", &id, "--ref", "try"], &both),
        (&["--project", "team/other"], &none),
        (&["--ref", "main"], &none),
        (&["--limit", "1"], &[&bad]),
        (&["--until", "2020-01-02", "--since", "2020-01-01"], &none),
        (&["--all", "--name", "bad"], &[&bad]),
        (&["--all", "--since", "2100-01-01"], &none),
    ];
    for (arguments, expected) in cases {
        let arguments = [&["runs", "list", "--json"], arguments].concat();
        let told = world.branchline(&arguments).await;
        assert_eq!(told.code, 0, "{arguments:?}: {}", told.stderr);
        let lines = told.stdout.lines().map(|it| serde_json::from_str::<Value>(it).unwrap());
        let found: Vec<_> = lines.map(|it| it["run_id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(found, expected, "{arguments:?}");
    }
    let table = world.branchline(&["runs", "list"]).await.stdout;
    let columns: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    let headings = ["RUN", "PROJECT", "REF", "SHA", "STATE", "ATTEMPT", "AGE", "TOOK", "REASON"];
    assert_eq!(columns, headings);
    let (_, row) = table.split_once(&bad).unwrap();
    assert!(row.contains("team/iris") && row.contains(" failed "), "{table}");

    // Whoever wrote the line in the listing died before the first fact.
    let today = Timestamp::now().to_zoned(TimeZone::UTC).strftime("%Y%m%d").to_string();
    let name = format!("by-day/{today}/lost-0123456789abcdef0123");
    let project = BTreeMap::from([("project-id".to_owned(), id.clone())]);
    world.storage.create(QUEUE, &name, Bytes::new(), project).await.unwrap();
    let told = world.branchline(&["runs", "list", "--json"]).await;
    assert_eq!((told.code, told.stdout.lines().count()), (0, 2));
    assert!(told.stderr.starts_with("lost-0123456789abcdef0123 is listed"), "{}", told.stderr);
    let told = world.branchline(&["runs", "list", "--since", "2020-01-01"]).await;
    assert!(told.code == 64 && told.stderr.contains("--all"), "{}", told.stderr);
    let told = world
        .branchline(&["runs", "list", "--name", "other", "--since", "2026-01-01T00:00:00Z"])
        .await;
    assert!(told.stderr.contains("asked for since 2026-01-01T00:00:00Z"), "{}", told.stderr);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_goes_on_is_listed_and_watched_however_old_it_is() {
    let world = World::start().await;
    let request = world.request("slow", &json!([]), "exec sleep 60");
    world.publish(request.to_string()).await;
    reaches(&world, &request, "it trains", |it| *it == State::Running).await;
    // As when it was asked for before yesterday.
    for line in world.stack.storage.list(QUEUE, "by-day/") {
        let generation = world.storage.stat(QUEUE, &line.name, None).await.unwrap().generation;
        world.storage.delete(QUEUE, &line.name, generation).await.unwrap();
    }
    let run = run_id(&request).to_string();
    let cases: [(&[&str], bool); 6] = [
        (&[], true),
        (&["--state", "running"], true),
        (&["--state", "held"], false),
        (&["--state", "ended"], false),
        (&["--outcome", "failed"], false),
        (&["--since", "2026-01-01T00:00:00Z", "--until", "2026-01-02T00:00:00Z"], false),
    ];
    for (arguments, expected) in cases {
        let told = world.branchline(&[&["runs", "list"], arguments].concat()).await;
        assert_eq!(told.stdout.contains(&run), expected, "{arguments:?}: {}", told.stdout);
        assert_eq!(told.stderr.contains("no run is one of these"), !expected, "{}", told.stderr);
    }
    let watch = ["runs", "watch", "--project", "team/iris", "--timeout", "3s"];
    let told = world.branchline(&watch).await;
    assert!(told.stdout.contains("requested slow by CI job"), "{}", told.stdout);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_is_named_by_a_token_where_nothing_else_does() {
    let world = World::start().await;
    let domain = format!("{PROJECT}/europe-west4");
    let pause = ["pause", &domain, "--reason", "maintenance", "--yes"];
    let mut unnamed = world.command(&pause);
    unnamed.env_remove("USER");
    let told = Told::of(unnamed).await;
    assert!(told.code == 64 && told.stderr.contains("--actor is missing"), "{}", told.stderr);
    let signer = world.stack.gitlab.signer().unwrap();
    let token = signer.sign(&json!({"email": "ada@example.com"})).unwrap();
    let mut named = world.command(&pause);
    named.env_remove("USER").env("BRANCHLINE_OPERATOR_TOKEN", token);
    let told = Told::of(named).await;
    assert!(told.stdout.contains("is paused by ada@example.com"), "{told:?}");
    world.stop().await;
}

/// Training that fails at first, and then goes on until it is let go.
fn twice(directory: &TempDir) -> String {
    let (again, go) = (directory.path().join("again"), directory.path().join("go"));
    let (again, go) = (again.display(), go.display());
    format!("test -e {again} || exit 3; until test -e {go}; do sleep 0.05; done")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_tried_again_joins_those_that_are_watched() {
    let (world, directory) = (World::start().await, TempDir::new().unwrap());
    let request = world.request("again", &json!([]), &twice(&directory));
    world.publish(request.to_string()).await;
    world.ended(&request, 1).await;
    std::fs::write(directory.path().join("again"), "").unwrap();
    let other = world.request("other", &json!([]), &twice(&directory));
    world.publish(other.to_string()).await;
    reaches(&world, &other, "it trains", |it| *it == State::Running).await;

    let run = run_id(&request).to_string();
    let ours: [[&str; 2]; 2] = [["--sha", &world.job.sha], ["--project", "team/iris"]];
    let mut watches = Vec::new();
    for which in ours {
        let mut watch = world.command(&[&["runs", "watch"], &which[..]].concat());
        let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
        // What it found at first, the run that ended is told of or passed over.
        until(&mut lines, &format!("{} attempt 1 running", run_id(&other))).await;
        watches.push((watch, lines));
    }
    let retry = ["runs", "retry", &run, "--reason", "the zone is back"];
    assert_eq!(world.branchline(&retry).await.code, 0);
    for (_, lines) in &mut watches {
        until(lines, &format!("{run} attempt 2 running")).await;
    }
    std::fs::write(directory.path().join("go"), "").unwrap();
    for (mut watch, mut lines) in watches {
        until(&mut lines, &format!("{run} attempt 2 finished")).await;
        assert_eq!(watch.wait().await.unwrap().code(), Some(0));
    }
    world.stop().await;
}

/// Reads until a line says so.
async fn until(lines: &mut Lines<BufReader<ChildStdout>>, text: &str) {
    let mut seen = String::new();
    let found = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            seen.push_str(&line);
            seen.push('\n');
            if line.contains(text) {
                return true;
            }
        }
        false
    };
    assert!(timeout(TOLD_WITHIN, found).await.is_ok_and(|it| it), "{text}: {seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_shown_with_its_times_its_job_and_what_would_help() {
    let (world, _, bad) = start().await;
    let told = world.branchline(&["runs", "show", &bad]).await;
    assert_eq!((told.code, told.stderr.as_str()), (0, ""));
    let retry = format!("branchline runs retry {bad} --reason TEXT");
    for part in [
        "State     failed",
        "Project   team/iris (",
        "/-/pipelines/",
        "/-/merge_requests/1",
        "Job       projects/",
        "Console   https://console.cloud.google.com/",
        "Took 1    checked ",
        ", waited in line ",
        &retry,
        "  submitted  projects/",
    ] {
        assert!(told.stdout.contains(part), "{part}: {}", told.stdout);
    }
    let told = world.branchline(&["runs", "show", &bad, "--json"]).await;
    let shown: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!((&shown["outcome"], &shown["attempt"]), (&json!("failed"), &json!(1)));
    assert_eq!(shown["facts"][0]["fact"]["kind"], "requested");
    let unknown = world.branchline(&["runs", "show", "x-0123456789abcdef0123"]).await;
    assert_eq!((unknown.code, unknown.stdout.as_str()), (66, ""));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_run_is_a_line_for_each_fact_and_ends_with_its_outcome() {
    let (world, good, bad) = start().await;
    let told = world.branchline(&["runs", "watch", &good]).await;
    assert_eq!((told.code, told.stderr.as_str()), (0, ""));
    let kinds: Vec<_> = told.stdout.lines().filter_map(|it| it.split_whitespace().nth(4)).collect();
    assert_eq!(kinds.first(), Some(&"requested"), "{}", told.stdout);
    assert_eq!(kinds.last(), Some(&"finished"), "{}", told.stdout);
    assert!(!told.stdout.contains('\x1b'), "{}", told.stdout);
    // Of a commit, with the outcome of the one that did not succeed.
    let told = world.branchline(&["runs", "watch", "--sha", &world.job.sha]).await;
    assert_eq!((told.code, told.stderr.as_str()), (10, ""));
    assert!(told.stdout.contains(&good) && told.stdout.contains(&bad), "{}", told.stdout);

    let request = world.request("slow", &json!([]), "exec sleep 30");
    world.publish(request.to_string()).await;
    reaches(&world, &request, "it trains", |it| *it == State::Running).await;
    let told = world.branchline(&["runs", "watch", "--project", "team/iris", "--timeout", "5s"]);
    let told = told.await;
    assert_eq!(told.code, 14, "{}", told.stderr);
    assert!(told.stdout.contains("requested slow by CI job"), "{}", told.stdout);
    assert!(!told.stdout.contains(&bad), "{}", told.stdout);
    let told = world.branchline(&["runs", "watch"]).await;
    assert_eq!(told.code, 64, "{}", told.stderr);
    world.stop().await;
}
