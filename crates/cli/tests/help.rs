//! What `--help` prints.

use std::process::Command;

use expect_test::expect_file;

#[test]
fn every_help_text_reads_well() {
    let commands = [
        "",
        "init",
        "publish",
        "worker",
        "notifier",
        "runs",
        "runs approve",
        "runs cancel",
        "runs list",
        "runs logs",
        "runs retry",
        "runs show",
        "runs watch",
        "dlq",
        "dlq list",
        "dlq show",
        "dlq replay",
        "dlq edit",
        "dlq discard",
        "dlq export",
        "dlq import",
        "pause",
        "resume",
        "policy",
        "policy check",
        "policy replay",
        "policy test",
        "audit",
        "audit show",
        "audit why",
        "audit verify",
        "audit export",
        "doctor",
        "doctor ci",
        "doctor worker",
        "doctor notifier",
        "doctor all",
        "schema",
        "completions",
        "local",
        "demo",
    ];
    for command in commands {
        let output = Command::new(env!("CARGO_BIN_EXE_branchline"))
            .args(command.split_whitespace().chain(["--help"]))
            .env_clear()
            .env("COLUMNS", "100")
            .output()
            .unwrap();
        assert!(output.status.success());
        let name = if command.is_empty() { "branchline" } else { command }.replace(' ', "-");
        let text = String::from_utf8(output.stdout).unwrap();
        expect_file![format!("golden/help-{name}.txt")].assert_eq(&text);
    }
}
