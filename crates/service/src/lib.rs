//! What every role does: configuration, consuming and settling, dead letters,
//! telemetry, health and shutdown.

pub mod config;
pub mod health;
pub mod shutdown;
pub mod telemetry;
