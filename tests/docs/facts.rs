//! What the documents name is there: alerts, metrics, documents.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::blocks::{documents, top};

fn document(name: &str) -> String {
    fs::read_to_string(top().join("docs").join(name)).unwrap()
}

fn monitoring(name: &str) -> String {
    fs::read_to_string(top().join("deploy/monitoring").join(name)).unwrap()
}

/// Every name of a metric of ours in a text.
fn metrics(text: &str) -> BTreeSet<&str> {
    let word = |it: &char| it.is_ascii_lowercase() || *it == '_';
    let found = text.match_indices("branchline_").map(|(at, _)| &text[at..]);
    found.map(|it| &it[..it.chars().take_while(word).count()]).collect()
}

/// The alerts that Terraform adds to those of Prometheus.
fn added(terraform: &str) -> Vec<&str> {
    let found = terraform.match_indices("\"Branchline").map(|(at, _)| &terraform[at + 1..]);
    found.map(|it| it.split('"').next().unwrap()).collect()
}

#[test]
fn the_runbook_has_a_section_for_each_alert_and_none_besides() {
    let rules: Value = serde_saphyr::from_str(&monitoring("alerts.yaml")).unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    let rules: Vec<_> = groups.flat_map(|it| it["rules"].as_array().unwrap()).collect();
    let alerts: Vec<_> = rules.iter().map(|it| it["alert"].as_str().unwrap()).collect();
    let text = document("runbook.md");
    let sections: Vec<_> = text.lines().filter_map(|it| it.strip_prefix("## ")).collect();
    let terraform = fs::read_to_string(top().join("deploy/terraform/alerts.tf")).unwrap();
    let added = added(&terraform);
    assert_eq!(added.len(), 1);
    assert_eq!(sections, [alerts.as_slice(), added.as_slice()].concat());
    for alert in added {
        let runbook = format!("docs/runbook.md#{}\"", alert.to_lowercase());
        assert!(terraform.contains(&runbook), "{alert}");
    }
    for (alert, rule) in alerts.iter().zip(rules) {
        let runbook = format!("docs/runbook.md#{}", alert.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"], runbook, "{alert}");
    }
}

#[test]
fn the_documents_name_only_metrics_that_are_watched() {
    // `tests/monitoring.rs` holds these against what the roles export.
    let watched = monitoring("alerts.yaml") + &monitoring("dashboard.json");
    let watched: BTreeSet<_> =
        metrics(&watched).into_iter().map(|it| it.trim_end_matches("_bucket")).collect();
    let promised = document("slo.md");
    let promised = metrics(&promised);
    assert!(promised.len() >= 3);
    let unknown: Vec<_> = promised.difference(&watched).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_queries_of_the_objectives_are_tested_as_they_are_written() {
    let tested = monitoring("slo_test.yaml");
    let text = document("slo.md");
    let (_, block) = text.split_once("```promql\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let queries: Vec<_> = block.lines().filter(|it| !it.starts_with('#')).collect();
    assert!(queries.len() >= 3);
    for query in queries {
        let short = query.replace("[28d:1m]", "[2h:1m]");
        assert!(tested.contains(&short), "{query}");
    }
}

#[test]
fn the_index_leads_to_every_document() {
    let index = document("README.md");
    for (path, _) in documents() {
        let Some(name) = path.strip_prefix("docs/").filter(|it| *it != "README.md") else {
            continue;
        };
        assert!(index.contains(&format!("({name})")), "{name}");
    }
}
