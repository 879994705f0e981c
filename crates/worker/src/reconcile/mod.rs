//! Reconcile, on the pod that holds the lease: dispatch, watch, announce.

mod announce;
mod approvals;
mod dispatch;
mod fair;
mod leader;
mod limiter;
mod line;
mod measure;
mod perform;
mod refused;
mod replays;
mod requests;
mod results;
mod retry;
mod rights;
mod scarce;
mod settle;
mod step;
mod supersede;
mod surplus;
mod tracked;
mod unresolved;
mod watch;

pub(crate) use announce::publish;
pub(crate) use leader::{Leader, Ledger, Settings};
pub(crate) use replays::Post;
pub(crate) use retry::Conditions;
