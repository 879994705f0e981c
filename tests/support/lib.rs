//! What the whole-system tests share.

pub mod emulator;
pub mod installation;
pub mod processes;
