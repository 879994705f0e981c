//! `runs list`, `show` and `watch`, as operators use them.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "runs/look.rs"]
mod look;
#[path = "runs/terminal.rs"]
mod terminal;
#[path = "runs/tmux.rs"]
mod tmux;
