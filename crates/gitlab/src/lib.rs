//! The only door to GitLab's API: commit statuses, merge requests, notes, CI jobs. And to its
//! signing keys, with what they prove.

mod access;
mod commit_status;
mod error;
mod http;
pub mod id_token;
mod job;
mod merge_request;
mod note;
mod retry;
pub mod signing_keys;

pub use access::{AccessLevel, Token};
pub use commit_status::{CommitStatus, NewStatus, StatusState};
pub use error::{Class, Error};
pub use http::{Answer, Answering, Api, Call, Client, Observed, Observer, Part};
pub use job::{Job, Rest, Trace};
pub use merge_request::{Approval, MergeRequest, Version};
pub use note::{Note, User};
