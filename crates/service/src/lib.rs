//! What every role does: configuration, consuming and settling, dead letters,
//! telemetry, health and shutdown.

pub mod config;
pub mod consume;
pub mod dead_letter;
pub mod health;
pub mod metrics;
pub mod settlement;
pub mod shutdown;
pub mod telemetry;

mod doors;
mod period;
mod redact;

pub use consume::{Message, consume};
pub use dead_letter::DeadLetters;
pub use doors::Doors;
pub use health::Health;
pub use metrics::Metrics;
pub use period::Period;
pub use redact::{redact, redact_text};
pub use settlement::{Class, Failure, Reason, Settlement};
