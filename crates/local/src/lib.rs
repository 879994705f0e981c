//! The embedded stack: Pub/Sub, Cloud Storage, Vertex AI, Cloud Logging, GitLab and
//! Google's identity side on loopback, compatible on the wire with Google's and GitLab's
//! own clients.
//!
//! It imports none of Branchline's types, so that no mistake is shared by both
//! sides of a test.

pub mod faults;
pub mod gitlab;
pub mod iam;
pub mod installation;
pub mod logging;
pub mod pubsub;
pub mod stack;
pub mod storage;
pub mod vertex;

mod filter;
mod guard;
mod signer;
mod wire;
