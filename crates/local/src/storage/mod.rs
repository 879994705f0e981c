//! Cloud Storage: the JSON API and what the Rust client sends over gRPC.
