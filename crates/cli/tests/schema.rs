//! What `branchline schema` prints.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What it prints for these arguments.
fn schema(arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_branchline"));
    let output = command.arg("schema").args(arguments).env_clear().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_checked_in_schema_is_printed_alone_and_among_all() {
    let all = schema(&[]);
    let all = all.as_object().unwrap();
    assert_eq!(all.len(), 6);
    let checked_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contract/schemas");
    for (event_type, printed) in all {
        let file = std::fs::read(checked_in.join(format!("{event_type}.json"))).unwrap();
        assert_eq!(*printed, serde_json::from_slice::<Value>(&file).unwrap(), "{event_type}");
        assert_eq!(*printed, schema(&[event_type]), "{event_type}");
    }
}
