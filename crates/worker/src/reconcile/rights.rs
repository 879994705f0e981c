//! What rounds may not do: none fails over it, since other runs go on, and readiness tells of it.

use branchline_gcp::{Class, Error as GcpError};
use branchline_service::Health;

use super::leader::PAUSE;

/// Readiness condition.
const CONDITION: &str = "rights";

/// Takes note of what a round may not do. What met it tries again after a pause.
pub(super) fn denied(health: &Health, error: &GcpError) {
    health.denied(CONDITION, error, 2 * PAUSE);
}

/// The same in a project that a request has named: one that is not there is a mistake of who asked, who is told of it.
pub(super) fn denied_there(health: &Health, error: &GcpError) {
    if error.class() == Class::Permission {
        denied(health, error);
    }
}
