//! What decides takes everything as data: no time, no chance, no input or output.

use crate::repository::{File, file, files, holding, none};

/// The files that decide. Others that call themselves pure are held to it too.
const PURE: [&str; 17] = [
    "crates/gitlab/src/id_token.rs",
    "crates/gitlab/src/id_token/agreement.rs",
    "crates/gitlab/src/id_token/claims.rs",
    "crates/ledger/src/run.rs",
    "crates/ledger/src/verify.rs",
    "crates/notifier/src/escape.rs",
    "crates/notifier/src/note.rs",
    "crates/notifier/src/wanted.rs",
    "crates/policy/src/facts.rs",
    "crates/policy/src/job.rs",
    "crates/policy/src/policy.rs",
    "crates/service/src/settlement.rs",
    "crates/worker/src/admission.rs",
    "crates/worker/src/job_body.rs",
    "crates/worker/src/metrics.rs",
    "crates/worker/src/reconcile/limiter.rs",
    "crates/worker/src/reconcile/step.rs",
];

/// Without `await` no client can be called.
const IMPURE: [&str; 13] = [
    "tokio",
    "async ",
    ".await",
    "Instant",
    "SystemTime",
    "::now()",
    "fastrand",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "reqwest",
];

#[test]
fn a_pure_file_knows_no_clock_no_client_and_no_runtime() {
    let named = PURE.map(file);
    let others = files().into_iter().filter(|it| it.is_rust() && it.header().contains("Pure"));
    let pure: Vec<File> = named.into_iter().chain(others).map(|it| it.code()).collect();
    none(holding(&IMPURE, pure.iter().filter(|it| it.path != "crates/contract/src/lib.rs")));
}

#[test]
fn the_contract_is_pure_as_a_whole() {
    let contract = files().into_iter().filter(File::is_rust);
    let contract = contract.filter(|it| it.path.starts_with("crates/contract/src/"));
    let contract: Vec<File> = contract.map(|it| File::code(&it)).collect();
    assert!(contract.len() > 5);
    none(holding(&IMPURE, &contract));
}
