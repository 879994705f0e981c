//! Attempts that intake gave up.

use expect_test::expect;

use super::{check, requested, retried};
use crate::fact::Body;

#[test]
fn a_stalled_attempt_goes_on_by_itself_or_as_the_next_one_of_another_ci_job() {
    let stalled = |attempt| (attempt, Body::Stalled { reason: "no answer".to_owned() });
    let verified = |attempt| {
        (attempt, Body::Verified { contents_read: false, grounds: None, staged: Vec::new() })
    };
    check(
        vec![
            requested(),
            stalled(1),
            verified(1),
            retried(2, 11), // Too late: it goes on.
            stalled(1),
            retried(2, 12),
            verified(1), // Of the CI job whose attempt is over.
            verified(2),
        ],
        &expect![[r"
            requested -> attempt 1 Requested
            stalled -> attempt 1 Stalled, says held
            verified -> attempt 1 Verified
            retried -> attempt 1 Verified
            stalled -> attempt 1 Stalled, says held
            retried -> attempt 2 Requested
            verified -> attempt 2 Requested
            verified -> attempt 2 Verified
        "]],
    );
}
