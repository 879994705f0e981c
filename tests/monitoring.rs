//! What operators see from outside: metrics, and one trace from the CI job to GitLab.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

#[path = "monitoring/files.rs"]
mod files;
#[path = "monitoring/scrape.rs"]
mod scrape;
#[path = "monitoring/trace.rs"]
mod trace;
