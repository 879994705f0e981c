//! Reconcile, on the pod that holds the lease: dispatch, watch, announce.

mod announce;
mod dispatch;
mod fair;
mod leader;
mod limiter;
mod line;
mod perform;
mod results;
mod scarce;
mod step;
mod tracked;

pub(crate) use leader::{Leader, Settings};
