//! The invariants of ARCHITECTURE.md that a machine can check, each a test of
//! its name. Forbidden words are written in two halves here, so that this
//! file keeps its own rules.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "tidy/dependencies.rs"]
mod dependencies;
#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/image.rs"]
mod image;
#[path = "tidy/purity.rs"]
mod purity;
#[path = "tidy/repository.rs"]
mod repository;
#[path = "tidy/text.rs"]
mod text;
