//! Reconcile, on the pod that holds the lease: dispatch, watch, announce.

mod announce;
mod leader;
mod limiter;
mod perform;
mod requests;
mod results;
mod step;
mod supersede;
mod surplus;
mod watch;

pub(crate) use leader::{Leader, Ledger, Settings};
