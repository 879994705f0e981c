//! What policies say about requests.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod example;
mod hostile;
mod jobs;
mod load;
mod refused;
mod requests;
mod table;
