//! The documents say what is there.

use std::path::Path;

use crate::repository::{File, file, files, none, root};

#[test]
fn the_architecture_fits_in_150_lines() {
    let lines = file("ARCHITECTURE.md").text.lines().count();
    assert!(lines <= 150, "ARCHITECTURE.md has {lines} lines");
}

#[test]
fn the_architecture_names_only_files_that_exist() {
    let text = file("ARCHITECTURE.md").text;
    let paths = in_backticks(&text).filter(|it| {
        ["crates/", "tests/", "deploy/", "examples/"].iter().any(|top| it.starts_with(top))
    });
    none(paths.filter(|it| !root().join(it).exists()).map(str::to_owned));
}

#[test]
fn the_architecture_names_every_crate() {
    let text = file("ARCHITECTURE.md").text;
    let manifests = files().into_iter().filter(|it| it.path.ends_with("/Cargo.toml"));
    let names = manifests.filter_map(|it| {
        it.path.starts_with("crates/").then(|| it.path.trim_end_matches("/Cargo.toml").to_owned())
    });
    none(names.filter(|it| !text.contains(&format!("`{it}`"))));
}

#[test]
fn the_documents_name_only_commands_that_exist() {
    let makefile = file("Makefile").text;
    for File { path, text } in files().into_iter().filter(|it| it.extension() == Some("md")) {
        let commands = text.lines().filter_map(|it| it.trim().strip_prefix("make "));
        let commands =
            commands.chain(in_backticks(&text).filter_map(|it| it.strip_prefix("make ")));
        let targets = commands.filter_map(|it| it.split_whitespace().next());
        let missing = targets.filter(|it| !makefile.contains(&format!("\n{it}:")));
        none(missing.map(|it| format!("{path}: make {it}")));
    }
}

#[test]
fn the_first_commands_of_the_readme_are_the_demo_and_the_tests() {
    let text = file("README.md").text;
    let commands: Vec<_> =
        text.lines().filter_map(|it| it.trim().strip_prefix("make ")).take(2).collect();
    assert!(matches!(commands[..], ["demo", "test"]));
}

#[test]
fn the_readme_explains_every_key_of_the_configuration() {
    let text = file("README.md").text;
    for path in ["crates/worker/src/config.rs", "crates/notifier/src/config.rs"] {
        let config = file(path).text;
        let (_, fields) = config.split_once("pub struct Config {").expect("it has one");
        let fields = fields.lines().take_while(|it| *it != "}");
        let keys = fields.filter_map(|it| {
            let it = it.trim();
            it.strip_prefix("pub ").unwrap_or(it).split_once(": ").map(|(key, _)| key)
        });
        let keys = keys.filter(|it| it.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        let missing = keys.filter(|it| !text.contains(&format!("`{it}`")));
        none(missing.map(|it| format!("{path}: {it}")));
    }
}

#[test]
fn the_readme_shows_the_example_as_it_is() {
    let text = file("README.md").text;
    let shown = text.split("```yaml\n").nth(1).and_then(|it| it.split("```").next());
    let example = file("examples/iris/branchline.yaml").text;
    assert!(example.contains(shown.expect("there is an excerpt")), "it shows something else");
}

#[test]
fn the_links_of_the_documents_lead_somewhere() {
    let documents: Vec<_> = files().into_iter().filter(|it| it.extension() == Some("md")).collect();
    let anchors = |text: &str| -> Vec<String> {
        let headings = text.lines().filter_map(|it| it.strip_prefix('#'));
        let plain = |it: char| it.is_alphanumeric() || "-_".contains(it);
        let anchor = |it: &str| it.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        headings.map(|it| anchor(it).chars().filter(|it| plain(*it)).collect()).collect()
    };
    let mut wrong = Vec::new();
    for File { path, text } in &documents {
        let links = text.split("](").skip(1).filter_map(|it| it.split(')').next());
        for link in links.filter(|it| !it.contains("://")) {
            let (name, anchor) = link.split_once('#').unwrap_or((link, ""));
            let beside = Path::new(path).parent().unwrap().join(name);
            let target = if name.is_empty() { Path::new(path) } else { &beside };
            let is_there = root().join(target).exists();
            let leads = anchor.is_empty()
                || std::fs::read_to_string(root().join(target))
                    .is_ok_and(|it| anchors(&it).iter().any(|it| it == anchor));
            if !is_there || !leads {
                wrong.push(format!("{path}: {link}"));
            }
        }
    }
    assert!(documents.len() > 10);
    none(wrong);
}

fn in_backticks(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}
