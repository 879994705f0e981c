//! What stands in the files, and what does not.

use crate::repository::{File, file, files, holding, none, product};

const LINES_MAX: usize = 400;

#[test]
fn a_file_of_code_has_at_most_400_lines() {
    let long = files().into_iter().filter_map(|it| {
        let lines = it.text.lines().count();
        let code = matches!(it.extension(), Some("rs" | "py" | "sh"));
        (code && lines > LINES_MAX).then(|| format!("{} has {lines} lines", it.path))
    });
    none(long);
}

#[test]
fn a_source_file_says_at_its_top_what_lives_in_it() {
    let silent = files().into_iter().filter(|it| it.is_rust() && it.header().is_empty());
    none(silent.map(|it| it.path));
}

#[test]
fn no_lint_is_silenced_without_a_reason_and_nothing_is_left_to_do() {
    const WORDS: [&str; 9] = [
        concat!("#[al", "low("),
        concat!("#![al", "low("),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("d", "bg!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("#[ig", "nore"),
        concat!("#[should_", "panic"),
    ];
    none(holding(&WORDS, files().iter().filter(|it| it.is_rust())));
}

#[test]
fn a_trait_of_our_own_stands_at_a_door_only() {
    // Each is implemented by a real client and by the simulated world.
    const MAY: [&str; 6] = [
        "crates/gcp/src/pubsub/publish.rs",
        "crates/gcp/src/pubsub/receive.rs",
        "crates/gcp/src/storage.rs",
        "crates/gcp/src/vertex.rs",
        "crates/gitlab/src/http.rs",
        "crates/gitlab/src/signing_keys.rs",
    ];
    none(holding(&["trait "], elsewhere(&MAY).iter()));
}

#[test]
fn the_environment_is_read_in_one_file() {
    // The embedded executor hands its own search path to the training process.
    const MAY: [&str; 2] = ["crates/cli/src/env.rs", "crates/local/src/vertex/process.rs"];
    none(holding(&["env::var"], elsewhere(&MAY).iter()));
}

#[test]
fn gitlabs_predefined_variables_are_read_in_one_file() {
    // The embedded GitLab sets them.
    const MAY: [&str; 2] =
        ["crates/cli/src/publish/gitlab_ci.rs", "crates/local/src/gitlab/variables.rs"];
    none(holding(&["\"CI_"], elsewhere(&MAY).iter()));
}

#[test]
fn only_the_roles_shutdown_and_a_followed_run_listen_to_signals() {
    const MAY: [&str; 2] = ["crates/service/src/shutdown.rs", "crates/cli/src/publish/wait.rs"];
    none(holding(&["signal::unix", "ctrl_c"], elsewhere(&MAY).iter()));
}

#[test]
fn backoff_is_used_in_one_file() {
    let uses = ["backoff::future", "backoff::Error", "backoff::ExponentialBackoff", "use backoff"];
    let found = holding(&uses, elsewhere(&["crates/gitlab/src/retry.rs"]).iter());
    none(found.into_iter().filter(|it| !it.contains("google_cloud_gax")));
}

#[test]
fn the_embedded_stack_listens_on_loopback_only() {
    let stack = product().into_iter().filter(|it| it.path.starts_with("crates/local/"));
    let stack: Vec<_> = stack.collect();
    none(holding(&["Addr::UNSPECIFIED", "0.0.0.0", "0, 0, 0, 0", "[::]"], &stack));
}

#[test]
fn errors_and_job_states_are_classified_without_a_catch_all() {
    const CLASSIFIERS: [&str; 3] = ["fn class(", "fn of_class(", "fn outcome("];
    let mut seen = 0;
    let mut wrong = Vec::new();
    for File { path, text } in product() {
        for name in CLASSIFIERS {
            for (at, _) in text.match_indices(name) {
                let line = text[..at].rfind('\n').map_or(0, |it| it + 1);
                let indent = text[line..].chars().take_while(|it| *it == ' ').count();
                let end = format!("\n{}}}\n", " ".repeat(indent));
                let body = text[at..].split(&end).next().unwrap_or_default();
                seen += 1;
                if body.contains("_ =>") {
                    wrong.push(format!("{path}: {name}…)"));
                }
            }
        }
    }
    assert!(seen >= 7, "only {seen} classifiers were found");
    none(wrong);
}

#[test]
fn no_file_names_a_machine_or_a_package_registry() {
    const HOSTS: [&str; 5] = [
        concat!("py", "pi.org"),
        concat!("python", "hosted."),
        concat!("index.crates", ".io"),
        concat!("static.", "crates.io"),
        concat!("registry.npm", "js"),
    ];
    const TOPS: [&str; 4] = [
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
    ];
    let files: Vec<_> = files().into_iter().filter(|it| it.path != "Cargo.lock").collect();
    none(holding(&HOSTS, &files));
    // A path is a machine's where it begins there: `gs://bucket/root/` is none.
    let begins = |line: &str, top: &str| {
        line.match_indices(top).any(|(at, _)| {
            !line[..at].ends_with(|c: char| c.is_alphanumeric() || "}/._-".contains(c))
        })
    };
    let found = holding(&TOPS, &files);
    none(found.into_iter().filter(|line| {
        let text = line.splitn(3, ':').nth(2).unwrap_or_default();
        TOPS.iter().any(|top| begins(text, top))
    }));
}

#[test]
fn packages_come_from_their_usual_registries() {
    for path in [".cargo/config.toml", ".cargo/config", "pip.conf"] {
        none(files().into_iter().filter(|it| it.path == path).map(|it| it.path));
    }
    let lock = file("Cargo.lock").text;
    let sources = lock.lines().filter(|it| it.starts_with("source = "));
    let crates = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    none(sources.filter(|it| *it != crates).map(str::to_owned));
    let requirements = file("tests/python/requirements.txt").text;
    let names = requirements.lines().filter(|it| !it.starts_with('#') && !it.is_empty());
    none(names.filter(|it| !it.contains("==") || it.contains("//")).map(str::to_owned));
}

/// The code of the crates without those files, which have to exist.
fn elsewhere(may: &[&str]) -> Vec<File> {
    for path in may {
        file(path);
    }
    product().into_iter().filter(|it| !may.contains(&it.path.as_str())).collect()
}
