//! What the whole-system tests share.

mod counts;
pub mod emulator;
pub mod eventually;
pub mod installation;
pub mod naps;
pub mod processes;
pub mod world;
