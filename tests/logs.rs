//! What three sources say of one run, in one order, with the executable as operators use it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Stdio;
use std::time::Duration;

use branchline_local::gitlab::JobEnd;
use branchline_local::installation::PROJECT;
use branchline_tests::auditor::Told;
use branchline_tests::eventually::eventually;
use branchline_tests::world::{World, run_id};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// Says something on stdout, and on stderr at the end.
const EPOCHS: &str = "echo epoch one; sleep 0.2; echo epoch two; echo odd >&2";

/// A run whose CI job tells what a real one would.
struct Logged {
    world: World,
    request: Value,
    run: String,
}

impl Logged {
    /// Publishes, and lets the CI job say so.
    async fn start(world: World, script: &str) -> Self {
        let request = world.request("iris", &json!([]), script);
        let run = run_id(&request).to_string();
        let (gitlab, job) = (&world.stack.gitlab, world.job.id);
        gitlab.append_trace(job, "Running with gitlab-runner\n").unwrap();
        gitlab.print(job, "\u{1b}[32;1m$ branchline publish iris --wait\u{1b}[0;m").unwrap();
        world.publish(request.to_string()).await;
        gitlab.print(job, &run).unwrap();
        Self { world, request, run }
    }

    /// The same, to its end.
    async fn ended(world: World, script: &str) -> Self {
        let it = Self::start(world, script).await;
        it.world.ended(&it.request, 1).await;
        let (gitlab, job) = (&it.world.stack.gitlab, it.world.job.id);
        gitlab.print(job, "00:01 succeeded").unwrap();
        gitlab.finish_job(job, JobEnd::Success, "").unwrap();
        it
    }

    async fn logs(&self, arguments: &[&str]) -> Told {
        self.world.branchline(&[&["runs", "logs", &self.run][..], arguments].concat()).await
    }

    /// Lines of JSON.
    async fn lines(&self, arguments: &[&str]) -> (Vec<Value>, String) {
        let told = self.logs(&[&["--json"][..], arguments].concat()).await;
        assert_eq!(told.code, 0, "{}", told.stderr);
        let lines = told.stdout.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        (lines, told.stderr)
    }
}

fn said(lines: &[Value]) -> Vec<String> {
    let short = |it: &Value| {
        let (source, text) = (it["source"].as_str().unwrap(), it["text"].as_str().unwrap());
        // Of facts the kind, and of what a job says all.
        let text = if source == "branchline" { it["from"].as_str().unwrap() } else { text };
        format!("{source} {text}")
    };
    lines.iter().map(short).collect()
}

/// Checks that the order is that of causes and effects, and that times never go back.
fn in_order(lines: &[Value], run: &str) {
    let said = said(lines);
    let at = |line: &str| {
        said.iter().position(|it| it == line).unwrap_or_else(|| panic!("{line}: {said:#?}"))
    };
    let chain = [
        "gitlab Running with gitlab-runner",
        "gitlab $ branchline publish iris --wait",
        "branchline requested",
        "branchline intended",
        "vertex epoch one",
        "vertex epoch two",
        "branchline finished",
    ];
    let places = chain.map(at);
    assert!(places.is_sorted(), "{places:?}: {said:#?}");
    assert!(at(&format!("gitlab {run}")) > places[1], "{said:#?}");
    assert!(at("gitlab 00:01 succeeded") > at(&format!("gitlab {run}")), "{said:#?}");
    let times: Vec<Timestamp> =
        lines.iter().map(|it| it["time"].as_str().unwrap().parse().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(lines.iter().all(|it| it["late"] == false), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runs_log_has_three_sources_in_one_order() {
    let it = Logged::ended(World::start().await, EPOCHS).await;
    let (lines, stderr) = it.lines(&[]).await;
    assert_eq!(stderr, "");
    in_order(&lines, &it.run);
    let odd = lines.iter().find(|it| it["text"] == "odd").unwrap();
    assert_eq!((&odd["severity"], &odd["from"]), (&json!("ERROR"), &json!("workerpool0-0")));

    // Without colours, for stdout is no terminal.
    let told = it.logs(&[]).await;
    assert_eq!(told.stdout.lines().count(), lines.len());
    assert!(told.stdout.contains(" vertex        epoch one\n"), "{}", told.stdout);
    assert!(!told.stdout.contains('\u{1b}'), "{}", told.stdout);

    let project = it.world.project_id.to_string();
    let only = ["--source", "vertex", "--source", "gitlab", "--project-id", &project];
    let (only, _) = it.lines(&[&only[..], &["--grep", "^(epoch|00)"]].concat()).await;
    assert_eq!(said(&only), ["vertex epoch one", "vertex epoch two", "gitlab 00:01 succeeded"]);

    let finished = lines.iter().find(|it| it["from"] == "finished").unwrap();
    let (since, _) = it.lines(&["--since", finished["time"].as_str().unwrap()]).await;
    assert_eq!(said(&since)[0], "branchline finished", "{since:#?}");
    assert!(
        it.lines(&["--since", "1h"]).await.0 == lines
            && it.lines(&["--attempt", "2"]).await.0.is_empty()
    );
    assert_eq!(it.logs(&["--grep", "("]).await.code, 64);
    let unknown = ["runs", "logs", "iris-00000000000000000000"];
    assert_eq!(it.world.branchline(&unknown).await.code, 66);
    it.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_by_minutes_change_nothing_in_the_order() {
    for (gitlab, vertex) in [(7, -3), (-7, 3)] {
        let world = World::start().await;
        world.stack.gitlab.set_clock(SignedDuration::from_mins(gitlab));
        // The CI job began before its clock was changed: another one, which began after.
        let mut world = world;
        world.job = world.stack.gitlab.retry_job(world.job.id).unwrap();
        world.stack.logging.set_clock(SignedDuration::from_mins(vertex));
        let it = Logged::ended(world, EPOCHS).await;
        let (lines, stderr) = it.lines(&[]).await;
        in_order(&lines, &it.run);
        let wrong = |minutes: i64| if minutes > 0 { "ahead" } else { "behind" };
        for (of, minutes) in [("the clock of CI job", gitlab), ("the clock of ", vertex)] {
            let told = stderr.lines().any(|it| it.contains(of) && it.contains(wrong(minutes)));
            assert!(told, "{of}: {stderr}");
        }
        it.world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn late_lines_of_a_followed_run_are_marked_and_none_is_lost_or_told_twice() {
    let world = World::start().await;
    world.stack.logging.set_lag("line 3", Duration::from_secs(3));
    let script = r#"i=0; while [ $i -lt 10 ]; do echo "line $i"; sleep 0.3; i=$((i+1)); done"#;
    let it = Logged::start(world, script).await;
    eventually("it is taken in", async || it.world.history(&it.request).await).await;
    let mut command =
        it.world.command(&["runs", "logs", &it.run, "--follow", "--json", "--window", "400ms"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines: Vec<Value> = Vec::new();
    while let Some(line) = out.next_line().await.unwrap() {
        lines.push(serde_json::from_str(&line).unwrap());
    }
    assert!(child.wait().await.unwrap().success());
    let printed = lines.iter().filter(|it| it["source"] == "vertex");
    let mut texts: Vec<_> = printed.map(|it| it["text"].as_str().unwrap()).collect();
    let told = texts.clone();
    texts.sort_unstable();
    assert_eq!(texts, (0..10).map(|it| format!("line {it}")).collect::<Vec<_>>());
    let late = lines.iter().filter(|it| it["late"] == true);
    assert_eq!(said(&late.cloned().collect::<Vec<_>>()), ["vertex line 3"]);
    let place = |line: &str| told.iter().position(|it| *it == line).unwrap();
    assert!(place("line 3") > place("line 5"), "{told:?}");

    // Who looks later finds it in its place.
    let (lines, _) = it.lines(&["--source", "vertex"]).await;
    assert_eq!(said(&lines), (0..10).map(|it| format!("vertex line {it}")).collect::<Vec<_>>());
    it.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_cannot_be_read_is_named_and_the_others_are_shown() {
    let it = Logged::ended(World::start().await, EPOCHS).await;
    let run = ["runs", "logs", it.run.as_str(), "--json"];
    let sources = |told: &Told| {
        let lines = told.stdout.lines().map(|it| serde_json::from_str::<Value>(it).unwrap());
        let mut all: Vec<_> = lines.map(|it| it["source"].as_str().unwrap().to_owned()).collect();
        all.sort();
        all.dedup();
        all
    };
    let mut no_token = it.world.command(&run);
    no_token.env_remove("BRANCHLINE_GITLAB_TOKEN");
    let mut wrong_token = it.world.command(&run);
    wrong_token.env("BRANCHLINE_GITLAB_TOKEN", "glpat-none");
    let mut elsewhere = it.world.command(&run);
    elsewhere.env("BRANCHLINE_GITLAB_ENDPOINT", "http://127.0.0.1:1");
    let mut nowhere = it.world.command(&run);
    nowhere.env_remove("BRANCHLINE_GITLAB_ENDPOINT");
    let host = it.world.stack.endpoints().gitlab;
    for (command, why) in [
        (no_token, "set BRANCHLINE_GITLAB_TOKEN or".to_owned()),
        (wrong_token, "GitLab answered 401".to_owned()),
        (elsewhere, format!("the run comes from {host}, and the token is for 127.0.0.1:1")),
        (nowhere, format!("BRANCHLINE_GITLAB_ENDPOINT=https://{host}")),
    ] {
        let told = Told::of(command).await;
        assert_eq!((told.code, sources(&told)), (0, vec!["branchline".into(), "vertex".into()]));
        assert!(told.stderr.starts_with("note: gitlab is missing: "), "{}", told.stderr);
        assert!(told.stderr.contains(&why), "{why}: {}", told.stderr);
        assert!(!told.stderr.contains("glpat"), "{}", told.stderr);
    }

    // An account that may read the ledger and nothing else.
    let iam = &it.world.stack.iam;
    let account = iam.create_service_account(PROJECT, "reader");
    let ledger = branchline_local::iam::Resource::bucket(branchline_local::installation::LEDGER);
    let member = format!("serviceAccount:{account}");
    iam.bind(&ledger, "roles/storage.objectViewer", &member).unwrap();
    iam.enforce(true);
    let metadata = it.world.stack.metadata_server(&account).await.unwrap();
    let command = || {
        let mut command = it.world.command(&run);
        command.env_remove("BRANCHLINE_CREDENTIALS").env("GCE_METADATA_HOST", metadata.to_string());
        command
    };
    let told = Told::of(command()).await;
    assert_eq!((told.code, sources(&told)), (0, vec!["branchline".into(), "gitlab".into()]));
    for part in [
        "note: vertex is missing",
        "logging.logEntries.list",
        "roles/logging.viewer on project demo-project",
    ] {
        assert!(told.stderr.contains(part), "{part}: {}", told.stderr);
    }
    let project = branchline_local::iam::Resource::project(PROJECT);
    iam.bind(&project, "roles/logging.viewer", &member).unwrap();
    let told = Told::of(command()).await;
    assert_eq!((told.stderr.as_str(), sources(&told).len()), ("", 3));
    iam.enforce(false);
    it.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_is_shown_with_the_log_of_its_own_ci_job() {
    let world = World::start().await;
    world.stack.storage.create_bucket("flag-bucket").unwrap();
    let script =
        r#"echo trying; test -e "$CLOUD_STORAGE_MOUNT/flag-bucket/go" # gs://flag-bucket/go"#;
    let it = Logged::ended(world, script).await;
    it.world.stack.storage.put("flag-bucket", "go", "go").unwrap();
    let again = it.world.stack.gitlab.retry_job(it.world.job.id).unwrap();
    let gitlab = &it.world.stack.gitlab;
    gitlab.print(again.id, "once more").unwrap();
    let mut request = it.request.clone();
    request["gitlab"]["job_id"] = json!(again.id);
    it.world.publish(request.to_string()).await;
    gitlab.print(again.id, &it.run).unwrap();
    it.world.ended(&request, 2).await;
    eventually("its line is listed", async || {
        let (lines, _) = it.lines(&["--source", "vertex"]).await;
        (lines.len() == 2).then_some(())
    })
    .await;
    let (lines, _) = it.lines(&[]).await;
    let second = lines.iter().position(|it| it["text"] == "once more").unwrap();
    let ended = lines.iter().position(|it| it["from"] == "finished").unwrap();
    let retried = lines.iter().position(|it| it["from"] == "retried").unwrap();
    assert!(ended < second && second < retried, "{lines:#?}");
    assert!(lines[second..].iter().all(|it| it["attempt"] == 2 || it["source"] == "gitlab"));
    let (only, _) = it.lines(&["--attempt", "2"]).await;
    assert!(only.iter().all(|it| it["attempt"] == 2), "{only:#?}");
    assert_eq!(said(&only)[0], "gitlab once more");
    it.world.stop().await;
}
