//! Doors for the fuzzer to what reads strangers' bytes in here.

use std::collections::BTreeMap;

use branchline_contract::{ArtifactReady, Installation, Training};
use branchline_ledger::{Intent, Run};
use serde_json::Value;

/// The numbers of a `metrics.json`.
pub fn metrics(bytes: &[u8]) -> Result<BTreeMap<String, f64>, String> {
    crate::metrics::parse(bytes)
}

/// What is wrong with the training spec of a request.
pub fn problems(request: &ArtifactReady) -> Vec<String> {
    crate::job_body::problems(request)
}

/// What machines a spec asks for, in words.
pub fn need(training: &Training) -> String {
    format!("{:?}", crate::need::Need::of(training))
}

/// The body of a create call.
pub fn body(run: &Run, intent: &Intent, installation: &Installation) -> Result<Value, String> {
    crate::job_body::build(run, intent, installation)
}
