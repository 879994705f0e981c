//! The questions, asked of somebody at a real terminal: tmux, where it is there. CI installs it.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use crate::{ANSWERS, branchline, read, repository, stderr, yaml};

/// Longer than any machine needs for a line.
const PATIENCE: Duration = Duration::from_secs(30);

struct Terminal {
    socket: String,
    /// Lines on the screen when the last answer was given: what is asked next stands below.
    answered: Cell<usize>,
}

impl Terminal {
    /// Runs `branchline init` in that directory, and then tells how it ended.
    fn init(directory: &Path, name: &str) -> Self {
        let socket = format!("branchline-init-{name}-{}", std::process::id());
        let terminal = Self { socket, answered: Cell::new(0) };
        let script = format!(
            "cd '{}'; env -i PATH=\"$PATH\" {} init; echo \"exit=$?\"; exec sleep 600",
            directory.display(),
            env!("CARGO_BIN_EXE_branchline"),
        );
        terminal.tmux(&["new-session", "-d", "-x", "200", "-y", "50", "sh", "-c", &script]);
        terminal
    }

    /// Waits until a new last line on the screen begins so.
    fn shows(&self, what: &str) -> String {
        let start = Instant::now();
        loop {
            let screen = String::from_utf8(self.tmux(&["capture-pane", "-p"]).stdout).unwrap();
            let lines: Vec<_> = screen.trim_end().lines().collect();
            let last = lines.last().filter(|_| lines.len() > self.answered.get());
            if last.is_some_and(|it| it.starts_with(what)) {
                self.answered.set(lines.len());
                return screen;
            }
            assert!(start.elapsed() < PATIENCE, "waited for {what:?}:\n{screen}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Types a line once that is asked for.
    fn answer(&self, question: &str, answer: &str) {
        self.shows(question);
        if !answer.is_empty() {
            self.tmux(&["send-keys", "-l", "--", answer]);
        }
        self.tmux(&["send-keys", "Enter"]);
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        let output = Command::new("tmux")
            .args(["-L", &self.socket, "-f", "/dev/null"])
            .args(arguments)
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(Command::new("tmux").args(["-L", &self.socket, "kill-server"]).output());
    }
}

/// Whether there is tmux. Where CI is set it has to be: see `.ci/run`.
fn is_there() -> bool {
    let there = Command::new("tmux").arg("-V").output().is_ok_and(|it| it.status.success());
    assert!(there || std::env::var_os("CI").is_none(), "tmux is missing");
    if !there {
        eprintln!("skipped: nothing was asked in a terminal, because tmux is missing");
    }
    there
}

#[test]
fn whoever_sits_there_is_asked_again_until_it_is_right() {
    if !is_there() {
        return;
    }
    let directory = repository();
    let root = directory.path();
    fs::remove_dir(root.join(".git")).unwrap();
    let git = |arguments: &[&str]| {
        let status = Command::new("git").args(arguments).current_dir(root).status().unwrap();
        assert!(status.success());
    };
    git(&["init", "--quiet"]);
    git(&["remote", "add", "origin", "git@gitlab.example.com:ml/Iris_Flowers.git"]);

    let terminal = Terminal::init(root, "answers");
    let of = |flag| ANSWERS.iter().find(|it| it.0 == flag).unwrap().1;
    terminal.answer("name of the run [iris-flowers]:", "");
    terminal.answer("Google Cloud project", "Acme ML");
    terminal.answer("Google Cloud project", of("--project"));
    terminal.answer("region of Vertex AI", "");
    terminal.answer("region of Vertex AI", of("--region"));
    terminal.answer("bucket that", of("--bucket"));
    terminal.answer("topic of requests", of("--topic"));
    terminal.answer("bucket of the run ledger", of("--ledger"));
    terminal.answer("container image that trains", of("--image"));
    terminal.answer("script", "gone.py");
    terminal.answer("script that the image runs, .py or .sh, or none [train.py]", "");
    terminal.answer("data, a file or glob in the repository or gs://…, or none [data/**]", "none");
    terminal.answer("account that jobs train as", of("--training-account"));
    terminal.answer("CI component", of("--component"));
    terminal.answer("CI job's image, or none for the group's [none]", of("--ci-image"));
    terminal.answer("identity provider, or none for the group's [none]", "");
    terminal.answer("account, or none for the group's [none]", of("--service-account"));
    let screen = terminal.shows("exit=0");
    for told in [
        r#"  "Acme ML" is not a Google Cloud project id"#,
        "  an answer is needed here",
        "  artifact code: opening gone.py: No such file or directory",
        "wrote branchline.yaml",
    ] {
        assert!(screen.contains(told), "{told}?\n{screen}");
    }
    let config = yaml(&read(root, "branchline.yaml"));
    assert_eq!(config["runs"]["iris-flowers"]["artifacts"].as_object().unwrap().len(), 1);
    let output = branchline(root, &["publish", "--dry-run"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn whoever_leaves_leaves_nothing_behind() {
    if !is_there() {
        return;
    }
    let directory = repository();
    let terminal = Terminal::init(directory.path(), "leaves");
    terminal.answer("name of the run", "iris");
    terminal.shows("Google Cloud project");
    terminal.tmux(&["send-keys", "C-d"]);
    let screen = terminal.shows("exit=1");
    assert!(screen.contains("error: nothing was written, because the answers ended"), "{screen}");
    assert_eq!(crate::names(directory.path()), [".git", "data", "train.py"]);
}
