//! Dead letters and the operator, by the executable: what becomes one, and what is done about it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "dead_letters/moved.rs"]
mod moved;
#[path = "dead_letters/odd.rs"]
mod odd;
#[path = "dead_letters/operator.rs"]
mod operator;
#[path = "dead_letters/story.rs"]
mod story;
