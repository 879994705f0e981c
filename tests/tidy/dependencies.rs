//! Who may depend on whom, by the manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::repository::{none, root};

/// Our own crates that each of them may use; the executable may use all.
const LAYERS: [(&str, &[&str]); 9] = [
    ("contract", &[]),
    ("local", &[]),
    ("policy", &["contract"]),
    ("gcp", &["contract"]),
    ("gitlab", &["contract"]),
    ("ledger", &["contract", "gcp"]),
    ("service", &["contract", "gcp", "gitlab", "ledger"]),
    ("worker", &["contract", "gcp", "gitlab", "ledger", "policy", "service"]),
    ("notifier", &["contract", "gcp", "gitlab", "ledger", "service"]),
];

struct Dependency {
    by: String,
    on: String,
    dev: bool,
    optional: bool,
}

#[test]
fn only_gcp_uses_googles_clients() {
    none(users(|it| it.on.starts_with("google-cloud-"), &["branchline-gcp"]));
}

#[test]
fn only_the_embedded_stack_and_the_tests_speak_googles_grpc_themselves() {
    let own = |it: &Dependency| it.on.starts_with("googleapis-tonic-");
    none(users(own, &["branchline-local", "branchline-tests"]));
}

#[test]
fn only_the_doors_and_the_tests_use_an_http_client() {
    let doors = ["branchline-gcp", "branchline-gitlab", "branchline-tests"];
    none(users(|it| it.on == "reqwest", &doors));
}

#[test]
fn only_gitlab_uses_backoff() {
    none(users(|it| it.on == "backoff", &["branchline-gitlab"]));
}

#[test]
fn the_embedded_stack_shares_no_code_with_its_clients() {
    none(users(|it| it.by == "branchline-local" && it.on.starts_with("branchline"), &[]));
}

#[test]
fn crates_depend_on_each_other_in_one_direction() {
    let layers: BTreeMap<String, BTreeSet<String>> = LAYERS
        .iter()
        .map(|(name, uses)| (ours(name), uses.iter().map(|it| ours(it)).collect()))
        .collect();
    none(dependencies().into_iter().filter_map(|it| {
        let above = matches!(it.by.as_str(), "branchline" | "branchline-tests");
        let known = layers.get(&it.by).is_some_and(|uses| uses.contains(&it.on));
        let wrong = it.on.starts_with("branchline") && !above && !known;
        wrong.then(|| format!("{} uses {}", it.by, it.on))
    }));
}

#[test]
fn a_production_build_can_leave_the_embedded_stack_out() {
    none(dependencies().into_iter().filter_map(|it| {
        let may = it.optional || it.dev || it.by == "branchline-tests";
        (it.on == "branchline-local" && !may).then_some(it.by)
    }));
}

fn ours(name: &str) -> String {
    format!("branchline-{name}")
}

/// Who has such a dependency and is not one of `may`.
fn users(such: impl Fn(&Dependency) -> bool, may: &[&str]) -> Vec<String> {
    let found = dependencies().into_iter().filter(such);
    let found = found.filter(|it| !may.contains(&it.by.as_str()));
    found.map(|it| format!("{} uses {}", it.by, it.on)).collect()
}

fn dependencies() -> Vec<Dependency> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        for dependency in package["dependencies"].as_array().unwrap() {
            found.push(Dependency {
                by: package["name"].as_str().unwrap().to_owned(),
                on: dependency["name"].as_str().unwrap().to_owned(),
                dev: dependency["kind"] == "dev",
                optional: dependency["optional"] == true,
            });
        }
    }
    assert!(found.len() > 50, "only {} dependencies were found", found.len());
    found
}
