//! What is told on a terminal.

use std::collections::BTreeMap;

use branchline_contract::Outcome;
use branchline_gcp::storage::Objects as _;
use branchline_ledger::State;
use branchline_local::installation::QUEUE;
use branchline_tests::eventually::eventually;
use branchline_tests::world::{World, run_id};
use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tmux::{self, Terminal};

/// A run that trains until it is let go.
async fn trains(world: &World, directory: &TempDir) -> Value {
    let go = directory.path().join("go");
    let script =
        format!("trap 'exit 143' TERM; until test -e {}; do sleep 0.05; done", go.display());
    let request = world.request("iris", &json!([]), &script);
    world.publish(request.to_string()).await;
    eventually("it trains", async || {
        (world.history(&request).await?.run.state == State::Running).then_some(())
    })
    .await;
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_run_is_drawn_in_place_until_it_ends() {
    if !tmux::is_there() {
        return;
    }
    let (world, directory) = (World::start().await, TempDir::new().unwrap());
    let request = trains(&world, &directory).await;
    let run = run_id(&request).to_string();
    // Too narrow for some of its lines.
    let terminal = Terminal::run(&world, 60, &["runs", "watch", &run]);
    let first = terminal.shows("it runs", |it| it.contains("running for")).await;
    assert_eq!(terminal.is_clean(), (false, false));
    let for_how_long =
        |it: &str| it.lines().find(|it| it.starts_with("running for")).map(str::to_owned);
    let (began, mut drawn) = (for_how_long(&first), String::new());
    for _ in 0..2 {
        let before = if drawn.is_empty() { began.clone() } else { for_how_long(&drawn) };
        drawn = terminal
            .shows("time goes on", |it| it.contains("running for") && for_how_long(it) != before)
            .await;
    }
    assert_eq!(drawn.matches(&run).count(), 1, "{drawn}");
    assert!(drawn.starts_with(&run), "{drawn}");
    std::fs::write(directory.path().join("go"), "").unwrap();
    let last = terminal.shows("it has ended", |it| it.contains("exit=")).await;
    assert!(last.contains("\nsucceeded\n") && last.contains("\nexit=0\n"), "{last}");
    assert_eq!(last.matches(&run).count(), 1, "{last}");
    assert_eq!(terminal.is_clean(), (true, true));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stops_watching_leaves_a_clean_terminal_and_the_run_goes_on() {
    if !tmux::is_there() {
        return;
    }
    let (world, directory) = (World::start().await, TempDir::new().unwrap());
    let request = trains(&world, &directory).await;
    // Whoever wrote that line in the listing died before the first fact.
    let today = Timestamp::now().to_zoned(TimeZone::UTC).strftime("%Y%m%d").to_string();
    let name = format!("by-day/{today}/lost-0123456789abcdef0123");
    let project = BTreeMap::from([("project-id".to_owned(), world.project_id.to_string())]);
    world.storage.create(QUEUE, &name, Bytes::new(), project).await.unwrap();
    let terminal = Terminal::run(&world, 120, &["runs", "watch", "--sha", &world.job.sha]);
    let table = terminal.shows("it runs", |it| it.contains(" running ")).await;
    assert_eq!(table.matches("lost-0123456789abcdef0123 is listed").count(), 1, "{table}");
    assert!(table.starts_with("RUN ") && table.contains(run_id(&request).as_str()), "{table}");
    terminal.press(&["C-c"]);
    let last = terminal.shows("it has stopped", |it| it.contains("exit=")).await;
    assert!(last.contains("\nexit=130\n") && last.contains("goes on"), "{last}");
    assert_eq!(terminal.is_clean(), (true, true));
    std::fs::write(directory.path().join("go"), "").unwrap();
    let history = world.ended(&request, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_undone_is_asked_for_first() {
    if !tmux::is_there() {
        return;
    }
    let (world, directory) = (World::start().await, TempDir::new().unwrap());
    let request = trains(&world, &directory).await;
    let run = run_id(&request).to_string();
    let cancel = ["runs", "cancel", &run, "--reason", "wrong data"];
    for (answer, expected) in [("n", "exit=1\n"), ("y", "exit=0\n")] {
        let terminal = Terminal::run(&world, 120, &cancel);
        terminal.shows("it asks", |it| it.contains("[y/N]")).await;
        terminal.press(&[answer, "Enter"]);
        terminal.shows("it is answered", |it| it.contains(expected)).await;
        let cancelled = world.history(&request).await.unwrap().run.cancel.is_some();
        assert_eq!(cancelled, answer == "y");
    }
    let history = world.ended(&request, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Cancelled);
    world.stop().await;
}
