//! The life of a run: facts, fold, store, queue and lease.

mod fact;
mod lease;
mod queue;
mod run;
mod store;

pub use fact::{Body, DecodeError, Entry, Fact, Intent};
pub use lease::Lease;
pub use queue::{Queue, Queued, Ticket};
pub use run::{Ending, FoldError, Run, State};
pub use store::{Appended, Author, Clock, Error, History, Store};
