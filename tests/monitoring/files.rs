//! The files of `deploy/monitoring`, and what they name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use branchline_tests::processes::executable;
use serde_json::Value;

/// One of the files.
pub(crate) fn file(name: &str) -> String {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(top.join("deploy/monitoring").join(name)).unwrap()
}

/// Every name of ours in a text.
pub(crate) fn names(text: &str) -> BTreeSet<&str> {
    let word = |it: &char| it.is_ascii_lowercase() || *it == '_';
    let found = text.match_indices("branchline_").map(|(at, _)| &text[at..]);
    found.map(|it| &it[..it.chars().take_while(word).count()]).collect()
}

/// The expressions of the dashboard, by panel; Grafana's variables stand for something.
pub(crate) fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|it| it["targets"].as_array()).flatten();
    let texts = targets.map(|it| it["expr"].as_str().unwrap());
    texts.map(|it| it.replace("$__rate_interval", "5m").replace("$job", ".*")).collect()
}

/// The alerts by name.
fn alerts() -> BTreeMap<String, Value> {
    let rules: Value = serde_saphyr::from_str(&file("alerts.yaml")).unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|it| it["rules"].as_array().unwrap());
    rules.map(|it| (it["alert"].as_str().unwrap().to_owned(), it.clone())).collect()
}

#[test]
fn every_alert_says_what_it_means_and_what_to_run() {
    for (name, alert) in alerts() {
        for said in ["summary", "description", "command"] {
            let text = alert["annotations"][said].as_str().unwrap_or_default();
            assert!(!text.is_empty() && !text.contains('\n'), "{name}: {said}");
        }
        let severity = alert["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity:?}");
    }
}

/// A text with something for each of Prometheus' variables.
fn filled(text: &str) -> String {
    let (reason, other) = ("permission-denied", "something");
    let text = text.replace("{{ $labels.reason }}", reason);
    let mut parts = text.split("{{");
    let begin = parts.next().unwrap().to_owned();
    parts.fold(begin, |all, it| all + other + it.split_once("}}").unwrap().1)
}

#[test]
fn every_command_of_ours_is_one_that_the_executable_takes() {
    let nowhere = tempfile::tempdir().unwrap();
    let mut taken = 0;
    for (name, alert) in alerts() {
        let command = filled(alert["annotations"]["command"].as_str().unwrap());
        let Some(arguments) = command.strip_prefix("branchline ") else { continue };
        // It reads no configuration there and may not ask anybody: that is what stops it, and it
        // comes after its arguments are understood.
        let mut ours = Command::new(executable());
        ours.args(arguments.split(' ')).current_dir(&nowhere).env_clear();
        let ended = ours.env("BRANCHLINE_CREDENTIALS", "none of these").output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(78), "{name}: {command}: {said}");
        taken += 1;
    }
    assert!(taken > 5);
}

#[test]
fn every_alert_is_tested_to_fire_and_not_to() {
    let tests = file("alerts_test.yaml");
    for name in alerts().keys() {
        let silent = format!("{{eval_time: 90m, alertname: {name}}}");
        assert!(tests.contains(&silent), "{name}: not silent in a healthy installation");
        let named = format!("alertname: {name}\n");
        let fired = tests.split(&named).skip(1).any(|it| it.trim_start().starts_with("exp_alerts"))
            || tests.contains(&format!(r#"__name__="ALERTS", alertname="{name}""#));
        assert!(fired, "{name}: never fires");
    }
}

#[test]
fn the_dashboard_asks_the_data_source_that_is_chosen() {
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(variables.iter().any(|it| it["name"] == "datasource" && it["type"] == "datasource"));
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}: its id is taken", panel["title"]);
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        }
    }
    let rows = panels.iter().filter(|it| it["type"] == "row").map(|it| it["title"].as_str());
    for row in ["Intake", "Runs", "Vertex AI", "GitLab", "Dead letters"] {
        assert!(rows.clone().any(|it| it == Some(row)), "{row}");
    }
    assert!(expressions().len() > 20);
}
