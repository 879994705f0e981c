//! A real terminal whose screen a test can read: tmux, where it is there. CI installs it.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use branchline_tests::eventually::eventually;
use branchline_tests::processes::executable;
use branchline_tests::world::World;
use tempfile::TempDir;

/// A terminal in which `branchline` runs. It goes with whatever runs in it.
pub(crate) struct Terminal {
    socket: String,
    _directory: TempDir,
}

/// Whether there is tmux. Where CI is set it has to be: see `.ci/run`.
pub(crate) fn is_there() -> bool {
    let there = Command::new("tmux").arg("-V").output().is_ok_and(|it| it.status.success());
    assert!(there || std::env::var_os("CI").is_none(), "tmux is missing");
    if !there {
        eprintln!("skipped: nothing was looked at in a terminal, because tmux is missing");
    }
    there
}

impl Terminal {
    /// Runs `branchline` with these arguments in a terminal of so many columns, and then tells
    /// how it ended.
    pub(crate) fn run(world: &World, columns: u32, arguments: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let socket = format!("branchline-{}-{number}", std::process::id());
        let directory = tempfile::tempdir().unwrap();
        let variables = world.environment().map(|(name, it)| format!("{name}='{it}'")).join(" ");
        let words: Vec<_> = arguments.iter().map(|it| format!("'{it}'")).collect();
        // What ends the command by a key leaves the shell, which tells how that ended.
        let script = format!(
            "trap : INT TERM\nenv -i TERM=\"$TERM\" {variables} {} {}\necho \"exit=$?\"\nexec sleep 600\n",
            executable().display(),
            words.join(" "),
        );
        let file = directory.path().join("run");
        std::fs::write(&file, script).unwrap();
        let terminal = Self { socket, _directory: directory };
        let (columns, command) = (columns.to_string(), format!("sh {}", file.display()));
        let size = ["-x", columns.as_str(), "-y", "20"];
        terminal.tmux(&[&["new-session", "-d"], &size[..], &[&command]].concat());
        terminal
    }

    /// What is on the screen, once that is what is waited for.
    pub(crate) async fn shows(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let mut seen = String::new();
        eventually(what, async || {
            seen = self.screen();
            if !is(&seen) {
                eprintln!("{what}?\n{seen}");
            }
            is(&seen).then(|| seen.clone())
        })
        .await
    }

    /// What is on the screen.
    pub(crate) fn screen(&self) -> String {
        String::from_utf8(self.tmux(&["capture-pane", "-p"]).stdout).unwrap()
    }

    /// Presses keys, by tmux's names of them.
    pub(crate) fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Whether the cursor is to be seen, and long lines break.
    pub(crate) fn is_clean(&self) -> (bool, bool) {
        let flags = self.tmux(&["display-message", "-p", "#{cursor_flag} #{wrap_flag}"]).stdout;
        let flags = String::from_utf8(flags).unwrap();
        let mut flags = flags.split_whitespace().map(|it| it == "1");
        (flags.next().unwrap(), flags.next().unwrap())
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
