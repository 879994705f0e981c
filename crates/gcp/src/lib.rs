//! The only doors to Google Cloud: Pub/Sub, Cloud Storage, Vertex AI, Cloud Logging, and who we are there.
//!
//! Every call returns a boxed [`Call`]: Google's crates are large and generic,
//! and their code is generated in the crate that first names the future. Boxing
//! keeps it here, so that no other crate pays for it again.

pub mod config;
pub mod error;
pub mod iam;
pub mod identity;
pub mod logging;
pub mod pubsub;
pub mod storage;
pub mod vertex;

mod call;

pub use call::{Call, Observed, Observer};
pub use config::{Config, Credentials};
pub use error::{Class, Error, Result};
