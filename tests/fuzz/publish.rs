//! The decoders of `branchline publish`. The executable is no library, so
//! these are its own files once more.
#![expect(dead_code, reason = "publish has uses for what is not decoded here")]

#[path = "../../crates/cli/src/publish/config.rs"]
pub(crate) mod config;
#[path = "../../crates/cli/src/publish/gitlab_ci.rs"]
pub(crate) mod gitlab_ci;
#[path = "../../crates/cli/src/publish/pattern.rs"]
mod pattern;
#[path = "../../crates/cli/src/publish/strict.rs"]
mod strict;
