//! The variables by which the documents' commands find an installation.

use std::collections::BTreeSet;

use branchline_local::installation::{ARTIFACTS, DEAD_LETTERS, LEDGER, PROJECT, QUEUE, REQUESTS};
use branchline_tests::installation::REGION;
use branchline_tests::roles::account;

use crate::blocks::documents;

/// Those of an installation, with what they are in the local one.
pub(crate) fn variables() -> Vec<(&'static str, String)> {
    [
        ("BRANCHLINE_LEDGER_BUCKET", LEDGER.to_owned()),
        ("BRANCHLINE_QUEUE_BUCKET", QUEUE.to_owned()),
        ("BRANCHLINE_REQUEST_BUCKET", REQUESTS.to_owned()),
        ("BRANCHLINE_DEAD_LETTER_BUCKET", DEAD_LETTERS.to_owned()),
        // The local worker names no operators.
        ("BRANCHLINE_OPERATOR_TOKEN", String::new()),
        ("ARTIFACT_BUCKET", ARTIFACTS.to_owned()),
        ("PROJECT", PROJECT.to_owned()),
        ("TRAINING_PROJECT", PROJECT.to_owned()),
        ("CLUSTER_PROJECT", "demo-clusters".to_owned()),
        ("PROJECT_NUMBER", "102135903854".to_owned()),
        ("REGION", REGION.to_owned()),
        ("CI_ACCOUNT", account("ci")),
        ("WORKER_ACCOUNT", account("worker")),
        ("NOTIFIER_ACCOUNT", account("notifier")),
        ("TRAINER_ACCOUNT", account("trainer")),
        ("WORKER_HEALTH", "127.0.0.1:8080".to_owned()),
        ("IMAGE", "europe-docker.pkg.dev/demo-project/branchline/branchline".to_owned()),
        ("OVERLAY", "overlay".to_owned()),
        ("RUN", "iris-0123456789abcdef0123".to_owned()),
        ("SHA", "cadef9dcd".to_owned()),
        ("SINCE", "2026-01-01".to_owned()),
    ]
    .into()
}

#[test]
fn the_table_of_variables_has_those_that_commands_use() {
    let documents = documents();
    let (_, index) = documents.iter().find(|(path, _)| path == "docs/README.md").unwrap();
    let rows = index.lines().filter_map(|it| it.strip_prefix("| `")?.split_once(" |"));
    let named = rows.flat_map(|(names, _)| names.split(", ").map(|it| it.trim_matches('`')));
    let named: BTreeSet<_> = named.collect();
    let known: BTreeSet<_> = variables().into_iter().map(|(name, _)| name).collect();
    assert_eq!(named, known);
    for name in known {
        let used = documents.iter().any(|(path, text)| {
            path != "docs/README.md"
                && (text.contains(&format!("${name}")) || name.starts_with("BRANCHLINE_"))
        });
        assert!(used, "{name} is used nowhere");
    }
}
