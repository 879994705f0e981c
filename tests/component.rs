//! The GitLab CI components in `templates`: what they take, what their scripts do with it, and a whole
//! pipeline with them against the local stack.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[path = "component/pipeline.rs"]
mod pipeline;
#[path = "component/readme.rs"]
mod readme;
#[path = "component/script.rs"]
mod script;
#[path = "component/team.rs"]
mod team;
#[path = "component/template.rs"]
mod template;
