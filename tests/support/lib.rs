//! What the whole-system tests share.

pub mod auditor;
pub mod counts;
pub mod emulator;
pub mod eventually;
pub mod identity;
pub mod installation;
pub mod naps;
pub mod processes;
pub mod roles;
pub mod rolled;
pub mod world;
