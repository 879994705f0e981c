//! Exit codes: those of sysexits.h, and one for each way a followed run can end.

use branchline_contract::Outcome;
use branchline_gcp::Class;

/// The command line is wrong.
pub(crate) const USAGE: u8 = 64;
/// Data is wrong.
pub(crate) const DATA: u8 = 65;
/// A file is missing or cannot be read.
pub(crate) const NO_INPUT: u8 = 66;
/// A service refused.
pub(crate) const UNAVAILABLE: u8 = 69;
/// A bug.
pub(crate) const SOFTWARE: u8 = 70;
/// A file cannot be written.
pub(crate) const CANNOT_CREATE: u8 = 73;
/// Try again.
pub(crate) const TRY_AGAIN: u8 = 75;
/// Not allowed.
pub(crate) const NO_PERMISSION: u8 = 77;
/// A configuration is wrong.
pub(crate) const CONFIG: u8 = 78;
/// Interrupted by Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;
/// Terminated by SIGTERM.
pub(crate) const TERMINATED: u8 = 143;
/// Whoever was asked said no.
pub(crate) const DECLINED: u8 = 1;
/// The time to wait for a run is over.
pub(crate) const WAITED_TOO_LONG: u8 = 14;

/// How a followed run ended.
pub(crate) const fn of_outcome(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Succeeded => 0,
        Outcome::Failed => 10,
        Outcome::Cancelled => 11,
        Outcome::Expired => 12,
        Outcome::Rejected => 13,
    }
}

/// Why a service did not do it.
pub(crate) const fn of_class(class: Class) -> u8 {
    match class {
        Class::NotFound => NO_INPUT,
        Class::Conflict | Class::Refused => UNAVAILABLE,
        Class::Permission => NO_PERMISSION,
        Class::Quota | Class::Transient => TRY_AGAIN,
    }
}
