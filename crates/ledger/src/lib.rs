//! The life of a run: facts, fold, store, queue and lease.

mod fact;
mod run;

pub use fact::{Body, DecodeError, Entry, Fact, Intent};
pub use run::{Ending, FoldError, Run, State};
